"""Tables of a study: mean scores with intervals from the long table, and the files that show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xaibench.blocks import natural
from xaibench.explaining import PAIR_FLAGS
from xaibench.formats import latex, markdown
from xaibench.layout import Extras, blocks
from xaibench.stats import crossed_interval

VERSION = 1

LEVEL = 0.95
KEYS = ["dataset", "model", "trainer", "explainer", "metric", "score"]
FACTS = ["family", "metric_family", "higher_is_better", "metric_version"]
PLACES = ["seed", "index", "target", "draw"]


def aggregate(long: pd.DataFrame) -> pd.DataFrame:
    """Mean of each score with its 95 % interval over images crossed with seeds.

    Draws are averaged within (image, seed, target), then targets within (image, seed); one undefined value makes the image undefined for
    that seed. But a pair that has no value because there is no counterfactual, or none was asked for, is left out, and counted. Only
    images that every seed has enter, and of these only those defined for every seed (`stats.crossed_interval`).

    Parameters
    ----------
    long
        One row per (dataset, model, trainer, explainer, metric, score, seed, draw, index, target), in any order, with its `value`, the
        `flag` of the map (empty, or what is wrong with it), `family`, `metric_family`, `higher_is_better` and `metric_version`.

    Returns
    -------
    DataFrame
        One row per (dataset, model, trainer, explainer, metric, score), in natural order: the facts about explainer and metric, `mean`,
        `low`, `high`, `df`, `images`, `seeds`, `undefined` ((image, seed) pairs without a value) and `note`, in which "90 of 100 images"
        and "2 of 3 seeds" tell that more occur among all explainers scored by this metric on this classifier, and "3 of 400 maps are
        constant" that something is wrong with these.

    Raises
    ------
    ValueError
        If columns are missing, rows repeat, the table is empty, or a metric or explainer has several versions, directions or families.
    """
    frame = _numbered(long)
    heads = _heads(frame)
    scores = _image_means(frame)
    scores = scores.join(heads.groupby([key for key in KEYS if key != "explainer"], sort=False).ngroup().rename("block"), on="cell")
    flagged = _flagged(frame)
    available = scores.groupby("block")[["index", "seed"]].nunique()
    facts: dict[Any, dict[Any, Any]] = heads.to_dict("index")
    sizes: dict[Any, dict[Any, Any]] = available.to_dict("index")
    rows = []
    for cell, part in scores.groupby("cell", sort=False):
        size = sizes[part["block"].iloc[0]]
        rows.append({**facts[cell], **_interval(part, size["index"], size["seed"], flagged.get(cell, ""))})
    rows.sort(key=lambda row: [natural(row[key]) for key in KEYS])
    result = pd.DataFrame(rows)
    directions = [None if pd.isna(value) else bool(value) for value in result["higher_is_better"]]
    return result.assign(higher_is_better=pd.Series(directions, dtype=object))


def write(aggregated: pd.DataFrame, folder: Path, stem: str = "table", extras: Extras | None = None) -> list[Path]:
    """Write ``stem.csv`` (every number, ten digits), ``stem.md`` and ``stem.tex`` (booktabs; headline scores), and give their paths.

    The best mean of each metric among explainers that are not controls is bold, and what does not differ significantly from it has a
    dagger where the extras hold pairwise tests. The same scores give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = blocks(aggregated, extras=extras)
    csv = aggregated.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    texts = {"csv": csv, "md": markdown(made), "tex": latex(made)}
    paths = [folder / f"{stem}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8", newline="\n")
    return paths


def by_image(long: pd.DataFrame) -> pd.DataFrame:
    """What `aggregate` takes means and intervals of: `KEYS`, `FACTS`, seed, index, `value`; draws and targets averaged."""
    frame = _numbered(long)
    return _image_means(frame).join(_heads(frame), on="cell").drop(columns="cell")


def by_draw(long: pd.DataFrame) -> pd.DataFrame:
    """The same with its draws apart, in the column `draw`."""
    frame = _numbered(long)
    return _mean(_there(frame), ["cell", "seed", "index", "draw"]).join(_heads(frame), on="cell").drop(columns="cell")


def _numbered(long: pd.DataFrame) -> pd.DataFrame:
    """What is needed of the long table, checked, with the number of each row's `cell`."""
    _check(long)
    values = long["value"].to_numpy(dtype=np.float64)
    frame = long[[*KEYS, *FACTS, *PLACES, "flag"]].assign(value=np.where(np.isfinite(values), values, np.nan))
    # The last bits of a sum depend on the order of its terms.
    frame = frame.sort_values(PLACES, kind="stable", ignore_index=True)
    frame["cell"] = frame.groupby(KEYS, observed=True, sort=False).ngroup()
    if frame.duplicated(["cell", *PLACES]).any():
        first = frame[frame.duplicated(["cell", *PLACES])].iloc[0]
        raise ValueError(f"repeated row {dict(first[[*KEYS, *PLACES]])}: expected each (cell, seed, draw, index, target) once")
    return frame


def _heads(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop_duplicates("cell").set_index("cell")[[*KEYS, *FACTS]].astype(object)


def _image_means(frame: pd.DataFrame) -> pd.DataFrame:
    return _mean(_mean(_there(frame), ["cell", "seed", "index", "target"]), ["cell", "seed", "index"])


def _check(long: pd.DataFrame) -> None:
    missing = [column for column in [*KEYS, *FACTS, *PLACES, "value", "flag"] if column not in long]
    if missing:
        raise ValueError(f"columns {', '.join(missing)} are missing: expected the long table")
    if long.empty:
        raise ValueError("the long table has no rows: expected at least one score")
    for owner, fact in [("metric", "metric_version"), ("metric", "higher_is_better"), ("metric", "metric_family"), ("explainer", "family")]:
        pairs = long[[owner, fact]].drop_duplicates().astype(object)
        mixed = sorted(pairs[owner][pairs[owner].duplicated()].unique(), key=natural)
        if mixed:
            found = [f"{name} ({', '.join(sorted(str(value) for value in pairs[fact][pairs[owner] == name]))})" for name in mixed]
            raise ValueError(f"{owner} with several values of {fact}: {'; '.join(found)}; expected one each")


def _there(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without those that have no value for want of a counterfactual; of a cell that would have none left, all."""
    absent = frame["value"].isna() & frame["flag"].isin(PAIR_FLAGS)
    return frame[~absent | absent.groupby(frame["cell"]).transform("all")]


def _mean(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean of `value` in each group, NaN where one of its values is."""
    groups = frame.groupby(by, sort=False)["value"].agg(["mean", "count", "size"])
    return groups["mean"].where(groups["count"] == groups["size"]).rename("value").reset_index()


def _flagged(frame: pd.DataFrame) -> dict[Any, str]:
    """How many maps or pairs of a cell are flagged, in words; cells without such are left out."""
    found: dict[Any, str] = {}
    sizes = frame.groupby("cell", sort=False).size()
    flagged = frame[frame["flag"] != ""].assign(flag=lambda part: part["flag"].astype(str))
    for row in flagged.groupby(["cell", "flag"], sort=True).size().reset_index(name="count").to_dict("records"):
        text = f"{row['count']} of {sizes[row['cell']]} {'pairs' if row['flag'] in PAIR_FLAGS else 'maps'} are {row['flag']}"
        found[row["cell"]] = "; ".join(filter(None, [found.get(row["cell"], ""), text]))
    return found


def _interval(part: pd.DataFrame, images: int, seeds: int, flagged: str) -> dict[str, Any]:
    """Statistics of one cell's (seed, index) scores, where all explainers together have `images` and `seeds`."""
    own_images, row = np.unique(part["index"].to_numpy(), return_inverse=True)
    own_seeds, column = np.unique(part["seed"].to_numpy(), return_inverse=True)
    matrix, present = np.zeros((len(own_images), len(own_seeds))), np.zeros((len(own_images), len(own_seeds)), dtype=bool)
    matrix[row, column], present[row, column] = part["value"].to_numpy(), True
    common = present.all(axis=1)
    found = crossed_interval(matrix[common], LEVEL)
    counts = [(int(common.sum()), images, "images"), (found.seeds, seeds, "seeds")]
    note = "; ".join(filter(None, [found.note, *(f"{have} of {most} {name}" for have, most, name in counts if have < most), flagged]))
    numbers = {name: float(getattr(found, name)) for name in ("mean", "low", "high", "df")}
    return {**numbers, "images": int(found.images), "seeds": found.seeds, "undefined": int(found.undefined), "note": note}
