"""DeepLIFT against its rules by hand: matrix algebra on dense layers, loops over the windows of max-pooling."""

import dataclasses
import itertools

import pytest
import torch
from explainer_cases import RNG, Block, Explain, all_classes, frozen, make_problem, negated, next_target, rejects
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench.explainers import rescale
from xaibench.explainers.deep_lift import DeepLift
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.input_x_gradient import InputXGradient
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


def dense(activation: nn.Module, seed: int = 0) -> Problem:
    torch.manual_seed(seed)
    layers = (nn.Flatten(), nn.Linear(8, 7), activation, nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))
    return make_problem(frozen(nn.Sequential(*layers)), torch.rand(4, 2, 2, 2), all_classes(4, 3))


def by_hand(problem: Problem, baseline: float) -> Tensor:
    """In float64: the product of the weights and of the quotients of differences at the activations."""
    _, first, one, second, two, last = (module.double() for module in problem.classifier)
    images = problem.images.double().flatten(1)
    reference = torch.full_like(images[:1], baseline)
    quotients, values = [], (images, reference)
    for layer, activation in ((first, one), (second, two)):
        before = [layer(value) for value in values]
        values = tuple(activation(value) for value in before)
        quotients.append((values[0] - values[1]) / (before[0] - before[1]))
    signal = last.weight[None] * quotients[1][:, None] @ second.weight * quotients[0][:, None] @ first.weight
    return (signal * (images - reference)[:, None]).reshape(4, 3, 2, 2, 2).float()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.Sigmoid(), nn.PReLU(), nn.ReLU6()], ids=repr)
def test_the_rescale_rule_by_hand(activation):
    expected = by_hand(dense(activation), 0.3)
    activation.float()

    def check(explain: Explain) -> None:
        assert_close(explain(dense(activation), RNG).values, expected, rtol=1e-3, atol=1e-5)

    check(DeepLift(baseline=0.3))
    for mutant in (DeepLift(), Gradient(), InputXGradient(), negated(DeepLift(baseline=0.3)), next_target(DeepLift(baseline=0.3))):
        rejects(check, mutant)


WINDOWS = {
    "apart": {"kernel_size": 2},
    "overlapping": {"kernel_size": 3, "stride": 1},
    "padded": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dilated": {"kernel_size": 2, "stride": 1, "dilation": 2},
    "ceiling": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    "oblong": {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 1)},
}


def pooled(pooling: nn.Module) -> Problem:
    torch.manual_seed(3)
    size = pooling(torch.zeros(1, 2, 6, 7)).numel()
    model = frozen(nn.Sequential(pooling, nn.Flatten(), nn.Linear(size, 3)))
    # Few values, so that there are ties within windows, and between image and baseline.
    return make_problem(model, torch.randint(0, 5, (3, 2, 6, 7)) / 4, all_classes(3, 3))


def windows_of(pooling: nn.Module) -> list[list[tuple[int, int]]]:
    """The places of each output's window, in the order of the outputs, found by asking which inputs reach it."""
    count = pooling(torch.zeros(1, 1, 6, 7)).numel()
    found: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for place in itertools.product(range(6), range(7)):
        spike = torch.zeros(1, 1, 6, 7)
        spike[0, 0, place[0], place[1]] = 1.0
        for output in pooling(spike).flatten().nonzero().flatten().tolist():
            found[output].append(place)
    return found


def pooling_by_hand(problem: Problem, baseline: float) -> Tensor:
    """Each window's change of the maximum goes to the place of the larger maximum: the image's, unless the baseline's is larger."""
    pooling, _, last = problem.classifier
    windows = windows_of(pooling)
    weights = last.weight.reshape(3, 2, len(windows))
    values = torch.zeros(3, 3, 2, 6, 7)
    for image, channel, (number, window) in itertools.product(range(3), range(2), enumerate(windows)):
        inputs = {place: float(problem.images[image, channel, place[0], place[1]]) for place in window}
        winner = max(inputs, key=lambda place: inputs[place])
        change = inputs[winner] - baseline
        if change < 0:
            winner = window[0]  # the baseline is constant: its first place is its maximum
        values[image, :, channel, winner[0], winner[1]] += weights[:, channel, number] * change
    return values


@pytest.mark.parametrize("name", [*WINDOWS, "adaptive"])
@pytest.mark.parametrize("baseline", [0.0, 0.9])
def test_the_rule_of_max_pooling_by_hand(name, baseline):
    problem = pooled(nn.AdaptiveMaxPool2d((3, 4)) if name == "adaptive" else nn.MaxPool2d(**WINDOWS[name]))
    expected = pooling_by_hand(problem, baseline)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    check(DeepLift(baseline=baseline))
    with torch.no_grad():
        change = problem.classifier(problem.images) - problem.classifier(torch.full_like(problem.images[:1], baseline))
    assert_close(expected.sum((2, 3, 4)), change, rtol=1e-4, atol=1e-5)
    for mutant in (DeepLift(baseline=0.5), negated(DeepLift(baseline=baseline)), Gradient()):
        rejects(check, mutant)


def test_multipliers_of_max_pooling_lie_between_0_and_1():
    torch.manual_seed(4)
    pooling = nn.MaxPool2d(3, 1, 1)
    uses = []
    for _ in range(2):
        inputs = torch.randint(0, 6, (5, 2, 6, 6)) / 5
        uses.append(rescale._use(pooling, inputs, pooling(inputs)))
    arriving = torch.ones(5, 2, 6, 6)
    sent = rescale._pooling(pooling, *uses)(arriving)
    assert sent.min() >= 0
    assert sent.max() <= 9
    assert_close((sent * (uses[0].inputs - uses[1].inputs)).sum((2, 3)), (uses[0].outputs - uses[1].outputs).sum((2, 3)))


def network(*layers: nn.Module) -> Problem:
    torch.manual_seed(5)
    front = (nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.GELU(), nn.MaxPool2d(3, 2, 1), Block(6), *layers)
    size = nn.Sequential(*front).eval()(torch.zeros(1, 3, 10, 9)).numel()
    model = frozen(nn.Sequential(*front, nn.Flatten(), nn.Linear(size, 12), nn.Softplus(), nn.Linear(12, 4)))
    images = torch.rand(4, 3, 10, 9)
    with torch.no_grad():
        model[-1].weight.mul_(10 / (model(images) - model(torch.zeros_like(images))).abs().max())
    return make_problem(model, images, all_classes(4, 4))


@pytest.mark.parametrize("kind", rescale.ELEMENTWISE, ids=lambda kind: kind.__name__)
def test_every_activation_is_complete_to_rounding(kind):
    problem = network(kind())
    assert DeepLift().unsupported(problem) is None
    found = DeepLift()(problem, RNG)
    with torch.no_grad():
        logits = problem.classifier(problem.images)
        change = logits - problem.classifier(torch.zeros(1, 3, 10, 9))
    rounding = 4 * torch.finfo(torch.float32).eps * logits.abs().max()  # of logits in another batch, on any machine
    assert_close(found.total, change, rtol=1e-5, atol=max(1e-5, float(rounding)))
    assert change.abs().max() > 9
    assert (found.values.sum((2, 3, 4)) - found.total).abs().max() < 5e-5 + rounding


def check_neighbors(kind: type[nn.Module], distance: float) -> None:
    torch.manual_seed(6)
    module = kind().requires_grad_(False)
    points = torch.randn(200, 5) * 3
    # Not at the bends, where a quotient across them is no derivative.
    bends = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0, 6.0])
    points = points + 0.01 * ((points[..., None] - bends).abs().amin(-1) < 0.005)
    near = points + distance
    multipliers = rescale._elementwise(module, *(rescale.Use(x, module(x), None) for x in (points, near)))(torch.ones_like(points))
    exact = points.double().requires_grad_()
    (derivative,) = torch.autograd.grad(module.double()(exact).sum(), exact)
    assert_close(multipliers.double(), derivative, rtol=0, atol=1e-2 if distance else 1e-5)


@pytest.mark.parametrize("kind", rescale.ELEMENTWISE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("distance", [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3])
def test_multipliers_of_neighbors_are_derivatives(kind, distance):
    """Where the inputs nearly agree, rounding must not blow up the quotient."""
    check_neighbors(kind, distance)


def test_derivatives_stand_in_neither_too_rarely_nor_too_often(monkeypatch):
    def error() -> float:
        found = DeepLift()(network(nn.Softplus()), RNG)
        return float((found.values.sum((2, 3, 4)) - found.total).abs().max())

    exact = error()
    monkeypatch.setattr(rescale, "NEAR", 0.0)
    with pytest.raises(AssertionError):
        check_neighbors(nn.Softplus, 1e-6)
    monkeypatch.setattr(rescale, "NEAR", 1.0)
    assert error() > 100 * exact


def check_softmax_is_integrated(explain: Explain, output: str) -> None:
    """The logits' maps, weighted with the mean gradient of the output along the line between the logits, by a fine midpoint sum."""
    problem = network()
    problem.classifier[-1].weight.mul_(0.2)  # logits that differ by 2: no probability is 0 or 1
    logits, found = DeepLift()(problem, RNG), explain(problem, RNG)
    with torch.no_grad():
        ours, theirs = (problem.classifier(inputs).double() for inputs in (problem.images, torch.zeros(1, 3, 10, 9)))
    normalize = torch.softmax if output == "probability" else torch.log_softmax
    change = normalize(ours, 1) - normalize(theirs, 1)
    assert_close(found.total.double(), change, rtol=1e-4, atol=1e-5)
    for row in range(4):
        steps = (torch.arange(2000, dtype=torch.float64)[:, None] + 0.5) / 2000
        points = (theirs + steps * (ours[row] - theirs)).requires_grad_(True)
        for target in range(4):
            (slopes,) = torch.autograd.grad(normalize(points, 1)[:, target].sum(), points)
            expected = torch.einsum("k,kchw->chw", slopes.mean(0), logits.values[row].double())
            assert_close(found.values[row, target].double(), expected, rtol=1e-3, atol=1e-5)
    assert_close(found.values.double().sum((2, 3, 4)), change, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_other_outputs_integrate_softmax_between_the_logits(output):
    def rescaled(problem: Problem, rng: Rng) -> Attributions:
        """The rescale rule on softmax: complete too, but another map."""
        own, changed = DeepLift()(problem, rng), DeepLift(output=output)(problem, rng)
        return Attributions(own.values * (changed.total / own.total)[..., None, None, None], changed.total)

    check_softmax_is_integrated(DeepLift(output=output), output)
    for mutant in (rescaled, next_target(DeepLift(output=output)), DeepLift()):
        with pytest.raises(AssertionError):
            check_softmax_is_integrated(mutant, output)


@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_a_certain_classifier_is_explained_completely_and_in_bounds(output):
    """Logits that differ by 10 and more, and targets with nearly equal ones: no multiplier blows up."""
    problem = network()
    found, largest = DeepLift(output=output)(problem, RNG), DeepLift()(problem, RNG).values.abs().amax(dim=1, keepdim=True)
    assert_close(found.values.sum((2, 3, 4)), found.total, rtol=1e-4, atol=1e-4)
    assert (found.values.abs() <= 2 * largest + 1e-6).all()


def steep(*changes: float) -> Problem:
    """Two logits, whose difference changes by this much from black to each image; it starts below 0 by 0.503 of the most."""
    model = frozen(nn.Sequential(nn.Flatten(), nn.Linear(len(changes) + 1, 2)))
    model[1].weight[:] = 0.0
    model[1].weight[0] = torch.tensor([*changes, 0.0])
    model[1].bias[:] = torch.tensor([-0.503 * max(changes), 0.0])
    images = torch.eye(len(changes), len(changes) + 1)[:, None, None]
    return make_problem(model, images, all_classes(len(changes), 2))


@pytest.mark.parametrize("output", ["probability", "log_probability"])
@pytest.mark.parametrize("change", [60.0, 200.0, 1000.0])
def test_logits_that_change_much_are_explained_completely(output, change, monkeypatch):
    problem = steep(change)
    found = DeepLift(output=output)(problem, RNG)
    with torch.no_grad():
        ends = (problem.classifier(inputs).double() for inputs in (problem.images, torch.zeros_like(problem.images)))
        ours, theirs = (logits.softmax(1) if output == "probability" else logits.log_softmax(1) for logits in ends)
    assert_close(found.total.double(), ours - theirs, rtol=1e-5, atol=1e-5)
    assert_close(found.values.sum((2, 3, 4)).double(), ours - theirs, rtol=2e-6, atol=1e-4)
    monkeypatch.setattr(rescale, "MOST_PANELS", 1)
    assert (DeepLift(output=output)(problem, RNG).values.sum((2, 3, 4)) - found.total).abs().max() > 1.5e-4


@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_neighbors_whose_logits_change_more_are_only_another_rounding(output):
    problem = steep(5.0, 12.0, 1000.0)
    problem.classifier[1].bias[:] = torch.tensor([-3.0, 0.0])
    found = DeepLift(output=output)(problem, RNG).values
    for row in range(3):
        alone = DeepLift(output=output)(problem.take(torch.tensor([row])), RNG).values
        assert_close(found[row : row + 1], alone, rtol=1e-5, atol=1e-6)


def test_logits_without_end_or_that_are_none_have_an_end():
    for change in (1e9, torch.inf, torch.nan):
        starts = rescale._starts(torch.tensor([[change, 0.0]]), torch.zeros(1, 2), torch.tensor([[0, 1]]), "probability")
        assert starts.shape == (1, 2, 2)


def test_nothing_is_divided_by_zero_where_image_and_baseline_agree():
    problem = network(nn.ReLU())
    for output in ("logit", "probability"):
        same = dataclasses.replace(problem, images=torch.full_like(problem.images, 0.4))
        found = DeepLift(baseline=0.4, output=output)(same, RNG)
        assert (found.values == 0).all()
        assert (found.total.abs() < 1e-5).all()


class Shared(nn.Module):
    def __init__(self, relus: int) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.first, self.second, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.relus = nn.ModuleList([nn.ReLU() for _ in range(relus)])

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relus[0](self.first(images.flatten(1)))
        more = self.second(hidden)
        more += hidden
        return self.last(self.relus[-1](more))


def test_a_shared_activation_is_ruled_at_each_use():
    images = torch.rand(3, 2, 2, 2)
    shared, apart = (make_problem(frozen(Shared(relus)), images, all_classes(3, 3)) for relus in (1, 2))
    assert DeepLift().unsupported(shared) is None
    assert_close(DeepLift()(shared, RNG).values, DeepLift()(apart, RNG).values)
