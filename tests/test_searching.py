"""The machinery of counterfactuals: the rule of what is found, what is asked for, blocks and flags, against plain loops."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from xaibench import cost, searching
from xaibench.explaining import FLAGS
from xaibench.problem import Attributions, Counterfactuals, Passes, Problem
from xaibench.searching import CounterfactualExplainer, Pairs, Proposals, differentiable, flags, searched, verdict
from xaibench.seeding import Rng

RNG = Rng(seed=1, component="searching")
INF, NAN = math.inf, math.nan
CLASSES = 5


class Brightness(nn.Module):
    """The class whose brightness, 0 to 1, is nearest to the image's mean; of two at the same distance, the first."""

    def forward(self, images: Tensor) -> Tensor:
        centers = torch.linspace(0, 1, CLASSES, device=images.device)
        return -40 * (images.flatten(1).mean(1, keepdim=True) - centers).square()


@dataclasses.dataclass(frozen=True)
class Scripted(CounterfactualExplainer):
    """Proposes, by the target: the image itself, a NaN, an image that only clipping makes one, one that clipping unmakes, a bright one."""

    differentiates: ClassVar = False

    def most_passes(self, problem: Problem) -> Passes:
        return Passes(CLASSES, CLASSES)

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        made = torch.stack([proposal(image, int(target)) for image, target in zip(pairs.images, pairs.targets, strict=True)])
        return Proposals(made, pairs.targets, 2 * pairs.targets)


@dataclasses.dataclass(frozen=True)
class Keeping(Scripted):
    """Looks for what keeps the predicted class."""

    contrary: ClassVar = False


def proposal(image: Tensor, target: int) -> Tensor:
    """Clipped, target 2 is reached ([0, 1] halves: mean 1/2) that was not before, and target 3 is not that was (mean 3/4)."""
    made = image.clone()
    if target == 1:
        made[:] = 0.25
        made[0, 0, 0] = NAN
    if target in (2, 3):
        made[:, :2] = -2.0
        made[:, 2:] = 3.0 if target == 2 else 3.5
    if target == 4:
        made[:] = 1.0
    return made


def problem_of(batch: int = 7, **changes) -> Problem:
    """Images of all brightnesses; all classes are targets, in another order for each image."""
    draw = torch.Generator().manual_seed(0)
    images = torch.linspace(0.02, 0.98, batch)[:, None, None, None] + 0.02 * (torch.rand(batch, 1, 4, 4, generator=draw) - 0.5)
    targets = torch.stack([torch.randperm(CLASSES, generator=draw) for _ in range(batch)])
    problem = Problem(Brightness().eval(), images, targets, targets[:, 0], torch.arange(batch) + 30, images[:1], chunk=4)
    return dataclasses.replace(problem, **changes)


def expected(explainer: Scripted, problem: Problem) -> Counterfactuals:
    """Image by image, target by target."""
    shape = problem.targets.shape
    found = Counterfactuals(
        problem.images[:, None].repeat(1, shape[1], 1, 1, 1),
        torch.zeros(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.bool),
        torch.zeros(shape, dtype=torch.int64),
        torch.zeros(shape, dtype=torch.int64),
    )
    for row, image in enumerate(problem.images):
        predicted = int(problem.classifier(image[None])[0].argmax())
        for column, target in enumerate(problem.targets[row].tolist()):
            if (target != predicted) == explainer.contrary:
                stored = proposal(image, target).clamp(0, 1)
                found.asked[row, column] = True
                found.images[row, column] = stored
                found.found[row, column] = rule(problem.classifier(stored[None])[0].tolist(), target, explainer.confidence)
                found.forward[row, column], found.backward[row, column] = target, 2 * target
    return found


def rule(logits: list[float], target: int, confidence: float) -> bool:
    if any(math.isnan(value) for value in logits) or logits.index(max(logits)) != target:
        return False
    largest = max(logits)
    if math.isinf(largest):
        return False
    shares = [math.exp(value - largest) for value in logits]
    return shares[target] / sum(shares) >= confidence


def check_call(explainer: Scripted, problem: Problem) -> None:
    found, known = explainer(problem, RNG), expected(explainer, problem)
    for name in searching.TENSORS:
        torch.testing.assert_close(
            getattr(found, name), getattr(known, name), equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("explainer", [Scripted(), Keeping(), Scripted(confidence=0.9), Keeping(confidence=0.9), Scripted(confidence=1.0)])
def test_a_call_is_the_plain_loop_over_pairs(explainer):
    check_call(explainer, problem_of())


def test_the_script_has_every_case():
    problem = problem_of()
    found = expected(Scripted(), problem)
    by_target = {target: found.found[(problem.targets == target) & found.asked] for target in range(CLASSES)}
    assert not by_target[0].any()  # the image itself
    assert not by_target[1].any()  # NaN
    assert by_target[2].all()  # clipped into it
    assert not by_target[3].any()  # clipped out of it
    assert by_target[4].all()
    unclipped = torch.stack([proposal(problem.images[0], target) for target in (2, 3)])
    assert Brightness()(unclipped).argmax(1).tolist() != [2, 2]
    assert int(Brightness()(unclipped[1:]).argmax()) == 3
    assert not expected(Scripted(confidence=1.0), problem).found.any()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda logits, targets, confidence: torch.ones_like(targets, dtype=torch.bool),
        lambda logits, targets, confidence: verdict(logits, targets, 0.99),
        lambda logits, targets, confidence: verdict(logits, (targets + 1) % CLASSES, confidence),
    ],
)
def test_another_rule_is_noticed(wrong, monkeypatch):
    monkeypatch.setattr(searching, "verdict", wrong)
    with pytest.raises(AssertionError):
        for explainer in (Scripted(), Scripted(confidence=0.3)):
            check_call(explainer, problem_of())


@dataclasses.dataclass(frozen=True)
class Unclipped(Scripted):
    """Judges what the method proposed, not what is stored."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        for row, column in found.asked.nonzero().tolist():
            raw = proposal(problem.images[row], int(problem.targets[row, column]))
            found.found[row, column] = int(problem.classifier(raw[None]).argmax()) == problem.targets[row, column]
        return found


@dataclasses.dataclass(frozen=True)
class Eager(Scripted):
    """Asks for the predicted class, too."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        return dataclasses.replace(found, asked=torch.ones_like(found.asked))


@dataclasses.dataclass(frozen=True)
class Shifted(Scripted):
    """Puts the proposals at the wrong targets."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        return dataclasses.replace(found, images=found.images.roll(1, dims=1))


@dataclasses.dataclass(frozen=True)
class Free(Scripted):
    """Forgets the passes."""

    def __call__(self, problem: Problem, rng: Rng) -> Counterfactuals:
        found = super().__call__(problem, rng)
        return dataclasses.replace(found, backward=found.forward)


@pytest.mark.parametrize("mutant", [Unclipped, Eager, Shifted, Free])
def test_another_base_is_noticed(mutant):
    with pytest.raises(AssertionError):
        check_call(mutant(), problem_of())


def check_verdict(decide: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    rows = [
        [1.0, 0.0, -1.0],
        [0.0, 1.0, 1.0],
        [2.0, 2.0, 2.0],
        [NAN, 3.0, 1.0],
        [NAN, NAN, NAN],
        [0.0, -INF, -1.0],
        [INF, 0.0, 0.0],
        [5.0, 5.1, 0.0],
        [30.0, -30.0, 0.0],
    ]
    logits = torch.tensor(rows)
    for confidence in (0.0, 0.3, 0.5, 0.6, 0.9999, 1.0):
        for target in range(3):
            told = decide(logits, torch.full((len(rows),), target), confidence)
            assert told.dtype == torch.bool
            wanted = [rule(row, target, confidence) for row in rows]
            # e to the -30 is less than a float's last bit beside 1.
            wanted[-1] = target == 0
            assert told.tolist() == wanted


def test_verdict_is_the_rule_with_ties_nan_and_confidence():
    check_verdict(verdict)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda logits, targets, c: (logits.argmax(1) == targets) & (logits.softmax(1).gather(1, targets[:, None])[:, 0] > c),
        lambda logits, targets, c: logits.gather(1, targets[:, None])[:, 0] == logits.max(1).values,
        lambda logits, targets, c: (logits.softmax(1).gather(1, targets[:, None])[:, 0] >= c) & ~logits.isnan().any(1),
        lambda logits, targets, c: verdict(logits.nan_to_num(0.0), targets, c),
        lambda logits, targets, c: verdict(logits, targets, 0.0),
        lambda logits, targets, c: verdict(logits.flip(1), 2 - targets, c),
        lambda logits, targets, c: logits.argmax(1) == targets,
    ],
)
def test_the_check_of_the_rule_rejects_mutants(wrong):
    with pytest.raises(AssertionError):
        check_verdict(wrong)


def test_no_pairs_and_no_proposals_need_no_search(monkeypatch):
    monkeypatch.setattr(Scripted, "search", lambda *_: pytest.fail("searched"))
    problem = problem_of()
    problem = dataclasses.replace(problem, targets=Brightness()(problem.images).argmax(1, keepdim=True))
    with cost.measure(problem.classifier) as counted:
        found = Scripted()(problem, RNG)
    assert counted.passes == Passes(len(problem.images))
    assert not (found.asked | found.found).any()
    assert torch.equal(found.images[:, 0], problem.images)


@pytest.mark.parametrize(("value", "told"), [(-0.25, "from -0.25 to"), (1.5, "to 1.5"), (NAN, "from nan to nan"), (INF, "to inf")])
def test_images_outside_the_range_are_named(value, told):
    problem = problem_of()
    problem.images[3, 0, 1, 1] = value
    with pytest.raises(ValueError, match=r"^Problem\.images .*: expected values in \[0, 1\]$") as caught:
        Scripted()(problem, RNG)
    assert told in str(caught.value)


def test_passes_are_those_of_the_search_at_most_and_the_bases_own():
    problem = problem_of()
    pairs = problem.targets.numel()
    assert Scripted().passes(problem) == Passes(len(problem.images) + pairs * (CLASSES + 1), pairs * CLASSES)
    with cost.measure(problem.classifier) as counted:
        found = Scripted()(problem, RNG)
    assert counted.passes == Passes(len(problem.images) + int(found.asked.sum()))


def test_blocks_give_what_the_whole_gives(monkeypatch):
    problem, seen = problem_of(batch=11), []
    whole = Scripted()(problem, RNG)
    monkeypatch.setattr("xaibench.explaining.BLOCK_IMAGES", 4)
    monkeypatch.setattr(
        Scripted, "__call__", lambda self, part, rng: seen.append(len(part.images)) or CounterfactualExplainer.__call__(self, part, rng)
    )
    found = searched(Scripted(), problem, RNG)
    assert seen == [4, 4, 3]
    for name in searching.TENSORS:
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), equal_nan=True)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match=r"Problem\.images: expected at least one image"):
        searched(Scripted(), problem_of().take(slice(0, 0)), RNG)


def test_flags_tell_what_there_is():
    problem = problem_of()
    found = Scripted()(problem, RNG)
    told = flags(found)
    assert told.dtype == torch.uint8
    for row in range(len(problem.images)):
        for column, target in enumerate(problem.targets[row].tolist()):
            name = FLAGS[int(told[row, column])]
            if not found.asked[row, column]:
                assert name == "not asked for"
            else:
                assert name == {1: "not finite", 2: "", 4: ""}.get(target, "without a counterfactual")
    assert set(told.flatten().tolist()) == {0, 3, 4, 5}


class Closed(nn.Module):
    """A black box."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return Brightness()(images)


@dataclasses.dataclass(frozen=True)
class Following(Scripted):
    """Needs a gradient."""

    differentiates: ClassVar = True


def test_a_black_box_is_refused_by_methods_that_differentiate():
    problem = problem_of()
    closed = dataclasses.replace(problem, model=Closed().eval())
    assert differentiable(problem)
    assert not differentiable(closed)
    assert Following().unsupported(problem) is None
    assert Following().unsupported(closed) == "needs the classifier's gradient with respect to the image, and it gives none"
    assert Scripted().unsupported(closed) is None
    check_call(Scripted(), closed)
    with torch.no_grad():
        assert differentiable(problem)
    assert not problem.images.requires_grad


def test_without_a_model_nothing_is_searched():
    reason = "needs a model, and only predictions are known"
    assert Scripted().unsupported(dataclasses.replace(problem_of(), model=None)) == reason


def test_pairs_and_counterfactuals_take_rows():
    problem = problem_of()
    pairs = Pairs(problem.images, problem.targets[:, 0], problem.targets[:, 1], problem.index)
    some = pairs.take(torch.tensor([4, 1]))
    assert len(some) == 2
    assert some.index.tolist() == [34, 31]
    found = Scripted()(problem, RNG).take(slice(2, 5))
    assert found.images.shape[0] == len(found.found) == len(found.backward) == 3
    assert not isinstance(found, Attributions)
