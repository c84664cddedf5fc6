"""Every method and metric of counterfactuals in conf/, with small settings, on small classifiers with helpers of random weights."""

import dataclasses
from functools import cache
from typing import Any

import torch
from conformance_cases import CLASSES, RNG, SHAPES, component_of, components, counterfactual, footprint, make_problem, same
from metric_cases import lively
from torch import Tensor, nn

from xaibench import cost, searching
from xaibench.autoencoders import ConvAutoencoder
from xaibench.data import Split
from xaibench.datasets.digits import Digits
from xaibench.problem import Counterfactuals, Explainer, Passes, Problem, Training
from xaibench.scoring import Metric, Scores, scored
from xaibench.searching import CounterfactualExplainer, Pairs, Proposals
from xaibench.seeding import Rng
from xaibench.training import Trainer

CHEAP: dict[str, Any] = {
    "bisections": 3,
    "hidden": 16,
    "iterations": 8,
    "least_agreement": 0.0,
    "patience": 5,
    "train_images": 20,
}
"""Fields that make any component cheap that has them; autoencoders have random weights here, and are not good enough."""

SMALL = ConvAutoencoder(latent=6, width=4)

FEWER: dict[str, dict[str, Any]] = {
    "counterfactual/growing_spheres": {"samples": 20, "most_rounds": 6},
    "counterfactual/nearest_training_image": {"most_candidates": 8},
}
"""Component -> more such fields."""

METHODS, METRICS = counterfactual("explainer"), counterfactual("metric")
MODELS = ["conv16_conv32_gap", "linear", "mlp"]
UNDER = [(model, shape) for model in MODELS for shape in SHAPES]


@cache
def cheap(group: str, name: str) -> Any:
    """The component with fewer iterations."""
    component = component_of(group, name)
    known = {field.name for field in dataclasses.fields(component) if field.init}
    small = {"autoencoder": SMALL} if isinstance(getattr(component, "autoencoder", None), ConvAutoencoder) else {}
    fields = {**CHEAP, **small, **FEWER.get(name, {})}
    return dataclasses.replace(component, **{field: value for field, value in fields.items() if field in known})


def method(name: str) -> CounterfactualExplainer:
    return cheap("explainer", name)


def metric(name: str) -> Metric[Counterfactuals]:
    return cheap("metric", name)


def problem_of(model: str = "mlp", shape: tuple[int, int, int] = (3, 12, 10), batch: int = 4, targets: int = 3) -> Problem:
    """With training images; the dense network is `lively`, so that other classes are near, and gets its predictions among the targets."""
    problem = make_problem(model, shape, targets=targets, batch=batch)
    if model == "mlp":
        wanted = problem.targets
        problem = dataclasses.replace(lively(problem), targets=wanted, masks=None)
        first = problem.probabilities[0].argmax() + torch.arange(targets)
        problem.targets[0] = first % CLASSES
    draw = torch.Generator().manual_seed(5)
    data = Split(torch.rand(48, *shape, generator=draw), torch.arange(48) % CLASSES)
    return dataclasses.replace(problem, training_data=data, chunk=16)


def with_helpers(component: Any, problem: Problem, *explainer: Explainer[Any]) -> Problem:
    """The problem with the helpers that the component asks for, of random weights."""
    training = Training(Digits(), components("model")["conv16_conv32_gap"], Trainer(), 0)
    helpers = {}
    for number, (name, needed) in enumerate(sorted(component.needs(training, *explainer).items())):
        with torch.random.fork_rng([]):
            torch.manual_seed(number)
            helpers[name] = needed.model.build(tuple(problem.images.shape[1:]), CLASSES).eval().requires_grad_(False)
    return dataclasses.replace(problem, helpers=helpers)


def traces(problem: Problem, component: Any) -> list:
    """All that a call must leave as it was."""
    kept = footprint(problem, component)
    for helper in problem.helpers.values():
        kept += footprint(dataclasses.replace(problem, model=helper), component)
    data = problem.training_data
    return kept if data is None else [*kept, data.images.clone(), data.labels.clone()]


def check_search(explainer: CounterfactualExplainer, problem: Problem) -> Counterfactuals | None:
    """What it gives, with all that it declares checked, or None where it says why not."""
    problem = with_helpers(explainer, problem)
    before, reason = traces(problem, explainer), explainer.unsupported(problem)
    assert reason is None or reason.strip()
    assert same(before, traces(problem, explainer))
    if reason is not None:
        return None
    with cost.measure(problem.model) as counted:
        found = explainer(problem, RNG)
    assert same(before, traces(problem, explainer))
    check_result(explainer, problem, found)
    own = Passes(len(problem.images) + int(found.asked.sum()), 0)
    assert counted.passes == own + Passes(int(found.forward.sum()), int(found.backward.sum()))
    declared = explainer.passes(problem)
    assert counted.forward <= declared.forward
    assert counted.backward <= declared.backward
    most = explainer.most_passes(problem)
    assert int(found.forward.max()) <= most.forward
    assert int(found.backward.max()) <= most.backward
    return found


def check_result(explainer: CounterfactualExplainer, problem: Problem, found: Counterfactuals) -> None:
    """Shapes, types and ranges, and that no more and no less is found than the classifier says of the stored images."""
    shape, size = problem.targets.shape, problem.images.shape[1:]
    assert found.images.shape == (*shape, *size)
    assert found.images.dtype == torch.float32
    assert not found.images.requires_grad
    for name in ("found", "asked"):
        assert getattr(found, name).shape == shape
        assert getattr(found, name).dtype == torch.bool
    for name in ("forward", "backward"):
        assert getattr(found, name).shape == shape
        assert getattr(found, name).dtype == torch.int64
        assert (getattr(found, name)[~found.asked] == 0).all()
    given = found.images.isfinite().all(dim=(2, 3, 4))
    assert (found.images[given] >= 0).all()
    assert (found.images[given] <= 1).all()
    with torch.inference_mode():
        predicted = problem.classifier(problem.images).argmax(1)
        logits = problem.classifier(found.images.flatten(0, 1)).unflatten(0, shape)
    assert torch.equal(found.asked, (problem.targets != predicted[:, None]) == explainer.contrary)
    for row in range(shape[0]):
        for column in range(shape[1]):
            one, target = logits[row, column], int(problem.targets[row, column])
            ruled = not one.isnan().any() and int(one.argmax()) == target and float(one.softmax(0)[target]) >= explainer.confidence
            assert bool(found.found[row, column]) == (bool(found.asked[row, column]) and ruled)
            assert found.asked[row, column] or torch.equal(found.images[row, column], problem.images[row])


def check_independence(explainer: CounterfactualExplainer, problem: Problem) -> None:
    """Batch split, order, neighbors, chunk and the order of the targets change nothing."""
    problem = with_helpers(explainer, problem)
    assert explainer.unsupported(problem) is None
    whole = explainer(problem, RNG)
    for rows in (torch.tensor([3, 0, 2, 1]), torch.tensor([2]), slice(1, 3)):
        assert_same(explainer(problem.take(rows), RNG), whole.take(rows))
    for chunk in (3, 64):
        assert_same(explainer(dataclasses.replace(problem, chunk=chunk), RNG), whole)
    turned = explainer(dataclasses.replace(problem, targets=problem.targets.flip(1)), RNG)
    assert_same(turned, Counterfactuals(**{name: getattr(whole, name).flip(1) for name in searching.TENSORS}))
    assert_same(explainer(problem, RNG), whole)


def assert_same(found: Counterfactuals, expected: Counterfactuals) -> None:
    for name in searching.TENSORS[1:]:
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    torch.testing.assert_close(found.images, expected.images, rtol=1e-5, atol=1e-5)


class Broken(nn.Module):
    """Logits that are NaN, for all images or for those that are not among the given ones."""

    def __init__(self, inner: nn.Module, known: Tensor | None = None) -> None:
        super().__init__()
        self.inner, self.known = inner, known

    def forward(self, images: Tensor) -> Tensor:
        logits = self.inner(images)
        if self.known is None:
            return logits * torch.nan
        flat, known = images.flatten(1), self.known.flatten(1)
        strange = (flat[:, None] != known[None]).any(2).all(1)
        return torch.where(strange[:, None], logits * torch.nan, logits)


class BlackBox(nn.Module):
    """The same logits without a gradient."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.inner(images)


def check_nan(explainer: CounterfactualExplainer, problem: Problem) -> None:
    """A classifier that gives NaN, always or for all but the images themselves: nothing is found, and nothing raised."""
    for known in (None, problem.images):
        broken = with_helpers(explainer, dataclasses.replace(problem, model=Broken(problem.model, known).eval()))
        found = explainer(broken, RNG)
        assert found.found.shape == problem.targets.shape
        if explainer.contrary or known is None:
            assert not found.found.any()


def check_nothing_asked(explainer: CounterfactualExplainer, problem: Problem) -> None:
    """All targets are already what is wanted."""
    predicted = problem.probabilities.argmax(1, keepdim=True)
    targets = predicted if explainer.contrary else (predicted + 1) % CLASSES
    problem = with_helpers(explainer, dataclasses.replace(problem, targets=targets))
    with cost.measure(problem.model) as counted:
        found = explainer(problem, RNG)
    assert not found.asked.any()
    assert not found.found.any()
    assert torch.equal(found.images[:, 0], problem.images)
    assert counted.passes == Passes(len(targets), 0)


def check_black_box(explainer: CounterfactualExplainer, problem: Problem) -> None:
    """Without a gradient it says so, or finds what it finds with one."""
    problem = with_helpers(explainer, problem)
    closed = dataclasses.replace(problem, model=BlackBox(problem.model).eval())
    reason = explainer.unsupported(closed)
    assert (reason is not None) == explainer.differentiates
    if reason is None:
        assert_same(explainer(closed, RNG), explainer(problem, RNG))
    else:
        assert "gradient" in reason


@dataclasses.dataclass(frozen=True)
class Noise(CounterfactualExplainer):
    """Most of the pixels at random, which the classifier sees twice."""

    differentiates = False

    def most_passes(self, problem: Problem) -> Passes:
        return Passes(2)

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        draws = rng.each(pairs.index, pairs.targets).uniform(2 * pairs.images[0].numel()).to(torch.float32)
        values, chances = (part.view(pairs.images.shape) for part in draws.chunk(2, dim=1))
        proposed = torch.where(chances[:, :1] < 0.8, values, pairs.images)
        with torch.inference_mode():
            for _ in range(2):
                for part in proposed.split(problem.chunk):
                    problem.classifier(part)
        return Proposals(proposed, torch.full_like(pairs.targets, 2), torch.zeros_like(pairs.targets))


@cache
def searched(shape: tuple[int, int, int] = (3, 12, 10), batch: int = 12) -> tuple[Problem, Counterfactuals]:
    """A problem, and random images of which some are counterfactuals, some are not, and some were not asked for."""
    problem = problem_of("mlp", shape, batch=batch, targets=CLASSES)
    found = Noise()(problem, RNG)
    assert found.found.any(1).sum() > 2
    assert (found.asked & ~found.found).any()
    assert not found.asked.all()
    return problem, found


def none_found(found: Counterfactuals) -> Counterfactuals:
    return dataclasses.replace(found, found=torch.zeros_like(found.found))


def scores_of(metric: Metric[Counterfactuals], problem: Problem, found: Counterfactuals) -> Scores:
    """Its scores, with its shapes, passes and traces checked."""
    problem = with_helpers(metric, problem, Noise())
    assert metric.unsupported(problem, Noise()) is None
    given = [getattr(found, name) for name in searching.TENSORS]
    before = [*traces(problem, metric), *(value.clone() for value in given)]
    with cost.measure(problem.model) as counted:
        scores = scored(metric, problem, found, RNG)
    assert same(before, [*traces(problem, metric), *given])
    assert "value" in scores.values
    assert not scores.curves
    for value in scores.values.values():
        assert value.shape == problem.targets.shape
        assert value.dtype == torch.float32
        assert not value.isinf().any()
        assert not value.requires_grad
    declared = metric.passes(problem, Noise())
    assert counted.forward <= declared.forward
    assert counted.backward <= declared.backward
    assert not metric.exact_passes or counted.passes == declared
    return scores
