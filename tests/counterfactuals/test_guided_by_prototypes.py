"""Counterfactuals guided by prototypes, and the FISTA engine, against plain transcriptions and closed forms."""

import dataclasses

import pytest
import torch
from counterfactual_cases import RNG, counted, make_problem, pairs_of
from fista_cases import FAULTS, SHAPE, Collapsed, check_against_plain, mutants, plain_search, small_problem
from torch import nn

from xaibench.counterfactuals import fista
from xaibench.counterfactuals.guided_by_prototypes import GuidedByPrototypes, nearest_means
from xaibench.data import Split
from xaibench.datasets.digits import Digits
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.problem import Passes, Training
from xaibench.training import Trainer

SMALL = {"iterations": 12, "bisections": 3, "learning_rate": 0.05, "beta": 0.02, "c": 0.5, "gamma": 0.3, "theta": 0.4, "patience": 6}
METHODS = {
    "encoder": GuidedByPrototypes(**SMALL, kappa=0.2, train_images=20),
    "encoder, all": GuidedByPrototypes(**SMALL | {"patience": 0}, neighbors=None, output="log_probability", confidence=0.5),
    "kdtree": GuidedByPrototypes(**SMALL | {"gamma": 0.0}, prototype="kdtree", output="probability"),
}


def plain_prototype(problem, method, image, target):
    """What the target's training images give, one after the other."""
    data = problem.training_data
    order = torch.randperm(len(data.labels), generator=RNG.shared()).tolist()[: method.train_images]
    mine = [data.images[row] for row in order if int(data.labels[row]) == target]
    if not mine:
        return None
    if method.prototype == "kdtree":
        return min(mine, key=lambda other: float((other - image).square().sum()))
    codes = [problem.helpers["autoencoder"].encoder(other[None])[0] for other in mine]
    own = problem.helpers["autoencoder"].encoder(image[None])[0]
    codes.sort(key=lambda code: float((code - own).square().sum()))
    return sum(codes[: method.neighbors]) / len(codes[: method.neighbors])


def plain(problem, method):
    def search(image, target, _):
        prototype = plain_prototype(problem, method, image, target)

        def extra(y):
            if prototype is None:
                return 0.0
            place = y if method.prototype == "kdtree" else problem.helpers["autoencoder"].encoder(y[None])[0]
            return method.theta * ((place - prototype) ** 2).sum()

        return plain_search(problem, method, image, target, extra=extra)

    return search


@pytest.mark.parametrize("name", METHODS)
def test_the_search_equals_its_transcription(name):
    problem, method = small_problem(), METHODS[name]
    assert 3 in pairs_of(problem).targets  # the class without training images, which pulls nowhere
    check_against_plain(problem, method, plain(problem, method))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_transcription_rejects_mutants(fault, monkeypatch):
    problem, method = small_problem(), METHODS["encoder"]
    mutants(monkeypatch)[fault]()
    with pytest.raises(AssertionError):
        check_against_plain(problem, method, plain(problem, method))


@pytest.mark.parametrize("other", [{"theta": 0.0}, {"gamma": 0.0}, {"neighbors": 2}, {"train_images": 9}, {"prototype": "kdtree"}])
def test_the_transcription_rejects_other_terms(other):
    problem, method = small_problem(), METHODS["encoder"]
    with pytest.raises(AssertionError):
        check_against_plain(problem, dataclasses.replace(method, **other), plain(problem, method))


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5])
def test_a_step_solves_the_proximal_problem(beta):
    """argmin over x of (x - z)^2 / 2 + beta |x - origin| in the box: the convex function's lowest point on a fine grid."""
    origin, z = torch.tensor([0.3, 0.9, 0.0, 1.0, 0.5]), torch.linspace(-0.6, 1.6, 23)
    state = {"origin": origin.repeat(23, 1), "low": torch.tensor(0.0), "high": torch.tensor(1.0)}
    ahead, gradient = z[:, None].expand(-1, 5) + 0.2, torch.ones(23, 5)
    found = fista.step(ahead, torch.full((23,), 0.2), gradient, beta, state)
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None, None]
    cost = (grid - z[:, None]).square() / 2 + beta * (grid - origin).abs()
    assert torch.allclose(found.double(), grid[cost.argmin(0), 0, 0], atol=1e-3)


# --- prototypes


def plain_means(points, targets, features, labels, neighbors):
    rows = []
    for point, target in zip(points, targets.tolist(), strict=True):
        mine = sorted(
            (feature for feature, label in zip(features, labels.tolist(), strict=True) if label == target), key=lambda f: (f - point).norm()
        )
        rows.append(torch.stack(mine[:neighbors]).mean(0) if mine else torch.full_like(point, torch.nan))
    return torch.stack(rows)


@pytest.mark.parametrize("neighbors", [1, 3, 50, None])
def test_means_of_the_nearest_equal_loops(neighbors):
    draw = torch.Generator().manual_seed(1)
    points, features = torch.rand(9, 4, generator=draw), torch.rand(40, 4, generator=draw)
    targets, labels = torch.arange(9) % 4, torch.randint(0, 3, (40,), generator=draw)
    found = nearest_means(points, targets, features, labels, neighbors)
    assert torch.allclose(found, plain_means(points, targets, features, labels, neighbors), atol=1e-6, equal_nan=True)
    assert not torch.allclose(found, plain_means(points, targets, features, labels, 2), atol=1e-3, equal_nan=True)


def test_the_prototype_pulls():
    problem = small_problem()
    for name, encode in (("encoder", problem.helpers["autoencoder"].encoder), ("kdtree", nn.Flatten())):
        method = dataclasses.replace(METHODS[name], c=1e-9, bisections=1, iterations=60, beta=0.0, gamma=0.0, theta=20.0, patience=0)
        method = dataclasses.replace(method, confidence=0.0, learning_rate=0.02)
        pairs = pairs_of(problem)
        keep = pairs.targets < 3
        state = fista._started(method, method.goal(problem, pairs.take(keep), RNG), pairs.targets[keep], torch.arange(int(keep.sum())))
        start = (encode(state["now"]) - state["prototype"].flatten(1)).norm(dim=1)
        with torch.no_grad():
            for _ in range(60):
                fista._iterate(method, problem, state)
        assert ((encode(state["now"]) - state["prototype"].flatten(1)).norm(dim=1) < 0.5 * start).all()


# --- pairs and passes


def test_pairs_do_not_depend_on_others_and_passes_are_those_counted():
    problem, method = small_problem(batch=6), METHODS["encoder"]
    whole, passes = counted(method, problem)
    assert passes == Passes(int(whole.forward.sum()), int(whole.backward.sum()))
    assert len(whole.forward[whole.asked].unique()) > 2  # they end at different times
    for chunk, rows in ((3, slice(1, 4)), (4, torch.tensor([5, 0, 3])), (64, torch.tensor([2]))):
        part, expected = method(dataclasses.replace(problem, chunk=chunk).take(rows), RNG), whole.take(rows)
        for name in ("found", "forward", "backward"):
            assert torch.equal(getattr(part, name), getattr(expected, name))
        assert torch.allclose(part.images, expected.images, atol=1e-5)


def test_more_rounds_find_what_is_nearer():
    problem = small_problem(batch=6)
    few, many = (dataclasses.replace(METHODS["encoder"], c=10.0, bisections=rounds)(problem, RNG) for rounds in (1, 6))
    assert few.found.sum() > 5
    assert many.found[few.found].all()
    changes = [(found.images - problem.images[:, None]).flatten(2)[few.found] for found in (few, many)]
    before, after = (0.02 * change.abs().sum(1) + change.square().sum(1) for change in changes)
    assert (after <= before + 1e-6).all()
    assert (after < 0.9 * before).sum() > 3


def test_a_class_that_cannot_be_reached_is_not_found_and_the_image_is_given_back():
    problem = small_problem()
    problem.model[3].bias.data[2] = -1e4
    problem = dataclasses.replace(problem, targets=torch.full((3, 1), 2))
    found, passes = counted(METHODS["encoder"], problem)
    assert found.asked.all()
    assert not found.found.any()
    assert torch.equal(found.images[:, 0], problem.images)
    assert 0 < passes.backward <= 3 * METHODS["encoder"].most_passes(problem).backward


def test_where_nothing_moves_a_round_ends_at_once():
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 2))
    model[1].weight.data.zero_()
    model[1].bias.data = torch.tensor([1.0, 0.0])
    problem = make_problem(model, torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.ones(2, 1, dtype=torch.int64))
    method = GuidedByPrototypes(**SMALL | {"gamma": 0.0, "theta": 0.0})
    found, _ = counted(method, problem)
    assert (found.backward == method.bisections).all()


# --- what it needs


def test_a_collapsed_autoencoder_is_refused_unless_none_is_needed():
    problem = dataclasses.replace(small_problem(batch=6), helpers={"autoencoder": Collapsed()})
    assert "autoencoder is not good enough" in METHODS["encoder"].unsupported(problem)
    assert METHODS["kdtree"].unsupported(problem) is None
    good = dataclasses.replace(problem, helpers={"autoencoder": Identity()})
    assert METHODS["encoder"].unsupported(good) is None


class Identity(Collapsed):
    def forward(self, images):
        return images


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({}, True),
        ({"gamma": 0.0}, True),
        ({"theta": 0.0}, True),
        ({"gamma": 0.0, "theta": 0.0}, False),
        ({"gamma": 0.0, "prototype": "kdtree"}, False),
    ],
)
def test_an_autoencoder_is_trained_only_where_the_loss_contains_one(fields, needed):
    method = GuidedByPrototypes(**SMALL | fields)
    assert list(method.needs(Training(Digits(), Conv10Conv20Dense50(), Trainer(), 0))) == ["autoencoder"] * needed
    if not needed:
        without = dataclasses.replace(small_problem(), helpers={})
        assert method.unsupported(without) is None
        assert method(without, RNG).found.any()


def test_prototypes_need_training_images():
    problem = small_problem()
    for data in (None, Split(torch.rand(0, *SHAPE), torch.zeros(0, dtype=torch.int64))):
        assert "training images" in METHODS["kdtree"].unsupported(dataclasses.replace(problem, training_data=data))
        without = dataclasses.replace(METHODS["kdtree"], theta=0.0)
        assert without.unsupported(dataclasses.replace(problem, training_data=data)) is None
