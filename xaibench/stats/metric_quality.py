"""Whether a metric can tell anything on a data set: what it makes of explanations that are worse by a known amount.

From the long table of a study whose explainers are `Degraded` ones, of one map each: how often a metric puts an image's explanations
in the known order, what pure noise gets, and how many images it takes to notice a little noise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from xaibench import markdown as md
from xaibench.stats.intervals import Floats, Interval, crossed_interval, images_needed

KINDS = ("noise", "blur", "shift")
"""Ways in which explanations get worse step by step; negation is a step of its own."""

LITTLE = 0.25
"""The strength of the noise that is to be noticed."""
LEVEL, POWER = 0.95, 0.8
"""Of the paired test whose number of images is told."""


def metric_quality(scores: pd.DataFrame) -> pd.DataFrame:
    """One row for each dataset, model and metric.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `metric`, `metric_family`, `direction` ("higher", "lower", or "none": then higher is taken as better).
        For each of `KINDS` `<kind>` with `<kind>_low` and `<kind>_high`: Kendall's tau-b between strength and how good the score is, with
        the sign that 1 is the known order, per image; mean and 95 % interval over images crossed with seeds. Equal scores have tau 0.
        `negated` and `pure_noise`: on how many images the explanation scores better than its negative, and than noise (a tie counts
        half). `images_needed`: images with which a paired test at 95 % notices, with a power of 80 %, a quarter of noise; infinite where
        the mean does not fall. `draw_share`: share of the variance between images and draws that is due to draws; NaN with one draw.
        `undefined`: share of images without a score at some strength, which are left out, of the kind with most of them. `tells`: "yes" if
        the whole interval under noise is above 0, "reversed" if it is below, else "no".
    """
    chosen = scores[(scores["score"] == "value") & scores["explainer.kind"].notna()]
    rows = [_row(names, part) for names, part in chosen.groupby(["dataset", "model", "metric"], sort=True, observed=True)]
    return pd.DataFrame(rows)


def _row(names: Any, part: pd.DataFrame) -> dict[str, Any]:
    direction = part["higher_is_better"].iloc[0]
    sign = 1.0 if pd.isna(direction) or bool(direction) else -1.0
    row: dict[str, Any] = dict(zip(("dataset", "model", "metric"), names, strict=True))
    row |= {"metric_family": part["metric_family"].iloc[0]}
    row |= {"direction": "none" if pd.isna(direction) else "higher" if sign > 0 else "lower"}
    part = part.assign(kind=[str(kind).strip('"') for kind in part["explainer.kind"]], strength=part["explainer.strength"].astype(float))
    tables = {kind: _table(part, kind) * sign for kind in (*KINDS, "negate")}
    for kind in KINDS:
        whole = tables[kind].dropna()
        row |= _interval(kind, _crossed(pd.Series(recovery(whole.to_numpy(dtype=np.float64)), index=whole.index)))
    row["negated"] = _better(tables["negate"])
    row["pure_noise"] = _better(tables["noise"])
    row["images_needed"] = noticing(tables["noise"])
    row["draw_share"] = draw_share(tables["noise"])
    row["undefined"] = max(float(tables[kind].isna().any(axis=1).mean()) for kind in KINDS if len(tables[kind]))
    low, high = row["noise_low"], row["noise_high"]
    return row | {"tells": "yes" if low > 0 else "reversed" if high < 0 else "no"}


def _table(part: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Scores by (seed, draw, image, target), a column for each strength, ascending."""
    own = part[part["kind"] == kind]
    return own.set_index(["seed", "draw", "index", "target", "strength"])["value"].unstack("strength")


def recovery(scores: Floats) -> Floats:
    """(N,): Kendall's tau-b between falling scores (N, S) and rising strengths; 0 where all scores of a row are equal."""
    first, second = np.triu_indices(scores.shape[1], k=1)
    signs = np.sign(scores[:, first] - scores[:, second])
    distinct = np.abs(signs).sum(axis=1)
    return np.divide(signs.sum(axis=1), np.sqrt(distinct * len(first)), where=distinct > 0, out=np.zeros(len(scores)))


def _crossed(values: pd.Series) -> Interval:
    """The interval over images crossed with seeds, whatever each seed's classifier predicts for an image."""
    if values.empty:
        return crossed_interval(np.full((1, 1), np.nan))
    averaged = values.groupby(["seed", "index"], observed=True).mean().unstack("seed")
    return crossed_interval(averaged.to_numpy())


def _interval(name: str, found: Interval) -> dict[str, float]:
    return {name: float(found.mean), f"{name}_low": max(float(found.low), -1.0), f"{name}_high": min(float(found.high), 1.0)}


def _better(table: pd.DataFrame) -> float:
    """On which share of the images the first column is better than the last."""
    ends = table.iloc[:, [0, -1]].dropna().to_numpy()
    return float(((ends[:, 0] > ends[:, 1]) + 0.5 * (ends[:, 0] == ends[:, 1])).mean()) if len(ends) else math.nan


def noticing(table: pd.DataFrame) -> float:
    """Images with which a paired z test at `LEVEL` notices the strength `LITTLE` with a power of `POWER`."""
    pair = table[[table.columns[0], LITTLE]].dropna().to_numpy() if LITTLE in table.columns else np.empty((0, 2))
    return float(images_needed(pair[:, 0] - pair[:, 1], LEVEL, POWER))


def draw_share(table: pd.DataFrame) -> float:
    """Share of the variance of the undegraded explanation's scores, within a seed, that lies between draws and not between images."""
    scores = table.iloc[:, 0].unstack("draw").dropna()
    if scores.shape[1] < 2 or len(scores) < 2:
        return math.nan
    between, total = scores.var(axis=1, ddof=1).mean(), scores.stack().groupby("seed").var(ddof=1).mean()
    return float(min(between / total, 1.0)) if total else 0.0


def markdown(table: pd.DataFrame) -> str:
    """The table in words and rounded numbers, one section for each dataset and model, the metrics that tell most first."""
    heads = ["metric", "family", "better", *KINDS, "better than its negative", "better than noise", "images needed", "draws", "undefined"]
    lines = ["Explanations made worse in known steps (0, 25, 50, 75, 100 %), and what each metric makes of them.", "", *LEGEND, ""]
    for (dataset, model), part in table.groupby(["dataset", "model"], sort=True):
        rows = []
        for one in part.sort_values("noise", ascending=False).to_dict("records"):
            intervals = [f"{one[kind]:.2f} ({one[f'{kind}_low']:.2f} to {one[f'{kind}_high']:.2f})" for kind in KINDS]
            shares = [_text(one[name], ".2f") for name in ("negated", "pure_noise")]
            rest = [_text(one["images_needed"], ",.0f"), _text(one["draw_share"], ".2f"), _text(one["undefined"], ".2f")]
            rows.append([one["metric"], one["metric_family"], one["direction"], *intervals, *shares, *rest, one["tells"]])
        lines += [f"## {dataset} / {model}", "", *md.table([*heads, "tells"], rows, "lllrrrrrrrrl"), ""]
    return "\n".join(lines)


LEGEND = (
    "Noise, blur, shift: Kendall's tau between how good the score is and how little the explanation was degraded, per image (1: always the "
    "known order; 0: no order; -1: always reversed), mean and 95 % interval over images and seeds. Better than its negative, better than "
    "noise: on which share of images (.5: it cannot tell). Images needed: to notice a quarter of noise (paired test, 95 %, power 80 %). "
    "Draws: share of the variance that the metric's own draws make. Tells: whether the interval under noise is above 0.",
)


def _text(value: float, form: str) -> str:
    return "" if math.isnan(value) else "never" if math.isinf(value) else format(value, form)
