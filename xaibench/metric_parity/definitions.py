"""Definitions of metrics as their papers give them, in plain loops: what decides where our metrics and Quantus differ.

Nothing here is fast, and no computation is shared with the metrics: one image and one class at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaibench.metric_parity.replay import Case, Replayed

Output = Callable[[Tensor], float]
"""The explained output of one image (C, H, W)."""


def flipping(output: Output, image: Tensor, relevance: Tensor, steps: int, value: float) -> list[float]:
    """The output while pixels (H, W) are removed, the most relevant first, from none to all of them (Samek et al. 2017, eq. 6)."""
    order = relevance.flatten().argsort(descending=True, stable=True).tolist()
    found = []
    for step in range(steps + 1):
        altered = image.clone()
        altered.flatten(1)[:, order[: round(step * len(order) / steps)]] = value
        found.append(output(altered))
    return found


def area(curve: list[float]) -> float:
    """Area over the fraction removed, both end points included (Petsiuk et al. 2018, sec. 3.3)."""
    return sum((left + right) / 2 for left, right in itertools.pairwise(curve)) / (len(curve) - 1)


def infidelity(output: Output, image: Tensor, relevance: Tensor, altered: Iterable[Tensor]) -> float:
    """Mean of (I' a - (f(x) - f(x - I)))^2 over perturbations I (Yeh et al. 2019, def. 2.1)."""
    found = [(float(((image - other) * relevance).sum()) - (output(image) - output(other))) ** 2 for other in altered]
    return float(np.mean(found))


def sensitivity_n(output: Output, image: Tensor, relevance: Tensor, subsets: Iterable[list[int]], value: float) -> float:
    """Correlation, over random subsets of n pixels, of their relevance's sum with the drop without them (Ancona et al. 2018, sec. 4)."""
    sums, drops = [], []
    for subset in subsets:
        altered = image.clone()
        altered.flatten(1)[:, subset] = value
        sums.append(float(relevance.flatten()[subset].sum()))
        drops.append(output(image) - output(altered))
    return float(np.corrcoef(sums, drops)[0, 1])


def monotonicity(output: Output, image: Tensor, relevance: Tensor, steps: int, value: float) -> float:
    """Whether the output never falls as pixels come back, the least relevant first (Arya et al. 2019, sec. 4.2): 1 or 0."""
    order = relevance.flatten().argsort(stable=True).tolist()
    altered, found = torch.full_like(image, value), []
    for step in range(1, steps + 1):
        back = order[: round(step * len(order) / steps)]
        altered.flatten(1)[:, back] = image.flatten(1)[:, back]
        found.append(output(altered))
    return float(all(after >= before for before, after in itertools.pairwise(found)))


def irof(output: Output, image: Tensor, relevance: Tensor, regions: Tensor, value: float) -> float:
    """Area over the curve of f(x_l) / f(x_0), l = 0 ... L regions removed, over the fraction l / L (Rieger and Hansen 2020, eq. 3)."""
    numbers = sorted(regions.unique().tolist(), key=lambda number: -float(relevance[regions == number].mean()))
    altered, curve = image.clone(), [output(image)]
    for number in numbers:
        altered[:, regions == number] = value
        curve.append(output(altered))
    return 1 - area([point / curve[0] for point in curve])


def agreement(classes: list[int], alike: Callable[[int, int], bool]) -> list[float]:
    """Share of the other images explained alike that are classified alike; NaN where there is none (Dasgupta et al. 2022, def. 1, 2)."""
    found = []
    for one in range(len(classes)):
        others = [classes[other] == classes[one] for other in range(len(classes)) if other != one and alike(one, other)]
        found.append(float(np.mean(others)) if others else math.nan)
    return found


Decision = Callable[[Any, Case], tuple[Any, Any]]
"""Takes one of our metrics and a case; gives what our score should be, and what Quantus's should be at its settings."""


def each(metric: Any, case: Case, one: Callable[[Output, Tensor, Tensor, int], float]) -> np.ndarray:
    """(B,): a definition for every image; it takes the output, the image, the relevance (H, W) and the row."""
    found = []
    for row, (image, target) in enumerate(zip(case.problem.images, case.problem.targets[:, 0].tolist(), strict=True)):

        def output(altered: Tensor, target: int = target) -> float:
            with torch.no_grad():
                logits = case.problem.classifier(altered[None])[0]
            return float(logits.softmax(0)[target] if getattr(metric, "output", "logit") == "probability" else logits[target])

        found.append(one(output, image, case.explanation.values[row, 0].sum(0), row))
    return np.array(found)


def both(definition: Callable[[Any, Case], Any]) -> Decision:
    """Of a definition that asks the same of both."""
    return lambda metric, case: (definition(metric, case),) * 2


def _area(metric: Any, case: Case) -> Any:
    return each(metric, case, lambda f, x, a, row: area(flipping(f, x, a, metric.steps, metric.removal.value)))


def _irof(metric: Any, case: Case) -> Any:
    regions = metric.superpixels(case.problem.images)[0]
    return each(metric, case, lambda f, x, a, row: irof(f, x, a, regions, metric.removal.value))


def _monotonicity(metric: Any, case: Case) -> Any:
    return each(metric, case, lambda f, x, a, row: monotonicity(f, x, a, metric.steps, metric.removal.value))


def _sensitivity_n(metric: Any, case: Case) -> Any:
    """Means over the images, for each n, with the subsets that ours drew."""
    holes = _replayed(case).holes()

    def one(f: Output, x: Tensor, a: Tensor, row: int, n: int) -> float:
        subsets = [subset.nonzero()[:, 0].tolist() for subset in holes[row] if int(subset.sum()) == n]
        return sensitivity_n(f, x, a, subsets, metric.removal.value)

    return np.array(
        [each(metric, case, lambda f, x, a, row, n=n: one(f, x, a, row, n)).mean() for n in metric.sizes(case.problem)]  # type: ignore[misc]
    )


def _infidelity(metric: Any, case: Case) -> tuple[Any, Any]:
    """Ours over what it drew; Quantus's over the patches of 4 x 4 pixels that it removes."""
    inputs = _replayed(case).inputs

    def patches(image: Tensor) -> Iterable[Tensor]:
        for top in range(0, image.shape[1], 4):
            for left in range(0, image.shape[2], 4):
                altered = image.clone()
                altered[:, top : top + 4, left : left + 4] = 0
                yield altered

    ours = each(metric, case, lambda f, x, a, row: infidelity(f, x, a, inputs[row]))
    return ours, each(metric, case, lambda f, x, a, row: infidelity(f, x, a, patches(x)))


def _completeness(metric: Any, case: Case) -> Any:
    """Whether the sum is f(x) - f(black) but for a hundredth."""

    def one(f: Output, x: Tensor, a: Tensor, row: int) -> float:
        change = f(x) - f(torch.zeros_like(x))
        return float(abs(float(a.sum()) - change) < 0.01 * abs(change))

    return each(metric, case, one)


def _input_invariance(metric: Any, case: Case) -> Any:
    """The gradient of x -> f(x - shift) at x + shift is that of f at x: yes."""
    return np.ones(len(case.problem.images))


def _effective_complexity(metric: Any, case: Case) -> Any:
    return each(metric, case, lambda f, x, a, row: float((a.abs() > metric.threshold * a.abs().max()).double().mean()))


def _weighted(metric: Any, case: Case) -> Any:
    """Share of the positive relevance inside, by the mask's share of the image."""
    masks = case.problem.masks
    assert masks is not None
    positive = case.explanation.values[:, 0].sum(1).clamp(min=0).double()
    inside = (positive * masks[:, 0]).sum((1, 2)) / positive.sum((1, 2))
    return (inside / masks[:, 0].double().mean((1, 2))).numpy()


def _sufficiency(metric: Any, case: Case) -> Any:
    maps = metric.regional(case.problem, case.explanation)[:, 0]
    maps = maps / maps.norm(dim=1, keepdim=True)
    classes = case.problem.classifier(case.problem.images).argmax(1).tolist()
    return np.array(agreement(classes, lambda one, other: float((maps[one] - maps[other]).norm()) <= metric.distance + 1e-9))


def _replayed(case: Case) -> Replayed:
    if case.replayed is None:
        raise ValueError("Case.replayed=None: expected what our metric drew")
    return case.replayed


DECISIONS: Mapping[str, Decision] = {
    "PixelFlipping, area": both(_area),
    "IROF": both(_irof),
    "SensitivityN": both(_sensitivity_n),
    "Monotonicity": both(_monotonicity),
    "Infidelity": _infidelity,
    "Sufficiency": both(_sufficiency),
    "EffectiveComplexity": both(_effective_complexity),
    "Completeness": both(_completeness),
    "InputInvariance": both(_input_invariance),
    "AttributionLocalisation, weighted": both(_weighted),
}
"""By the name of the peer: for those that give something else than ours."""
