"""The metrics that train helpers, against loops over their definitions, and what they train."""

import dataclasses
import functools
import math

import pytest
import torch
from ranking_cases import RNG, conv_problem, linear_problem, pixel_orders, random_attributions, without_pixels
from torch import Tensor, nn

from xaibench import cost, curves
from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.execution import run
from xaibench.explainers.constant import Constant as ConstantMap
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.random import Random
from xaibench.explaining import explained
from xaibench.grid import Entry, Grid
from xaibench.identity import Explaining, evaluate_key, train_key
from xaibench.metrics import in_domain_single_deletion, reexplanation
from xaibench.metrics.correlations import pearson, spearman
from xaibench.metrics.f_fidelity import FFidelity
from xaibench.metrics.in_domain_single_deletion import InDomainSingleDeletion
from xaibench.metrics.keep_and_retrain import KeepAndRetrain
from xaibench.metrics.roar import Roar
from xaibench.models.linear import Linear
from xaibench.problem import Arrays, Attributions, Split, Training
from xaibench.removal import Constant, DatasetMean, Marginal, UniformNoise
from xaibench.scoring import scored
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages, UnsupportedError, arrays_of
from xaibench.store import Store
from xaibench.training import Trainer, TrainingError, fit

TRAINING = Training(Digits(), Linear(), Trainer(epochs=3, learning_rate=0.02), seed=3)
ON = ExplainOn(count=8, targets=(2, 7))
GRADIENT = Explaining(TRAINING, ON, Gradient())
PIXELS = 64
ROAR = Roar(fractions=(0.25, 0.5))


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Stages:
    return Stages(Store(tmp_path_factory.mktemp("store")), Runtime("cpu"))


def network(seed: int, channels: int = 3, size: int = 6, classes: int = 4) -> nn.Module:
    """A helper for `conv_problem`."""
    torch.manual_seed(seed)
    found = nn.Sequential(nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * (size - 2) ** 2, classes))
    found[3].weight.data *= 8
    return found.eval().requires_grad_(False)


def helped(metric, **changes):
    """A problem with a helper for every name that the metric declares, and an explanation that can explain again."""
    names = list(metric.needs(TRAINING, Gradient()))
    problem = dataclasses.replace(conv_problem(**changes), helpers={name: network(10 + seed) for seed, name in enumerate(names)})
    again = functools.partial(explained, Gradient(), rng=RNG)
    return problem, dataclasses.replace(random_attributions(problem), again=again)


ALL = {
    "roar": Roar(fractions=(0.3, 0.6), removal=Constant(0.5)),
    "keep and retrain": KeepAndRetrain(fractions=(0.3, 0.6), removal=Marginal(samples=2)),
    "f_fidelity": FFidelity(steps=3, samples=4, removal=UniformNoise(samples=2)),
    "in-domain": InDomainSingleDeletion(side=3),
}
EACH = pytest.mark.parametrize("metric", ALL.values(), ids=list(ALL))


# what holds for all of them


@EACH
def test_passes_are_those_of_the_helpers_and_of_nothing_else(metric):
    problem, explanation = helped(metric)
    with cost.measure(*problem.helpers.values()) as counted, cost.measure(problem.model) as other:
        metric(problem, explanation, RNG)
    assert counted.passes == metric.passes(problem, Gradient())
    assert (other.forward, other.backward) == (0, 0)


def same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)


@EACH
def test_scores_do_not_depend_on_batch_order_neighbors_or_chunk(metric):
    problem, explanation = helped(metric, batch=5)
    whole = metric(problem, explanation, RNG)
    order = torch.tensor([3, 0, 4, 1])
    part = metric(dataclasses.replace(problem.take(order), chunk=3), explanation.take(order), RNG)
    alone = metric(problem.take(slice(2, 3)), explanation.take(slice(2, 3)), RNG)
    for name, value in {**whole.values, **whole.curves}.items():
        found = {**part.values, **part.curves}[name], {**alone.values, **alone.curves}[name]
        assert same(value[order], found[0]), name
        assert same(value[2:3], found[1]), name


@EACH
def test_a_map_that_holds_a_nan_scores_nan_and_no_other_map_does(metric):
    problem, explanation = helped(metric)
    values = explanation.values.clone()
    values[1, 0, 0, 0, 0] = torch.nan
    broken = dataclasses.replace(explanation, values=values, again=lambda changed: Attributions(values))
    sound = dataclasses.replace(explanation, again=lambda changed: Attributions(explanation.values))
    found, expected = metric(problem, broken, RNG), metric(problem, sound, RNG)
    rest = torch.ones(4, 2, dtype=torch.bool)
    rest[1, 0] = False
    for name in found.values:
        assert found.values[name][1, 0].isnan(), name
        assert same(found.values[name][rest], expected.values[name][rest])
        assert not found.values[name][rest].isnan().any()


@EACH
def test_maps_of_another_shape_are_refused(metric):
    problem, explanation = helped(metric)
    with pytest.raises(ValueError, match=r"Attributions\.values of shape"):
        metric(problem, dataclasses.replace(explanation, values=explanation.values[..., :-1]), RNG)


@EACH
def test_inputs_and_helpers_stay_as_they_were(metric):
    problem, explanation = helped(metric)
    before = problem.images.clone(), explanation.values.clone()
    metric(problem, explanation, RNG)
    assert torch.equal(problem.images, before[0])
    assert torch.equal(explanation.values, before[1])
    for helper in problem.helpers.values():
        assert not helper.training
        assert not helper._forward_hooks
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in helper.parameters())


# ROAR


def roar_by_loops(problem, explanation, metric) -> Tensor:
    """(B, T, S + 2): whether each retrained classifier is right about the image without its most relevant pixels."""
    networks, pixels = list(problem.helpers.values()), problem.images[0, 0].numel()
    value = problem.background.mean(dim=(0, 2, 3))
    found = torch.zeros(*problem.targets.shape, len(networks))
    for row, orders in enumerate(pixel_orders(explanation)):
        for target, order in enumerate(orders):
            order = order[::-1] if isinstance(metric, KeepAndRetrain) else order
            for step, share in enumerate((0, *metric.fractions, 1)):
                image = problem.images[row].clone()
                for pixel in order[: round(share * pixels)]:
                    image[:, pixel // image.shape[2], pixel % image.shape[2]] = value
                found[row, target, step] = float(networks[step](image[None]).argmax() == problem.labels[row])
    return found


def check_roar(metric) -> None:
    names = [f"without_{share}" for share in (0.0, *metric.fractions, 1.0)]
    problem = dataclasses.replace(conv_problem(batch=12), helpers={name: network(20 + seed) for seed, name in enumerate(names)})
    explanation = random_attributions(problem)
    found, expected = metric(problem, explanation, RNG), roar_by_loops(problem, explanation, metric)
    assert 0.1 < expected.mean() < 0.9
    assert torch.equal(found.curves["accuracy"], expected)
    removed = [round(share * 36) / 36 for share in (0, *metric.fractions, 1)]
    assert found.fractions.tolist() == removed
    areas = ((expected[..., 1:] + expected[..., :-1]) / 2 * torch.tensor(removed).diff()).sum(2)
    torch.testing.assert_close(found.values["value"], areas)


@pytest.mark.parametrize("metric", [Roar(), KeepAndRetrain(), Roar(fractions=(0.5,))])
def test_accuracy_is_that_of_each_retrained_classifier_without_the_pixels(metric):
    check_roar(metric)


@pytest.mark.parametrize("fault", ["least", "targets", "one model", "one more"])
def test_the_loops_reject_mutants_of_roar(fault, monkeypatch):
    whole = curves.curves

    def faulty(problem, ranked, removal, rng, removed, reads, first, classes):
        if fault == "one model":
            problem = dataclasses.replace(problem, model=problem.helpers["without_0.0"])
        first = "least" if fault == "least" else first
        classes = problem.targets if fault == "targets" else classes
        return whole(problem, ranked, removal, rng, removed + (fault == "one more"), reads, first, classes)

    monkeypatch.setattr(curves, "curves", faulty)
    with pytest.raises(AssertionError):
        check_roar(Roar())


def test_retrained_weights_are_those_of_the_papers_protocol(stages):
    """Everything by hand: explain, remove and retrain."""
    helper = ROAR.needs(TRAINING, Gradient())["without_0.5"]
    found = stages.train(helper).group("weights")
    arrays, original = arrays_of(Digits()), stages.network(TRAINING)
    order = torch.randperm(len(arrays.train.labels), generator=torch.Generator().manual_seed(0))[:100]
    mean, weights = arrays.train.images[order].mean(), original[1].weight
    relevance = {label: weights[label].tolist() for label in range(10)}  # the gradient of a linear classifier
    parts = []
    for part in (arrays.train, arrays.validation):
        images = part.images.clone()
        for image, target in zip(images, original(part.images).argmax(1).tolist(), strict=True):
            for pixel in sorted(range(PIXELS), key=lambda pixel, row=relevance[target]: -row[pixel])[:32]:
                image[0, pixel // 8, pixel % 8] = mean
        parts.append(Split(images, part.labels))
    expected = fit(Linear(), Arrays(*parts, arrays.test), 10, TRAINING.trainer, TRAINING.seed, torch.device("cpu")).weights
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_the_curve_starts_at_the_classifier_and_ends_where_nothing_is_left(stages):
    found = stages.evaluate(GRADIENT, ROAR)
    curve, problem = found.tensors["curves.accuracy"], stages.problem(GRADIENT, {})
    right = problem.probabilities.argmax(1) == problem.labels
    assert torch.equal(curve[..., 0], right[:, None].expand(-1, 2).float())
    network = stages.network(ROAR.needs(TRAINING, Gradient())["without_1.0"])
    guess = network(torch.full((1, 1, 8, 8), float(problem.background.mean()))).argmax()
    assert torch.equal(curve[..., -1], (problem.labels == guess)[:, None].expand(-1, 2).float())
    assert found.tensors["fractions"].tolist() == [0, 0.25, 0.5, 1]


def test_ends_serve_all_explainers_and_whole_images_cost_no_training():
    mine, other = ROAR.needs(TRAINING, Gradient()), KeepAndRetrain(fractions=(0.25,)).needs(TRAINING, Random())
    assert list(mine) == ["without_0.0", "without_0.25", "without_0.5", "without_1.0"]
    assert mine["without_0.0"] == TRAINING
    assert mine["without_1.0"] == other["without_1.0"]
    assert train_key(mine["without_0.25"]) != train_key(other["without_0.25"])
    assert all(not helper.fine_tune for helper in mine.values())
    few = dataclasses.replace(ROAR, train_images=50, epochs=1).needs(TRAINING, Gradient())
    assert few["without_0.0"].alteration.images == 50
    assert {helper.trainer.epochs for helper in few.values()} == {1}
    assert {helper.trainer.learning_rate for helper in few.values()} == {0.02}


KEYS = {
    "explainer": ({}, Random(), True),
    "removal": ({"removal": Constant(0.5)}, Gradient(), True),
    "share": ({"fractions": (0.3,)}, Gradient(), True),
    "another share beside it": ({"fractions": (0.25, 0.75)}, Gradient(), False),
    "ties": ({"ties": "row_major"}, Gradient(), True),
    "epochs": ({"epochs": 7}, Gradient(), True),
    "train_images": ({"train_images": 70}, Gradient(), True),
}


@pytest.mark.parametrize(("changes", "explainer", "changed"), KEYS.values(), ids=list(KEYS))
def test_a_change_changes_the_helper_that_it_concerns(changes, explainer, changed):
    before = train_key(ROAR.needs(TRAINING, Gradient())["without_0.25"])[0]
    after = {train_key(helper)[0] for helper in dataclasses.replace(ROAR, **changes).needs(TRAINING, explainer).values()}
    assert (before not in after) == changed


def test_a_second_evaluation_trains_nothing(stages, tmp_path):
    told = []
    mine = Stages(Store(tmp_path), Runtime("cpu"), lambda stage, key, cached: told.append((stage, cached)))
    metric = Roar(fractions=(0.5,), epochs=1, train_images=40)
    random = dataclasses.replace(GRADIENT, explainer=Random())
    first = mine.evaluate(GRADIENT, metric)
    assert told.count(("train", False)) == 4  # the classifier, and helpers for 0, .5 and 1
    told.clear()
    again = mine.evaluate(GRADIENT, metric)
    assert told == [("evaluate", True)]
    assert torch.equal(first.tensors["values.value"], again.tensors["values.value"])
    control = mine.evaluate(random, metric)
    assert told.count(("train", False)) == 1  # 0 and 1 serve all explainers
    assert control.tensors["values.value"].isfinite().all()
    assert len(mine.store.keys("train")) == 5
    assert {f"helper.without_{share}" for share in (0.0, 0.5, 1.0)} < evaluate_key(GRADIENT, metric)[1]["parents"].keys()
    other = Stages(Store(tmp_path / "fresh"), Runtime("cpu")).evaluate(random, metric)
    assert torch.equal(control.tensors["values.value"], other.tensors["values.value"])


@dataclasses.dataclass(frozen=True)
class Nothing(Roar):
    """Cannot score anything."""

    def unsupported(self, problem, explainer):
        return "nothing can be scored"


def test_nothing_is_trained_for_what_is_not_supported(tmp_path):
    mine = Stages(Store(tmp_path), Runtime("cpu"))
    with pytest.raises(UnsupportedError, match="nothing can be scored"):
        mine.evaluate(GRADIENT, Nothing())
    assert mine.store.keys("train") == [train_key(TRAINING)[0]]


class Fragile(nn.Linear):
    """Gives NaN for images of a single color."""

    def forward(self, images: Tensor) -> Tensor:
        images = images.flatten(1)
        return super().forward(images) / (images.amax(1, keepdim=True) - images.amin(1, keepdim=True)).sign()


@dataclasses.dataclass(frozen=True)
class FragileLinear(Linear):
    def build(self, image_shape, classes):
        return Fragile(math.prod(image_shape), classes)


def test_a_helper_that_cannot_be_trained_fails_its_cell_alone(tmp_path):
    model, explainer = Entry("fragile", FragileLinear()), Entry("gradient", Gradient())
    metrics = tuple(Entry(name, metric) for name, metric in {"roar": ROAR, "f_fidelity": FFidelity(epochs=1, steps=2, samples=2)}.items())
    dataset, trainer = Entry("digits", Digits()), Entry("auto", TRAINING.trainer)
    grid = Grid((dataset,), (model,), (trainer,), (Entry("eight", ON),), (explainer,), metrics, (3,))
    mine = Stages(Store(tmp_path / "store"), Runtime("cpu"))
    run(grid, mine)
    (record,) = (tmp_path / "store" / "failures").iterdir()
    assert TrainingError.__name__ in record.read_text()
    assert "expected finite losses" in record.read_text()
    assert len(mine.store.keys("evaluate")) == 1


@pytest.mark.parametrize("fractions", [(), (0.5, 0.3), (0.3, 0.3), (0.0, 0.5), (0.5, 1.0)])
def test_fractions_that_make_no_curve_are_refused(fractions):
    with pytest.raises(ConfigurationError, match="fractions="):
        Roar(fractions=fractions)


# F-Fidelity


def f_fidelity_by_loops(problem, explanation, metric) -> tuple[Tensor, Tensor]:
    """(B, T, S + 1) each: the definition, one pixel at a time."""
    tuned, pixels = problem.helpers["fine_tuned"], problem.images[0, 0].numel()
    drawn = torch.rand(metric.samples, pixels, generator=RNG.shared()).tolist()
    curves_ = torch.zeros(2, *problem.targets.shape, metric.steps + 1)

    def output(image: Tensor, target: int) -> float:
        return float(tuned(image[None]).softmax(1)[0, target])

    for row, orders in enumerate(pixel_orders(explanation)):
        for column, order in enumerate(orders):
            image, target = problem.images[row], int(problem.targets[row, column])
            for step in range(metric.steps + 1):
                size = round(step * pixels / metric.steps)
                for kind, region in enumerate((order[:size], order[size:])):
                    probability = min(metric.alpha, metric.beta * pixels / len(region)) if region else 0
                    for draw in drawn:
                        gone = [pixel for pixel in region if draw[pixel] < probability]
                        lost = output(image, target) - output(without_pixels(image, gone), target)
                        curves_[kind, row, column, step] += lost / metric.samples
    return curves_[0], curves_[1]


def check_f_fidelity(metric) -> None:
    problem, explanation = helped(metric, batch=2)
    found, (plus, minus) = metric(problem, explanation, RNG), f_fidelity_by_loops(problem, explanation, metric)
    assert plus.abs().max() > 0.02
    torch.testing.assert_close(found.curves["fid_plus"], plus, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.curves["fid_minus"], minus, atol=1e-6, rtol=1e-5)
    for name, curve in (("fid_plus", plus), ("fid_minus", minus)):
        torch.testing.assert_close(found.values[name], torch.trapezoid(curve, dx=1 / metric.steps), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.values["value"], found.values["fid_plus"] - found.values["fid_minus"])


@pytest.mark.parametrize("metric", [FFidelity(steps=4, samples=5), FFidelity(steps=3, samples=2, alpha=0.8, beta=0.3)])
def test_losses_are_those_of_the_definition(metric):
    check_f_fidelity(metric)


@pytest.mark.parametrize("fault", ["upside down", "not fine-tuned", "no cap"])
def test_the_loops_reject_mutants_of_f_fidelity(fault, monkeypatch):
    if fault == "upside down":
        ranking = curves.ranking

        def reversed_(*arguments, **named):
            found = ranking(*arguments, **named)
            return dataclasses.replace(found, rank=35 - found.rank)

        monkeypatch.setattr(curves, "ranking", reversed_)
    elif fault == "not fine-tuned":
        values = FFidelity._outputs
        monkeypatch.setattr(FFidelity, "_outputs", lambda self, problem, *rest: values(self, conv_problem(batch=2), *rest))
    else:
        values = FFidelity._outputs
        monkeypatch.setattr(FFidelity, "_outputs", lambda self, *rest: values(dataclasses.replace(self, beta=1.0), *rest))
    with pytest.raises(AssertionError):
        check_f_fidelity(FFidelity(steps=4, samples=5))


def test_with_everything_removed_a_linear_logit_loses_its_effects():
    problem, effects = linear_problem()
    problem = dataclasses.replace(problem, helpers={"fine_tuned": problem.model})
    metric = FFidelity(alpha=1.0, beta=1.0, steps=6, samples=1, output="logit")
    found = metric(problem, Attributions(effects), RNG).curves
    total = effects.sum(2).flatten(2).sort(dim=2, descending=True).values
    cumulated = torch.nn.functional.pad(total.cumsum(2), (1, 0))[..., ::6]
    torch.testing.assert_close(found["fid_plus"], cumulated, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(found["fid_minus"], cumulated[..., -1:] - cumulated, atol=2e-6, rtol=1e-5)


def test_true_effects_score_above_noise_and_noise_has_none_in_the_mean():
    problem, effects = linear_problem(batch=40)
    problem = dataclasses.replace(problem, helpers={"fine_tuned": problem.model})
    metric = FFidelity(output="logit")
    true, noise = (metric(problem, maps, RNG).values["value"] for maps in (Attributions(effects), random_attributions(problem)))
    opposite = metric(problem, Attributions(-effects), RNG).values["value"]
    assert (true > noise).all()
    assert (opposite < noise).all()
    assert noise.mean().abs() < 4 * noise.std() / math.sqrt(noise.numel()) < true.mean()


def test_one_fine_tuned_classifier_serves_all_explainers_and_starts_from_the_classifier():
    for metric in (FFidelity(epochs=4, train_images=30), InDomainSingleDeletion(epochs=4, train_images=30)):
        (helper,) = metric.needs(TRAINING, Gradient()).values()
        assert metric.needs(TRAINING, Random()) == {"fine_tuned": helper}
        assert (helper.fine_tune, helper.origin, helper.trainer.epochs, helper.seed) == (True, TRAINING, 4, 3)
        assert (helper.alteration.images, helper.alteration.removal) == (30, metric.removal)
    assert FFidelity(beta=0.2).needs(TRAINING, Gradient())["fine_tuned"].alteration.share == 0.2
    assert InDomainSingleDeletion(side=5).needs(TRAINING, Gradient())["fine_tuned"].alteration.side == 5


# in-domain single deletion


def spearman_by_loops(one: list[float], other: list[float]) -> float:
    def ranks(values):
        return [(sum(b < a for b in values) + sum(b <= a for b in values) - 1) / 2 for a in values]

    return pearson_by_loops(ranks(one), ranks(other))


def pearson_by_loops(one: list[float], other: list[float]) -> float:
    means = sum(one) / len(one), sum(other) / len(other)
    products = [sum((a - ma) * (b - mb) for a, b in zip(x, y, strict=True)) for x, y, ma, mb in pairs_of(one, other, means)]
    return products[0] / math.sqrt(products[1] * products[2]) if products[1] * products[2] else math.nan


def pairs_of(one, other, means):
    return [(one, other, *means), (one, one, means[0], means[0]), (other, other, means[1], means[1])]


def single_deletion_by_loops(problem, metric) -> tuple[Tensor, Tensor]:
    """(B, T) each: Spearman's and Pearson's correlation for the gradient of the fine-tuned classifier."""
    tuned, side, size = problem.helpers["fine_tuned"], metric.side, problem.images.shape[2]
    found = torch.zeros(2, *problem.targets.shape)
    for row, image in enumerate(problem.images):
        for column, target in enumerate(problem.targets[row].tolist()):
            leaf = image[None].clone().requires_grad_(True)
            relevance = torch.autograd.grad(tuned(leaf)[0, target], leaf)[0][0].sum(0)
            sums, losses = [], []
            for down in range(side):
                for across in range(side):
                    pixels = [(y, x) for y in range(size) for x in range(size) if (y * side // size, x * side // size) == (down, across)]
                    sums.append(sum(float(relevance[y, x]) for y, x in pixels))
                    altered = without_pixels(image, [y * size + x for y, x in pixels])
                    same_image = torch.equal(altered, image)
                    losses.append(0.0 if same_image else float(tuned(image[None])[0, target] - tuned(altered[None])[0, target]))
            found[0, row, column], found[1, row, column] = spearman_by_loops(sums, losses), pearson_by_loops(sums, losses)
    return found[0], found[1]


def check_single_deletion(metric) -> None:
    problem, explanation = helped(metric, chunk=5)
    problem.images[0, :, :4, :4] = 0.0  # squares whose removal changes nothing
    found, expected = metric(problem, explanation, RNG).values, single_deletion_by_loops(problem, metric)
    torch.testing.assert_close(found["value"], expected[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found["pearson"], expected[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [2, 3, 4])
def test_the_correlation_is_that_of_the_definition(side):
    check_single_deletion(InDomainSingleDeletion(side=side))


@pytest.mark.parametrize("fault", ["the maps of the classifier", "the classifier's losses", "no rank"])
def test_the_loops_reject_mutants_of_single_deletion(fault, monkeypatch):
    if fault == "the maps of the classifier":
        monkeypatch.setattr(reexplanation, "explained", lambda problem, explanation: explanation.values)
    elif fault == "the classifier's losses":
        lost = InDomainSingleDeletion._lost
        monkeypatch.setattr(InDomainSingleDeletion, "_lost", lambda self, problem, *rest: lost(self, conv_problem(chunk=5), *rest))
    else:
        monkeypatch.setattr(in_domain_single_deletion, "spearman", pearson)
    with pytest.raises(AssertionError):
        check_single_deletion(InDomainSingleDeletion(side=3))


def test_a_linear_classifiers_effects_predict_every_loss():
    problem, effects = linear_problem()
    problem = dataclasses.replace(problem, helpers={"fine_tuned": problem.model})
    explanation = Attributions(effects, again=lambda changed: Attributions(effects))
    found = InDomainSingleDeletion(side=3)(problem, explanation, RNG).values
    torch.testing.assert_close(found["value"], torch.ones_like(found["value"]))
    torch.testing.assert_close(found["pearson"], torch.ones_like(found["pearson"]))


def test_equal_relevance_or_equal_losses_have_no_correlation():
    metric = InDomainSingleDeletion(side=3)
    problem, _ = helped(metric)
    constant = functools.partial(explained, ConstantMap(), rng=RNG)
    explanation = dataclasses.replace(constant(problem), again=constant)
    assert metric(problem, explanation, RNG).values["value"].isnan().all()
    black = dataclasses.replace(problem, images=torch.zeros_like(problem.images))
    explanation = dataclasses.replace(random_attributions(problem), again=functools.partial(explained, Random(), rng=RNG))
    assert metric(black, explanation, RNG).values["value"].isnan().all()


def test_maps_from_outside_cannot_be_scored():
    metric = InDomainSingleDeletion()
    problem, explanation = helped(metric)
    with pytest.raises(ValueError, match="again=None"):
        metric(problem, dataclasses.replace(explanation, again=None), RNG)


@pytest.mark.parametrize("explainer", [Gradient(), Random()])
@pytest.mark.parametrize(
    "metric", [FFidelity(epochs=1, steps=3, samples=3, train_images=60), InDomainSingleDeletion(epochs=1, train_images=60, side=4)]
)
def test_stages_score_as_the_metric_does(stages, explainer, metric):
    explaining = dataclasses.replace(GRADIENT, explainer=explainer)
    found = stages.evaluate(explaining, metric)
    problem = stages.problem(explaining, metric.needs(TRAINING, explainer))
    again = functools.partial(explained, explainer, rng=explaining.rng)
    rng = dataclasses.replace(explaining.rng, component=type(metric).__name__)
    expected = scored(metric, problem, dataclasses.replace(again(problem), again=again), rng)
    for name, value in expected.values.items():
        assert torch.equal(found.tensors[f"values.{name}"].isnan(), value.isnan())
        torch.testing.assert_close(found.tensors[f"values.{name}"], value, equal_nan=True)
    passes = metric.passes(problem, explainer)
    assert (found.provenance["forward"], found.provenance["backward"]) == (passes.forward, passes.backward)


# correlations


def test_correlations_are_those_of_the_definition():
    draw = torch.Generator().manual_seed(0)
    one, other = torch.rand(5, 3, 9, generator=draw), torch.randint(0, 4, (5, 3, 9), generator=draw).double()
    for row in range(5):
        for column in range(3):
            values = one[row, column].tolist(), other[row, column].tolist()
            assert float(spearman(one, other)[row, column]) == pytest.approx(spearman_by_loops(*values), abs=1e-12)
            assert float(pearson(one, other)[row, column]) == pytest.approx(pearson_by_loops(*values), abs=1e-6)
    tiny = 1e-20 * one.double()
    torch.testing.assert_close(pearson(tiny, other), pearson(one.double(), other))


def test_correlations_with_constants_or_nan_are_not_defined():
    values = torch.tensor([[0.1] * 7, [1.0, 2, 3, 4, 5, torch.nan, 7], [1.0, 2, 3, 4, 5, 6, 7]])
    for correlation in (pearson, spearman):
        found = correlation(values, torch.arange(7.0).expand(3, 7))
        assert found.isnan().tolist() == [True, True, False]
        assert found[2] == pytest.approx(1)


def test_the_papers_removal_is_the_default():
    assert Roar().removal == DatasetMean()
    assert Roar().fractions == (0.1, 0.3, 0.5, 0.7, 0.9)
    assert (Roar.higher_is_better, KeepAndRetrain.higher_is_better) == (False, True)
