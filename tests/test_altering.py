"""Training images as helpers see them, the keys of helpers, and their training."""

import dataclasses

import pytest
import torch
from torch import Tensor

from xaibench import altering, curves, explaining
from xaibench.alterations import RemoveAtRandom, RemoveRelevant, RemoveSquare, removed_pixels
from xaibench.altering import altered
from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.random import Random
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.identity import train_key
from xaibench.models.linear import Linear
from xaibench.models.mlp import Mlp
from xaibench.problem import Alteration, Arrays, Attributions, Problem, Training
from xaibench.removal import Constant, Marginal, TrainingMean, UniformNoise
from xaibench.seeding import Rng, global_seed
from xaibench.selection import ExplainOn, background
from xaibench.stages import Runtime, Stages
from xaibench.store import Store
from xaibench.training import Trainer, fit, load

TRAINING = Training(Digits(), Linear(), Trainer(epochs=2), seed=3)
PIXELS = 64


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return Digits().load()


@pytest.fixture(scope="module")
def network():
    """Barely trained: what it predicts is often wrong."""
    with global_seed(5):
        return Mlp(hidden=(8,)).build((1, 8, 8), 10).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Stages:
    return Stages(Store(tmp_path_factory.mktemp("store")), Runtime("cpu"))


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """No explanations of another test's network."""
    monkeypatch.setattr(altering, "_explanations", {})


def relevant(**changes) -> RemoveRelevant:
    fields = {"explainer": Gradient(), "share": 0.25, "first": "most", "removal": Constant(), "pooling": "sum", "ties": "row_major"}
    return RemoveRelevant(**fields | changes)


@dataclasses.dataclass(frozen=True)
class Telling(Alteration):
    """Writes down what it is given."""

    def __call__(self, problem: Problem, explanation: Attributions | None, rng: Rng) -> Tensor:
        found = problem.images.clone()
        found[:, 0, 0, 0] = problem.index.float()
        found[:, 0, 0, 1], found[:, 0, 0, 2] = problem.targets[:, 0].float(), problem.labels.float()
        found[:, 0, 0, 3] = float(rng == Rng(7, 0, "Telling"))
        return found


def check_told(arrays: Arrays, network) -> None:
    found = altered(Telling(), arrays, Digits(), network, seed=7, origin="network")
    size = len(arrays.train.labels)
    for part, original, start in ((found.train, arrays.train, 0), (found.validation, arrays.validation, size)):
        index, target, label, seeded = part.images[:, 0, 0, :4].unbind(1)
        assert index.tolist() == [start + position for position in range(len(original.labels))]
        assert torch.equal(target.long(), network(original.images).argmax(1))
        assert torch.equal(label.long(), original.labels)
        assert torch.equal(part.labels, original.labels)
        assert torch.equal(part.images[:, 0, 1:], original.images[:, 0, 1:])
        assert seeded.all()
    assert found.test is arrays.test


def test_an_alteration_sees_all_images_their_predictions_and_where_they_stand(arrays, network):
    check_told(arrays, network)


def test_true_classes_in_place_of_predictions_are_found_out(arrays, network, monkeypatch):
    labels = {len(part.labels): part.labels for part in (arrays.train, arrays.validation)}
    monkeypatch.setattr(altering, "_predicted", lambda network, images, *others: labels[len(images)][:, None])
    with pytest.raises(AssertionError):
        check_told(arrays, network)


def test_only_so_many_images_are_the_first_of_a_fixed_order(arrays, network):
    few, more = (altered(Telling(images=count), arrays, Digits(), network, 7, "network") for count in (12, 40))
    assert (len(few.train.labels), len(few.validation.labels)) == (12, 3)
    assert (len(more.train.labels), len(more.validation.labels)) == (40, 10)
    chosen = [set(found.train.images[:, 0, 0, 0].tolist()) for found in (few, more)]
    assert chosen[0] < chosen[1]
    assert chosen[0] != set(range(12))
    for found in (few, more):
        rows = found.train.images[:, 0, 0, 0].long()
        assert torch.equal(found.train.labels, arrays.train.labels[rows])
    everything = altered(Telling(images=10**6), arrays, Digits(), network, 7, "network")
    assert len(everything.train.labels) == len(arrays.train.labels)


@dataclasses.dataclass(frozen=True)
class Broken(Alteration):
    """Gives what no images are."""

    way: str = "one image"

    def __call__(self, problem: Problem, explanation: Attributions | None, rng: Rng) -> Tensor:
        return problem.images[:1] if self.way == "one image" else problem.images * torch.nan


@pytest.mark.parametrize("way", ["one image", "NaN"])
def test_what_are_no_images_is_refused(arrays, network, way):
    with pytest.raises(ValueError, match=r"altered by Broken, of shape .* finite"):
        altered(Broken(way=way), arrays, Digits(), network, 7, "network")


ALTERATIONS = {
    "relevant": relevant(removal=TrainingMean()),
    "relevant, ties drawn": relevant(explainer=Smoothgrad(samples=3), ties="random", removal=UniformNoise()),
    "at random": RemoveAtRandom(share=0.3, removal=Marginal(samples=3)),
    "square": RemoveSquare(side=4, share=0.5, removal=Constant()),
}


@pytest.mark.parametrize("alteration", ALTERATIONS.values(), ids=list(ALTERATIONS))
def test_an_image_is_altered_in_the_same_way_whatever_it_is_altered_with(arrays, network, alteration, monkeypatch):
    alteration = dataclasses.replace(alteration, images=40)
    once = altered(alteration, arrays, Digits(), network, 7, "network")
    more = altered(dataclasses.replace(alteration, images=60), arrays, Digits(), network, 7, "network")
    monkeypatch.setattr(explaining, "BLOCK_IMAGES", 7)
    again = altered(alteration, arrays, Digits(), network, 7, "network")
    other = altered(alteration, arrays, Digits(), network, 8, "network")
    assert torch.equal(once.train.images, again.train.images)
    assert torch.equal(once.validation.images, again.validation.images)
    kept = [any(torch.equal(image, another) for another in more.train.images) for image in once.train.images]
    assert all(kept)
    assert torch.equal(once.train.images, other.train.images) == (alteration.__class__ is RemoveRelevant and alteration.ties == "row_major")


def by_loops(images, network, explain, share, first, value) -> Tensor:
    """The definition: rank each image's pixels for the class that is predicted, and replace a share of them."""
    found = images.clone()
    for image in found:
        relevance = explain(image, int(network(image[None]).argmax())).flatten().tolist()
        order = sorted(range(PIXELS), key=lambda pixel: -relevance[pixel] if first == "most" else relevance[pixel])
        for pixel in order[: round(share * PIXELS)]:
            image[0, pixel // 8, pixel % 8] = value[pixel]
    return found


def gradient_of(network):
    def explain(image: Tensor, target: int) -> Tensor:
        leaf = image[None].clone().requires_grad_(True)
        return torch.autograd.grad(network(leaf)[0, target], leaf)[0].sum(1)

    return explain


def check_relevant(arrays, network, first="most", share=0.25) -> None:
    alteration = relevant(first=first, share=share, removal=TrainingMean(), images=30)
    found = altered(alteration, arrays, Digits(), network, 7, "network")
    rows = torch.randperm(len(arrays.train.labels), generator=torch.Generator().manual_seed(0))[:30].sort().values
    value = background(arrays, ExplainOn(), 0).mean(0).flatten().tolist()
    expected = by_loops(arrays.train.images[rows], network, gradient_of(network), share, first, value)
    torch.testing.assert_close(found.train.images, expected)


@pytest.mark.parametrize(("first", "share"), [("most", 0.25), ("least", 0.25), ("most", 0.9), ("most", 0.1)])
def test_the_most_or_the_least_relevant_pixels_go(arrays, network, first, share):
    check_relevant(arrays, network, first, share)


@pytest.mark.parametrize("fault", ["upside down", "labels", "one more"])
def test_the_definition_rejects_mutants(arrays, network, fault, monkeypatch):
    ranking = curves.ranking
    if fault == "upside down":

        def reversed_(*arguments, **named):
            found = ranking(*arguments, **named)
            return dataclasses.replace(found, rank=PIXELS - 1 - found.rank)

        monkeypatch.setattr(curves, "ranking", reversed_)
    elif fault == "labels":
        monkeypatch.setattr(altering, "_predicted", lambda network, images, *others: torch.zeros(len(images), 1, dtype=torch.int64))
    else:
        monkeypatch.setattr("xaibench.alterations.removed_pixels", lambda share, pixels: round(share * pixels) + 1)
    with pytest.raises(AssertionError):
        check_relevant(arrays, network)


def test_training_images_are_explained_with_the_draws_of_the_explainer(arrays, network):
    found = altered(relevant(explainer=Random(), images=20), arrays, Digits(), network, 7, "network")
    rows = torch.randperm(len(arrays.train.labels), generator=torch.Generator().manual_seed(0))[:20].sort().values
    images, targets = arrays.train.images[rows], network(arrays.train.images[rows]).argmax(1)[:, None]
    maps = Random()(Problem(network, images, targets, targets[:, 0], rows, images[:1]), Rng(7, 0, "Random")).values
    kept = maps.flatten(1).argsort(descending=True).argsort() >= 16
    assert torch.equal(found.train.images, images * kept.reshape(-1, 1, 8, 8))


@dataclasses.dataclass(frozen=True)
class SometimesNan(Random):
    """No relevance for images past the 1000th: for some of the training images."""

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        values = super().__call__(problem, rng).values
        return Attributions(torch.where(problem.index[:, None, None, None, None] > 1000, torch.nan, values))


def test_a_map_that_ranks_nothing_is_an_error(arrays, network):
    with pytest.raises(ConfigurationError, match=r"explainer=SometimesNan.*: expected numbers for every training image"):
        altered(relevant(explainer=SometimesNan()), arrays, Digits(), network, 7, "network")


WHITE = Constant(1.0)  # no digit has a pixel this bright everywhere: what is removed can be counted


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_as_many_pixels_go_at_random_as_the_share_says_elsewhere_in_each_image(arrays, network, share):
    dark = Arrays(*(dataclasses.replace(part, images=part.images * 0.9) for part in (arrays.train, arrays.validation, arrays.test)))
    found = altered(RemoveAtRandom(share=share, removal=WHITE, images=200), dark, Digits(), network, 7, "network").train.images
    gone = (found == 1).flatten(1)
    assert gone.sum(1).tolist() == [round(share * PIXELS)] * 200
    if 0 < share < 1:
        assert len({tuple(row) for row in gone.tolist()}) == 200
        assert (gone.float().mean(0) - share).abs().max() < 0.16  # 4.5 standard deviations of 200 draws
    assert removed_pixels(share, PIXELS) == round(share * PIXELS)


def test_one_square_goes_or_none(arrays, network):
    dark = Arrays(*(dataclasses.replace(part, images=part.images * 0.9) for part in (arrays.train, arrays.validation, arrays.test)))
    found = altered(RemoveSquare(side=4, share=0.5, removal=WHITE), dark, Digits(), network, 7, "network").train.images[:, 0]
    squares = (found == 1).unfold(1, 2, 2).unfold(2, 2, 2).sum(dim=(3, 4)).flatten(1)
    assert set(squares.flatten().tolist()) == {0, 4}
    number = (squares == 4).sum(1)
    assert set(number.tolist()) == {0, 1}
    assert abs(number.float().mean() - 0.5) < 0.06
    share = (squares == 4).float().sum(0) / number.sum()
    assert (share - 1 / 16).abs().max() < 0.045  # 4 standard deviations
    always, never = (RemoveSquare(side=4, share=share, removal=WHITE, images=50) for share in (1.0, 0.0))
    assert (altered(always, dark, Digits(), network, 7, "network").train.images == 1).flatten(1).sum(1).tolist() == [4] * 50
    assert not (altered(never, dark, Digits(), network, 7, "network").train.images == 1).any()


def test_of_several_versions_of_a_removed_pixel_an_image_gets_one_and_images_differ(arrays, network):
    found = altered(RemoveAtRandom(share=1.0, removal=Marginal(samples=4), images=60), arrays, Digits(), network, 7, "network").train.images
    absent = background(arrays, ExplainOn(), 0)[:4]
    which = [[torch.equal(image, version) for version in absent].index(True) for image in found]
    assert set(which) == {0, 1, 2, 3}


def helper(**changes) -> Training:
    fields = {"trainer": Trainer(epochs=1), "alteration": relevant(images=50), "origin": TRAINING}
    return dataclasses.replace(TRAINING, **fields | changes)


def test_an_ordinary_classifier_has_the_key_that_it_always_had():
    spec = train_key(TRAINING)[1]
    assert spec.keys() == {"stage", "component", "code", "parents", "stage_version", "checksum", "seed"}
    assert spec["component"].keys() == {"dataset", "model", "trainer"}
    assert spec["parents"] == {}


OTHER = {
    "explainer": {"alteration": relevant(images=50, explainer=Random())},
    "a field of the explainer": {"alteration": relevant(images=50, explainer=IntegratedGradients(steps=7))},
    "removal": {"alteration": relevant(images=50, removal=Constant(0.5))},
    "share": {"alteration": relevant(images=50, share=0.5)},
    "order": {"alteration": relevant(images=50, first="least")},
    "pooling": {"alteration": relevant(images=50, pooling="max")},
    "images": {"alteration": relevant(images=60)},
    "another alteration": {"alteration": RemoveAtRandom(images=50, share=0.25, removal=Constant())},
    "none": {"alteration": None},
    "origin": {"origin": dataclasses.replace(TRAINING, seed=4)},
    "fine_tune": {"fine_tune": True},
    "trainer": {"trainer": Trainer(epochs=2)},
}


def test_each_change_changes_a_helpers_key():
    keys = {name: train_key(helper(**change))[0] for name, change in OTHER.items()} | {"the same": train_key(helper())[0]}
    assert len(set(keys.values())) == len(keys)
    assert keys["the same"] == train_key(helper())[0]
    assert train_key(helper())[1]["parents"] == {"origin": train_key(TRAINING)[0]}


def test_the_code_that_alters_is_part_of_a_helpers_key(monkeypatch):
    before = train_key(helper())[0], train_key(TRAINING)[0]
    code = train_key(helper())[1]["code"]
    assert {"xaibench.alterations", "xaibench.curves", "xaibench.removal", "xaibench.explainers.gradient"} <= code.keys()
    monkeypatch.setattr(altering, "VERSION", 99)
    anew = train_key.__wrapped__  # a process remembers keys: its code does not change
    assert anew(helper())[0] != before[0]
    assert anew(TRAINING)[0] == before[1]


def test_an_alteration_needs_a_classifier_that_comes_before():
    for change in ({"alteration": relevant()}, {"fine_tune": True}):
        with pytest.raises(ValueError, match=r"Training.origin=None"):
            dataclasses.replace(TRAINING, **change)


def test_a_helper_is_trained_from_new_weights_on_altered_images(stages, arrays):
    found = stages.train(helper()).group("weights")
    arrays = altered(helper().alteration, arrays, Digits(), stages.network(TRAINING), TRAINING.seed, train_key(TRAINING)[0])
    expected = fit(Linear(), arrays, 10, Trainer(epochs=1), TRAINING.seed, torch.device("cpu")).weights
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def tuned(stages) -> dict[str, Tensor]:
    """Fine-tuned with steps too small to be seen."""
    return stages.train(helper(trainer=Trainer(epochs=1, learning_rate=1e-12), fine_tune=True)).group("weights")


def test_fine_tuning_starts_from_the_classifiers_weights(stages):
    origin = stages.train(TRAINING).group("weights")
    assert all(torch.allclose(value, origin[name], atol=1e-8) for name, value in tuned(stages).items())
    moved = stages.train(helper(fine_tune=True)).group("weights")
    assert not torch.equal(moved["1.weight"], origin["1.weight"])


def test_start_weights_that_are_ignored_are_found_out(stages, tmp_path, monkeypatch):
    monkeypatch.setattr("xaibench.stages.fit", lambda *arguments: fit(*arguments[:7]))
    mutant = dataclasses.replace(stages, store=Store(tmp_path))
    origin = stages.train(TRAINING).group("weights")
    assert not all(torch.allclose(value, origin[name], atol=1e-8) for name, value in tuned(mutant).items())


def test_fine_tuning_without_alteration_uses_the_images_as_they_are(stages, arrays):
    start = stages.train(TRAINING).group("weights")
    found = stages.train(helper(alteration=None, fine_tune=True)).group("weights")
    expected = fit(Linear(), arrays, 10, Trainer(epochs=1), TRAINING.seed, torch.device("cpu"), start=start).weights
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert load(Linear(), (1, 8, 8), 10, found, torch.device("cpu")).training is False


def test_a_helper_is_trained_once(stages):
    told = []
    mine = dataclasses.replace(stages, report=lambda stage, key, cached: told.append((key, cached)))
    mine.train(helper())
    told.clear()
    mine.train(helper())
    assert told == [(train_key(helper())[0], True)]


def test_training_images_are_explained_once_for_all_shares(arrays, network, monkeypatch):
    counted = []
    explain = Gradient.__call__

    def counting(self, problem, rng):
        counted.append(len(problem.images))
        return explain(self, problem, rng)

    monkeypatch.setattr(Gradient, "__call__", counting)
    for share in (0.25, 0.5):
        altered(relevant(images=40, share=share), arrays, Digits(), network, 7, "network")
    assert sum(counted) == 50
    altered(relevant(images=40), arrays, Digits(), network, 7, "another")
    assert sum(counted) == 100
    assert len(altering._explanations) == 2
