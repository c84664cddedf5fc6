"""Quantus's metrics at the settings of ours: what each of its classes must be given, and how its results are read.

Every function takes one of our metrics and a case, and gives an array with one row for each image, unless it says otherwise.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaibench.adapters import quantus
from xaibench.metric_parity.replay import Case
from xaibench.metrics import subsets
from xaibench.removal import Constant

PeerCall = Callable[[Any, Case], Any]
"""Takes a metric, whose settings are used, and a case."""


def intensity(metric: Any) -> float:
    """The value that removed pixels take: only such removals are compared."""
    if not isinstance(metric.removal, Constant):
        raise ValueError(f"{type(metric).__name__}.removal={metric.removal!r}: expected a constant to compare with Quantus")
    return float(metric.removal.value)


def steps(metric: Any, case: Case) -> int:
    """Pixels in a step: only steps of equally many are compared."""
    pixels = case.problem.images[0, 0].numel()
    if pixels % metric.steps:
        raise ValueError(f"{type(metric).__name__}.steps={metric.steps}: expected a divisor of {pixels} to compare with Quantus")
    return pixels // int(metric.steps)


def softmax(metric: Any) -> bool:
    """Whether a metric reads probabilities; of the rest, Quantus has only logits."""
    if metric.output not in ("probability", "logit"):
        raise ValueError(f"{type(metric).__name__}.output={metric.output!r}: expected 'probability' or 'logit' to compare with Quantus")
    return bool(metric.output == "probability")


def pixel_flipping(metric: Any, case: Case) -> Any:
    """(B, S): the output after each step, the first step first."""
    settings = {"features_in_step": steps(metric, case), "perturb_baseline": intensity(metric)}
    return np.array(case.quantus("PixelFlipping", settings, softmax=softmax(metric)))


def pixel_flipping_area(metric: Any, case: Case) -> Any:
    """(B,): its own area under that."""
    settings = {"features_in_step": steps(metric, case), "perturb_baseline": intensity(metric), "return_auc_per_sample": True}
    return np.array(case.quantus("PixelFlipping", settings, softmax=softmax(metric)))


def region_perturbation(metric: Any, case: Case) -> Any:
    """(B,): the mean fall over k = 0 ... L; Quantus gives those of k = 1 ... L."""
    order = {"most": "morf", "least": "lerf"}[metric.order]
    settings = {"patch_size": metric.superpixels.side, "perturb_baseline": intensity(metric), "order": order}
    falls = np.stack(case.quantus("RegionPerturbation", settings, softmax=softmax(metric)))
    return (falls if metric.order == "most" else -falls).sum(1) / (falls.shape[1] + 1)


def selectivity(metric: Any, case: Case) -> Any:
    """(B, S): the output after each patch."""
    settings = {"patch_size": metric.superpixels.side, "perturb_baseline": intensity(metric)}
    return np.stack(case.quantus("Selectivity", settings, softmax=softmax(metric)))


def irof(metric: Any, case: Case) -> Any:
    """(B,): the area over the curve, with our regions in the place of its own; divided by their number."""
    regions = iter(metric.superpixels(case.problem.images).expand(len(case.problem.images), -1, -1))
    count = int(metric.superpixels(case.problem.images).max()) + 1
    with quantus.replaced(helpers__utils__get_superpixel_segments=lambda **_: next(regions).numpy()):
        found = case.quantus("IROF", {"perturb_baseline": intensity(metric)}, softmax=softmax(metric))
    return np.array(found) / count


def irof_with_both_ends(metric: Any, case: Case) -> Any:
    """(B,): the same with an area that starts at the whole image; what it then gives is (regions) x (1 - area)."""

    def area(values: Any, batched: bool = False, dx: int = 1) -> Any:
        return (1 + values[:, :-1].sum(1) * 2 + values[:, -1]) / 2

    with quantus.replaced(helpers__utils__calculate_auc=area):
        return irof(metric, case)


def road(metric: Any, case: Case) -> Any:
    """(S - 1,): the share of images whose class stays, without noise, at each step but the last, where nothing is left."""
    percentages = [100 * step / metric.steps + 1e-9 for step in range(1, metric.steps)]  # it rounds down
    return np.array(list(case.quantus("ROAD", {"percentages": percentages, "noise": 0.0}).values()))


def faithfulness_correlation(metric: Any, case: Case) -> Any:
    """(B,): with our subsets where they are replayed."""
    size = subset_size(metric, case)
    settings = {"nr_runs": metric.samples, "subset_size": size, "perturb_baseline": intensity(metric)}
    with contextlib.ExitStack() as stack:
        if case.replayed is not None:
            holes = case.replayed.holes()
            turn = iter(subset.nonzero()[:, 0].numpy() for run in holes.unbind(1) for subset in run)
            path = "metrics__faithfulness__faithfulness_correlation__np__random__choice"
            stack.enter_context(quantus.replaced(**{path: lambda *_, **__: next(turn)}))
        return np.array(case.quantus("FaithfulnessCorrelation", settings, softmax=softmax(metric)))


def subset_size(metric: Any, case: Case) -> int:
    """Pixels in a subset."""
    return subsets.size(metric.fraction, case.problem.images[0, 0].numel())


def faithfulness_estimate(metric: Any, case: Case) -> Any:
    """(B,)."""
    return np.array(case.quantus("FaithfulnessEstimate", {"perturb_baseline": intensity(metric)}, softmax=softmax(metric)))


def sensitivity_n(metric: Any, case: Case) -> Any:
    """(S,): its correlations, of which each is over the images."""
    settings = {"features_in_step": sizes(metric, case)[0], "perturb_baseline": intensity(metric), "n_max_percentage": metric.fractions[-1]}
    return np.array(case.quantus("SensitivityN", settings, softmax=softmax(metric)))


def sizes(metric: Any, case: Case) -> list[int]:
    """The n, in equal steps."""
    return list(metric.sizes(case.problem))


def monotonicity(metric: Any, case: Case) -> Any:
    """(B,): 1 where it finds no fall."""
    settings = {"features_in_step": steps(metric, case), "perturb_baseline": intensity(metric)}
    return np.array(case.quantus("Monotonicity", settings, softmax=softmax(metric)), dtype=np.float64)


def monotonicity_correlation(metric: Any, case: Case) -> Any:
    """(B,): with values from our background images, one after the other."""
    background = case.problem.background[: metric.removal.samples].flatten(1).numpy()
    calls = itertools.count()

    def replaced(arr: Any, indices: Any, **_: Any) -> Any:
        found, rows = arr.copy(), np.arange(len(arr))[:, None]
        found[rows, indices] = background[next(calls) % len(background)][indices]
        return found

    settings = {"abs": True, "nr_samples": len(background), "perturb_func": replaced}
    return np.array(case.quantus("MonotonicityCorrelation", settings, softmax=softmax(metric)))


def local(name: str, **more: Any) -> PeerCall:
    """One of Quantus's metrics that look at the map alone."""
    return lambda metric, case: np.array(case.quantus(name, more), dtype=np.float64)


def effective_complexity(normalise: bool) -> PeerCall:
    """(B,): the share of pixels above the threshold, of maps that we or it divide by the largest."""

    def call(metric: Any, case: Case) -> Any:
        maps = case.explanation.values[:, 0]
        maps = maps if normalise else maps / maps.abs().amax((1, 2, 3), keepdim=True)
        found = case.quantus("EffectiveComplexity", {"abs": True, "normalise": normalise, "eps": metric.threshold}, maps=maps)
        return np.array(found) / maps[0].numel()

    return call


def infidelity(metric: Any, case: Case) -> Any:
    """(B,): over our perturbed images, where they are replayed; one patch as large as the image, as it does not restore smaller ones."""
    side = case.problem.images.shape[-1]
    settings: dict[str, Any] = {"perturb_patch_sizes": [side], "n_perturb_samples": 1}
    if case.replayed is not None:
        settings |= {"n_perturb_samples": case.replayed.inputs.shape[1], "perturb_func": case.replayed.next_inputs()}
    return np.array(case.quantus("Infidelity", settings, softmax=softmax(metric)))


def infidelity_of_patches(metric: Any, case: Case) -> Any:
    """(B,): over the patches of a grid, as it does it."""
    return np.array(case.quantus("Infidelity", {"perturb_patch_sizes": [4], "n_perturb_samples": 1, "perturb_baseline": 0.0}))


def consistency(metric: Any, case: Case) -> Any:
    """(B,): with our notion of the same explanation; NaN where it gives 0 as there is no other image."""
    regional = metric.regional(case.problem, case.explanation)[:, 0].numpy()
    names = [hash(_signs(values, np.argsort(-np.abs(values), kind="stable")[: metric.top])) for values in regional]
    turn = iter(names)
    found = np.array(case.quantus("Consistency", {"discretise_func": lambda _: next(turn)}))
    return np.where([names.count(name) > 1 for name in names], found, np.nan)


def _signs(values: Any, top: Any) -> tuple[tuple[int, float], ...]:
    return tuple(sorted((int(place), float(np.sign(values[place]))) for place in top))


def dasgupta_sufficiency(metric: Any, case: Case) -> Any:
    """(B,): with our distances between maps; NaN where it gives 0 as there is no other image."""
    values = metric.regional(case.problem, case.explanation)[:, 0]
    maps = values / values.norm(dim=1, keepdim=True)
    apart = torch.cdist(maps, maps, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    settings = {"normalise_func": lambda values: values, "threshold": metric.distance + 1e-9}
    with quantus.replaced(metrics__faithfulness__sufficiency__cdist=lambda *_, **__: apart):
        found = np.array(case.quantus("Sufficiency", settings))
    return np.where((apart <= metric.distance + 1e-9).sum(1) > 1, found, np.nan)


def sufficiency(metric: Any, case: Case) -> Any:
    """(B,): with its own distances."""
    return np.array(case.quantus("Sufficiency", {"threshold": metric.distance}))


def non_sensitivity(metric: Any, case: Case) -> Any:
    """(B,): the share of pixels; it has one threshold, for attributions as they are and for changes."""
    if metric.zero != metric.change:
        raise ValueError(f"NonSensitivity.zero={metric.zero}: expected {metric.change}, as `change`, to compare with Quantus")
    maps = case.explanation.values[:, 0]
    settings = {"abs": True, "eps": metric.change, "perturb_baseline": intensity(metric)}
    found = case.quantus("NonSensitivity", settings, maps=maps / maps.abs().amax((1, 2, 3), keepdim=True), softmax=softmax(metric))
    return np.array(found) / maps[0, 0].numel()


def completeness(metric: Any, case: Case) -> Any:
    """(B,): 1 where it finds the sum complete."""
    return np.array(case.quantus("Completeness", {"perturb_baseline": 0.0}), dtype=np.float64)


def masked(name: str, **more: Any) -> PeerCall:
    """One of Quantus's metrics that compare with true masks."""

    def call(metric: Any, case: Case) -> Any:
        settings = {key: value(metric) if callable(value) else value for key, value in more.items()}
        return np.array(case.quantus(name, settings, masks=masks(case)), dtype=np.float64)

    return call


def masks(case: Case) -> Tensor:
    """(B, H, W)."""
    if case.problem.masks is None:
        raise ValueError("Problem.masks=None: expected true masks")
    return case.problem.masks[:, 0]


def focus(metric: Any, case: Case) -> Any:
    """(B,): for masks that are made of quarters."""
    height, width = (size // 2 for size in case.problem.images.shape[2:])
    quarters = masks(case)[:, ::height, ::width].flatten(1).numpy().astype(np.int64)
    return np.array(case.quantus("Focus", {}, custom=quarters))
