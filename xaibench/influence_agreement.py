"""Which local method agrees with what saturation does: mean attribution maps of a class beside the influence of pixels on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from xaibench import markdown as md
from xaibench.figures.agreement import MEAN, agreement
from xaibench.problem import Family
from xaibench.stats.intervals import resampled_interval
from xaibench.tables.longtable import Results

Floats = NDArray[np.float64]

FILE = "influence_agreement.csv"
FEWEST = 2
"""Images of a class, below which it has no mean map."""

NOTE = """Spearman's rank correlation, over the pixels that can be saturated, between two maps of a class: the mean attribution
(summed over channels, signed) of the images explained for it, and the influence on its probability over the whole test set. 1: the method
ranks pixels as saturation does; 0: no relation. Interval: 95 %, of the bootstrap over images, in which both maps are taken again, and of
the seeds. `over control`: the mean less that of the best control, in the same resamples."""


def save(results: Results, path: Path) -> None:
    """Write the table, where the study has both kinds of explanations."""
    table = influence_agreement(results)
    if len(table):
        table.to_csv(path, index=False, float_format="%.4g")


def draw(path: Path) -> None:
    """Page and figure beside the table."""
    table = pd.read_csv(path, dtype={"class": str}, keep_default_na=False, na_values=[""])
    path.with_suffix(".md").write_text(markdown(table), encoding="utf-8")
    agreement(table, path.with_suffix(".png"))


def influence_agreement(results: Results) -> pd.DataFrame:
    """One row for each data set, model, analysis, explainer and class, and one for the mean over the classes.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `influence`, `explainer`, `family`, `class`; `correlation`, in [-1, 1], NaN where a mean map is constant or
        fewer than two images were explained for the class; of the mean alone `over_control`, and `control`, which one that is; each number
        with the ends of its interval, `<name>_low` and `<name>_high`.
    """
    groups: dict[tuple[str, ...], dict[tuple[str, str], dict[int, list[Floats]]]] = {}
    classes: dict[tuple[str, ...], tuple[str, ...]] = {}
    for key, explainer, seed, names, found in _correlations(results):
        groups.setdefault(key, {}).setdefault(explainer, {}).setdefault(seed, []).append(found)
        classes[key] = names
    means = {key: {name: _by_seed(found) for name, found in group.items()} for key, group in groups.items()}
    return pd.DataFrame([row for key, found in means.items() for row in _rows(key, found, classes[key])])


def _correlations(results: Results) -> Iterator[tuple[tuple[str, ...], tuple[str, str], int, tuple[str, ...], Floats]]:
    """Of each explanation: its group, explainer and family, seed, the names of the classes, and `correlations`."""
    of_training: dict[Any, dict[Any, dict[str, Any]]] = {}
    for cell, _ in results.found:
        of_training.setdefault(cell.training, {}).setdefault(cell.explaining, results.facts(cell))
    for names, training, analysis in results.influences():
        if "probability_contrasts" not in analysis.tensors:
            continue
        influence = Ranked.of(analysis.tensors)
        for explaining, facts in of_training.get(training, {}).items():
            artifact = results.store.read("explain", explaining.key)
            if artifact is not None and "values" in artifact.tensors:
                values, targets = (artifact.tensors[name].numpy() for name in ("values", "targets"))
                key = facts["dataset"], facts["model"], names["influence"]
                yield key, (facts["explainer"], facts["family"]), training.seed, training.dataset.classes, influence.beside(values, targets)


class Ranked:
    """The influence of pixels by rank, for itself (first) and for its replicates.

    Parameters
    ----------
    ranks
        (1 + R, K, P), centered and of norm 1.
    chosen
        (H, W), bool, P of them true: pixels that are saturated in all.
    """

    def __init__(self, ranks: Floats, chosen: NDArray[np.bool_]) -> None:
        self.ranks, self.chosen = ranks, chosen

    @classmethod
    def of(cls, tensors: Mapping[str, Any]) -> Ranked:
        """Of what an analysis with resamples gives."""
        replicates = tensors["probability_contrasts"].numpy()
        chosen = tensors["moved"][-1].numpy() & np.isfinite(replicates).all(axis=(0, 1))
        every = np.concatenate([tensors["probability_contrast"].numpy()[None], replicates])
        return cls(unit_ranks(every[..., chosen]), chosen)

    def beside(self, values: NDArray[Any], targets: NDArray[Any]) -> Floats:
        """(1 + R, K): the correlations with mean maps of attributions (B, T, C, H, W) for targets (B, T); each replicate draws images."""
        count, kinds = self.ranks.shape[:2]
        found = np.full((count, kinds), np.nan)
        maps = values.astype(np.float64).sum(axis=2)[..., self.chosen]
        for kind in range(kinds):
            own = maps[(targets == kind) & np.isfinite(maps).all(axis=-1)]
            if len(own) >= FEWEST:
                draws = np.random.default_rng(kind).multinomial(len(own), np.full(len(own), 1 / len(own)), size=count - 1)
                weights = np.concatenate([np.ones((1, len(own))), draws]) / len(own)
                found[:, kind] = (unit_ranks(_rounded(weights @ own)) * self.ranks[:, kind]).sum(axis=1)
        return found


def _rounded(values: Floats) -> Floats:
    """Nine digits of each row's largest value: what should be equal shall be, in spite of the order in which it was added up."""
    size = np.abs(values).max(axis=1, keepdims=True)
    found: Floats = np.round(np.divide(values, size, where=size > 0, out=np.zeros_like(values)), 9)
    return found


def unit_ranks(values: NDArray[Any]) -> Floats:
    """Ranks (the mean of equal ones) along the last axis, centered, of norm 1; NaN where all are equal. Their product is Spearman's."""
    ranks = stats.rankdata(values, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(ranks, axis=-1, keepdims=True)
    found: Floats = np.divide(ranks, norm, where=norm > 0, out=np.full_like(ranks, np.nan))
    return found


def _by_seed(found: Mapping[int, list[Floats]]) -> Floats:
    """(seeds, 1 + R, K + 1): mean over the draws, and as the last class the mean over classes."""
    values = np.stack([np.mean(draws, axis=0) for draws in found.values()])
    return np.concatenate([values, values.mean(axis=2, keepdims=True)], axis=2)


def _rows(key: tuple[str, ...], found: Mapping[tuple[str, str], Floats], classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The rows of one classifier and analysis."""
    controls = [name for name in found if name[1] == Family.CONTROL.value]
    means = {name: float(found[name][:, 0, -1].mean()) for name in controls}
    best = max((name for name in controls if np.isfinite(means[name])), key=lambda name: (means[name], name), default=None)
    for (explainer, family), values in found.items():
        known = dict(zip(("dataset", "model", "influence"), key, strict=True)) | {"explainer": explainer, "family": family}
        for place, name in enumerate((*classes, MEAN)):
            row = known | {"class": name} | _interval("correlation", values[..., place])
            if name == MEAN and best is not None and family != Family.CONTROL.value:
                row |= _interval("over_control", (values - found[best])[..., -1]) | {"control": best[0]}
            yield row


def _interval(name: str, values: Floats) -> dict[str, float]:
    """Of numbers (seeds, 1 + R), the first of which is the estimate, and the others its replicates."""
    mean, low, high = resampled_interval(values)
    return {name: float(mean), f"{name}_low": float(low), f"{name}_high": float(high)}


def markdown(table: pd.DataFrame) -> str:
    """The means over the classes, best first, a part for each classifier."""
    lines = [NOTE, ""]
    for names, part in table[table["class"] == MEAN].groupby(["dataset", "model", "influence"], sort=True):
        rows = []
        for one in part.sort_values("correlation", ascending=False, kind="stable").to_dict("records"):
            name = f"*{one['explainer']}* (control)" if one["family"] == Family.CONTROL.value else one["explainer"]
            rows.append([name, _text(one, "correlation") or "undefined", _text(one, "over_control")])
        lines += [f"## {' / '.join(map(str, names))}", "", *md.table(["explainer", "correlation", "over control"], rows), ""]
        lines += [f"Best control: {_best(part)}.", ""]
    return "\n".join(lines)


def _text(one: Mapping[Any, Any], name: str) -> str:
    return "" if pd.isna(one.get(name, np.nan)) else f"{one[name]:+.2f} ({one[f'{name}_low']:+.2f} to {one[f'{name}_high']:+.2f})"


def _best(part: pd.DataFrame) -> str:
    return next(iter(part["control"].dropna()), "none") if "control" in part else "none"
