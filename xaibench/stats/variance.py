"""Where the spread of a score comes from: the image, the classifier's seed, or the draws of explainer and metric."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xaibench import markdown as md
from xaibench.stats.paired import by_classifier
from xaibench.tables.aggregate import KEYS, by_draw

NOTE = """Shares of the variance of one score (one image, one seed, one draw), by analysis of variance, negative estimates set to 0:
other images, other seeds of the classifier, both together (an image that suits one classifier's explanations and not another's), and
other draws of explainer and metric. With one draw its share is part of the third. Mean over the explainers."""


def variance(long: pd.DataFrame) -> pd.DataFrame:
    """One row for each dataset, model, trainer, explainer and metric.

    Returns
    -------
    DataFrame
        `image`, `seed`, `image_and_seed`, `draw`: shares of the variance, which sum to 1; NaN where there is one image or one seed, or no
        variance; `draw` is NaN with one draw. `deviation`: the square root of the variance, in the metric's unit. `images`, `seeds`,
        `draws`: their numbers; only images that are defined for all seeds and draws.

    References
    ----------
    Searle, Casella and McCulloch, Variance Components, 1992, chapter 4: the expected mean squares of two crossed factors with replication.
    """
    rows = []
    for part in by_draw(long[long["score"] == "value"]):
        values = part.spread(*map(np.unique, part.places))
        known = {name: part.facts[name] for name in KEYS if name != "score"}
        rows.append(known | shares(values[np.isfinite(values).all(axis=(1, 2))]))
    keys = ["dataset", "model", "trainer", "metric", "explainer"]
    found = pd.DataFrame(rows)
    return found[[*keys, *(name for name in found if name not in keys)]].sort_values(keys, ignore_index=True)


def shares(values: np.ndarray) -> dict[str, float]:
    """Of scores (images, seeds, draws)."""
    images, seeds, draws = values.shape
    sizes = {"images": images, "seeds": seeds, "draws": draws}
    nothing = dict.fromkeys(("image", "seed", "image_and_seed", "draw", "deviation"), np.nan)
    if images < 2 or seeds < 2:
        return nothing | sizes
    cells, mean = values.mean(axis=2), values.mean()
    by_image, by_seed = cells.mean(axis=1), cells.mean(axis=0)
    within = ((values - cells[..., None]) ** 2).sum() / (images * seeds * (draws - 1)) if draws > 1 else 0.0
    rest = ((cells - by_image[:, None] - by_seed + mean) ** 2).sum() / ((images - 1) * (seeds - 1))
    parts = {
        "image": by_image.var(ddof=1) - rest / seeds,
        "seed": by_seed.var(ddof=1) - rest / images,
        "image_and_seed": rest - within / draws,
        "draw": within,
    }
    parts = {name: max(float(part), 0.0) for name, part in parts.items()}
    total = sum(parts.values())
    if not total:
        return nothing | sizes | {"deviation": 0.0}
    found = {name: part / total for name, part in parts.items()} | {"deviation": float(np.sqrt(total))}
    return found | ({"draw": np.nan} if draws == 1 else {}) | sizes


def markdown(table: pd.DataFrame) -> str:
    """Mean shares over the explainers, for each metric."""
    lines = [NOTE, ""]
    names = ["image", "seed", "image_and_seed", "draw"]
    heads = ["metric", "explainers", *(name.replace("_", " ") for name in names)]
    for title, part in by_classifier(table):
        rows = []
        for metric, own in part.groupby("metric", sort=True):
            known = own.dropna(subset=["image"])
            rows.append([metric, len(known), *("" if known[name].isna().all() else f"{known[name].mean():.2f}" for name in names)])
        lines += [f"## {title}", "", *md.table(heads, rows), ""]
    return "\n".join(lines)
