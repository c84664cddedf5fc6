"""The axioms as checks of an explainer on classifiers of known structure.

Each function of `DEVIATIONS` gives how far an explainer is from an axiom, relative to the largest value of its map. An axiom holds where
nothing deviates by more than rounding; completeness also where the error is that of a quadrature (`QUADRATURES`) and shrinks as it is
refined; a claim also where the deviation is random and its mean over draws does not differ from 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import scipy.ndimage
import structures
import torch
from structures import CLASSES, EVEN, IGNORED, LEFT, ODD, RIGHT, SHAPE
from torch import Tensor, nn

from xaibench.problem import Explainer, Problem
from xaibench.seeding import Rng
from xaibench.superpixels import Squares

EXACT = 1e-4
"""Deviations up to this are rounding. What is violated deviates ten times as much (a test says so)."""
DRAWS, ERRORS = 16, 5.0
"""For axioms that hold in expectation: so many draws, and the mean within so many of its standard errors."""
FACTORS = (1.5, -0.7)
"""Of the two classifiers in the weighted sum."""
BATCH = 2


@dataclass(frozen=True)
class Quadrature:
    """An integral in `steps` pieces, of whose error `steps` to the power of `order` times as much is left."""

    steps: int
    order: int


REFINED = 4
"""How many times the steps of a quadrature are multiplied to see its error shrink."""
QUADRATURES = {
    "IntegratedGradients": Quadrature(steps=25, order=2),
    "BlurIntegratedGradients": Quadrature(steps=25, order=2),
    "GuidedIntegratedGradients": Quadrature(steps=25, order=1),
}
"""By class: whose values sum to the total up to the error of a quadrature, on a classifier with continuous derivatives."""


class NotApplicable(Exception):
    """The explainer cannot explain the classifiers on which the axiom is checked."""


@dataclass(frozen=True)
class Verdict:
    """`holds` ("", "exactly" or "in expectation"; None: not applicable), and the largest deviation of one draw."""

    holds: str | None
    deviation: float = 0.0


def made(model: nn.Module, images: Tensor, background: Tensor, targets: int = CLASSES) -> Problem:
    batch = len(images)
    return Problem(
        model=model,
        images=images,
        targets=torch.arange(targets).expand(batch, -1).contiguous(),
        labels=torch.zeros(batch, dtype=torch.int64),
        index=7 * torch.arange(batch) + 3,
        background=background,
    )


def random_problem(model: nn.Module) -> Problem:
    # A dark background, and a bright image: between them rules for ReLU meet its kinks.
    return made(model, structures.pictures(40, BATCH), structures.pictures(41, 3) / 4)


def suited(explainer: Explainer, problem: Problem) -> Explainer:
    """With superpixels of whose kind each of the classifiers' quarters is a union, few enough to be quick."""
    if not hasattr(explainer, "superpixels"):
        return explainer
    fine = dataclasses.replace(explainer, superpixels=Squares(side=4))
    return fine if fine.passes(problem).forward <= 20_000 else dataclasses.replace(explainer, superpixels=Squares(side=2))


def explained(explainer: Explainer, problem: Problem, rng: Rng) -> tuple[Tensor, Tensor | None]:
    """Values (B, T, H, W), in float64 and summed over channels; and the total."""
    explainer = suited(explainer, problem)
    reason = explainer.unsupported(problem)
    if reason is not None:
        raise NotApplicable(reason)
    found = explainer(problem, rng)
    values = found.values.double().sum(2)
    assert values.isfinite().all()
    return values, found.total


def relative(difference: Tensor, *values: Tensor) -> Tensor:
    largest = max(float(value.abs().max()) for value in values)
    assert largest > 0, "the maps are all 0: nothing is shown about them"
    return difference / largest


def differences(problem: Problem, explainer: Explainer) -> dict[str, Tensor]:
    """(B, T): the change of the output from each reference that explainers use; computed here, not by xaibench."""
    images, background = problem.images, problem.background
    sigma = getattr(explainer, "max_sigma", 3.0)
    # Zeros around the image, and the weights of what lies within scaled to sum to 1.
    blurred, inside = (
        torch.from_numpy(scipy.ndimage.gaussian_filter(part.double().numpy(), (0, 0, sigma, sigma), mode="constant", truncate=20.0))
        for part in (images, torch.ones_like(images))
    )
    references = {
        "black": torch.zeros(1, *SHAPE),
        "white": torch.ones(1, *SHAPE),
        "mean of the background": background.mean(0, keepdim=True),
        "blurred": (blurred / inside).float(),
    }
    output = {name: problem.classifier(reference) for name, reference in references.items()}
    output |= {"background": problem.classifier(background).mean(0, keepdim=True), "nothing": torch.zeros(1, CLASSES)}
    return {name: problem.classifier(images) - value for name, value in output.items()}


def quadrature_of(explainer: Explainer) -> Quadrature | None:
    return next((QUADRATURES[cls.__name__] for cls in type(explainer).__mro__ if cls.__name__ in QUADRATURES), None)


def incompleteness(explainer: Explainer, model: nn.Module, rng: Rng) -> Tensor:
    """The sum against the output's change from one of the references; that must be the explanation's total too, where it has one."""
    problem = random_problem(model)
    values, total = explained(explainer, problem, rng)
    changes = [value.double() for value in differences(problem, explainer).values()]
    if total is not None:
        changes = [value for value in changes if relative(value - total, value).abs().max() <= 1e-5]
        assert changes, "the total is not the output's change from any reference"
    found = [relative(values.sum((2, 3)) - value, value) for value in changes]
    return min(found, key=lambda deviation: float(deviation.abs().max()))


def completeness(explainer: Explainer, rng: Rng) -> Tensor:
    """The sum against the output's change; of a quadrature, what is left of the error beyond what its order allows."""
    quadrature = quadrature_of(explainer)
    if quadrature is None:
        return incompleteness(explainer, structures.convolutional(structures.parts()[0]), rng)
    steps = (quadrature.steps, REFINED * quadrature.steps)
    model = structures.smooth(structures.parts()[0])
    coarse, fine = (incompleteness(dataclasses.replace(explainer, steps=count), model, rng).abs() for count in steps)
    assert fine.max() < 0.02, f"the sum is {float(fine.max()):.2g} from the total after {steps[1]} steps"
    return (fine - 1.5 * coarse.max() / REFINED**quadrature.order).clamp(min=0)


def dummy(explainer: Explainer, rng: Rng) -> Tensor:
    """The values where the output depends on nothing."""
    found = []
    for way in (None, "inside", "common"):
        values, _ = explained(explainer, random_problem(structures.ignoring(way)), rng)
        found.append(relative(values[(..., *IGNORED)], values))
    return torch.stack(found)


def sensitivity(explainer: Explainer, rng: Rng) -> Tensor:
    """1 where the value of the only pixel that is not black is 0: with a classifier that it saturates, and with another."""
    row, column = 2, 4
    image = torch.zeros(1, *SHAPE)
    image[..., row, column] = 1.0
    found = []
    for model in (structures.saturating(row, column), structures.outside()):
        values, _ = explained(explainer, made(model, image, torch.zeros(1, *SHAPE)), rng)
        found.append(values[..., row, column].abs() <= 1e-6 * values.abs().amax((2, 3)))
    return torch.stack(found).double()


def implementation_invariance(explainer: Explainer, rng: Rng) -> Tensor:
    """What changes when the same function is written differently."""
    expected, _ = explained(explainer, random_problem(structures.outside()), rng)
    found = []
    for other in structures.SAME:
        try:
            values, _ = explained(explainer, random_problem(other()), rng)
        except NotApplicable:
            continue
        found.append(relative(values - expected, values, expected))
    if not found:
        raise NotApplicable("none of the other implementations can be explained")
    return torch.stack(found)


def linearity(explainer: Explainer, rng: Rng) -> Tensor:
    """The explanation of a weighted sum of two classifiers against the weighted sum of their explanations."""
    one, other = structures.parts()
    terms = [
        factor * explained(explainer, random_problem(structures.convolutional(layers)), rng)[0]
        for factor, layers in zip(FACTORS, (one, other), strict=True)
    ]
    values, _ = explained(explainer, random_problem(structures.weighted(one, other, FACTORS)), rng)
    return relative(values - terms[0] - terms[1], values, *terms)


def equalized(problem: Problem, here: tuple[slice, ...], there: tuple[slice, ...]) -> Problem:
    """With the same values in two parts of the images, and in those of the background."""
    images, background = problem.images.clone(), problem.background.clone()
    images[(..., *there)], background[(..., *there)] = images[(..., *here)], background[(..., *here)]
    return dataclasses.replace(problem, images=images, background=background)


def symmetry(explainer: Explainer, rng: Rng) -> Tensor:
    """The differences between pixels that are treated alike, have equal values, and stand for equal ones in the background."""
    cases = [(structures.alike(mixed), LEFT, RIGHT) for mixed in (False, True)]
    cases += [(structures.mirrored(way), EVEN, ODD) for way in ("outside", "inside", "common")]
    found = []
    for model, here, there in cases:
        values, _ = explained(explainer, equalized(random_problem(model), here, there), rng)
        found.append(relative(values[(..., *here)] - values[(..., *there)], values).flatten())
    return torch.cat(found)


DEVIATIONS: dict[str, Callable[[Explainer, Rng], Tensor]] = {
    "completeness": completeness,
    "dummy": dummy,
    "sensitivity": sensitivity,
    "implementation invariance": implementation_invariance,
    "linearity": linearity,
    "symmetry": symmetry,
}
"""Of each axiom of `explaining.AXIOMS`: how far an explainer is from it, 0 where it holds."""


def deviation(axiom: str, explainer: Explainer, draw: int = 0) -> Tensor:
    with torch.no_grad():
        return DEVIATIONS[axiom](explainer, Rng(seed=0, draw=draw, component=type(explainer).__name__)).flatten()


def in_expectation(axiom: str, explainer: Explainer) -> bool:
    """Whether the deviations of many draws have the mean 0, as far as these can tell, and can tell well."""
    draws = torch.stack([deviation(axiom, explainer, draw) for draw in range(DRAWS)])
    error = ERRORS * draws.std(0) / DRAWS**0.5
    return bool((draws.mean(0).abs() <= error + EXACT).all() and (error > 0).any() and (error <= 0.5).all())


@cache
def verdict(axiom: str, explainer: Explainer) -> Verdict:
    """Whether the axiom holds for the explainer. Only what is claimed may hold in expectation alone."""
    try:
        found = float(deviation(axiom, explainer).abs().max())
    except NotApplicable:
        return Verdict(None)
    if found <= EXACT:
        return Verdict("exactly", found)
    if axiom in explainer.claims and in_expectation(axiom, explainer):
        return Verdict("in expectation", found)
    return Verdict("", found)


def check(axiom: str, explainer: Explainer) -> None:
    """AssertionError if the axiom is violated, NotApplicable if the explainer explains none of the classifiers that show it."""
    found = verdict(axiom, explainer)
    if found.holds is None:
        raise NotApplicable(f"{type(explainer).__name__} explains none of the classifiers of {axiom}")
    assert found.holds, f"{type(explainer).__name__} violates {axiom}: it deviates by {found.deviation:.2g} of its largest value"
