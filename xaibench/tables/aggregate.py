"""Tables of a study: mean scores with intervals from the long table, and the files that show them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from xaibench.explaining import PAIR_FLAGS
from xaibench.stats.intervals import ONE_IMAGE, Floats, crossed_interval, note_of
from xaibench.tables.blocks import natural
from xaibench.tables.formats import latex, markdown
from xaibench.tables.layout import Extras, blocks

VERSION = 1

LEVEL = 0.95
KEYS = ["dataset", "model", "trainer", "explainer", "metric", "score"]
FACTS = ["family", "metric_family", "higher_is_better", "metric_version"]
PLACES = ["seed", "index", "target", "draw"]
NEEDED = [*KEYS, *FACTS, *PLACES, "value", "flag"]
"""Of the long table, what tables are made of."""


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
    return aggregated(by_image(long))


def aggregated(parts: Sequence[Part]) -> pd.DataFrame:
    """The same of what `by_image` gives."""
    heads = pd.DataFrame([part.facts for part in parts])
    rows: list[dict[str, Any]] = []
    for _, block in heads.groupby([key for key in KEYS if key != "explainer"], sort=False):
        own = [parts[number] for number in block.index]
        most = [len(np.unique(np.concatenate([np.unique(part.places[axis]) for part in own]))) for axis in (0, 1)]
        rows += [part.facts | found for part, found in zip(own, _intervals(own, *most), strict=True)]
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


def save(table: pd.DataFrame, text: str, path: Path, digits: str = "%.4g") -> None:
    """Write numbers as ``path.csv`` and what `text` says of them as ``path.md``."""
    table.to_csv(path.with_suffix(".csv"), index=False, float_format=digits)
    path.with_suffix(".md").write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Part:
    """The scores of one (dataset, model, trainer, explainer, metric, score).

    Attributes
    ----------
    facts
        `KEYS` and `FACTS`.
    places
        Image and seed of each value, and, where draws are not averaged, its draw.
    values
        NaN where undefined.
    flagged
        How many maps or pairs have a flag, in words.
    """

    facts: dict[str, Any]
    places: tuple[NDArray[np.int64], ...]
    values: Floats
    flagged: str

    def spread(self, *axes: NDArray[np.int64]) -> Floats:
        """(images, seeds[, draws]), of those given, which are sorted; NaN where there is none."""
        found = np.full([len(axis) for axis in axes], np.nan)
        found[tuple(np.searchsorted(axis, place) for axis, place in zip(axes, self.places, strict=True))] = self.values
        return found


def by_image(long: pd.DataFrame) -> list[Part]:
    """What `aggregate` takes means and intervals of: draws and targets averaged."""
    frame, facts = _numbered(long, ["seed", "index", "target", "draw"])
    means = _mean(_mean(_there(frame), ["cell", "seed", "index", "target"]), ["cell", "seed", "index"])
    return _parts(means, ["index", "seed"], facts, _flagged(frame))


def by_draw(long: pd.DataFrame) -> list[Part]:
    """The same with draws apart."""
    frame, facts = _numbered(long, ["seed", "index", "draw", "target"])
    return _parts(_mean(_there(frame), ["cell", "seed", "index", "draw"]), ["index", "seed", "draw"], facts, _flagged(frame))


def _parts(means: pd.DataFrame, places: list[str], facts: list[Any], flagged: list[str]) -> list[Part]:
    starts = np.flatnonzero(np.diff(means["cell"].to_numpy(), prepend=-1))
    columns = [np.split(means[name].to_numpy(), starts[1:]) for name in (*places, "value")]
    return [Part(known, tuple(own), values, told) for known, told, *own, values in zip(facts, flagged, *columns, strict=True)]


def _numbered(long: pd.DataFrame, order: list[str]) -> tuple[pd.DataFrame, list[Any]]:
    """Values and flags, sorted by the number of their `cell` and then by places; and of each cell `KEYS` and `FACTS`."""
    _check_columns(long)
    cell, _ = pd.factorize(_together(pd.factorize(long[name], use_na_sentinel=False)[0] for name in (*KEYS, *FACTS)))
    heads = long.loc[~pd.Series(cell).duplicated().to_numpy(), [*KEYS, *FACTS]].astype(object)
    _check_facts(heads)
    place = _together(itertools.chain([cell], (pd.factorize(long[name], sort=True)[0] for name in order)))
    rising = np.argsort(place)  # the last bits of a sum depend on the order of its terms
    repeated = np.flatnonzero(np.diff(place[rising]) == 0)
    if len(repeated):
        row = dict(long[[*KEYS, *PLACES]].iloc[rising[repeated[0]]])
        raise ValueError(f"repeated row {row}: expected each (cell, seed, draw, index, target) once")
    values = long["value"].to_numpy(dtype=np.float64)
    columns = {"cell": cell, **{name: long[name].to_numpy() for name in order}, "value": np.where(np.isfinite(values), values, np.nan)}
    frame = pd.DataFrame({name: column[rising] for name, column in columns.items()} | {"flag": long["flag"].array[rising]})
    return frame, heads.to_dict("records")


def _together(columns: Iterable[NDArray[Any]]) -> NDArray[np.int64]:
    """One number for each row of several columns of whole numbers, which sorts as they do, one after the other."""

    def joined(found: NDArray[Any], column: NDArray[Any]) -> NDArray[Any]:
        return found * (column.max() - column.min() + 1) + (column - column.min())

    return functools.reduce(joined, columns)


def _check_columns(long: pd.DataFrame) -> None:
    missing = [column for column in NEEDED if column not in long]
    if missing:
        raise ValueError(f"columns {', '.join(missing)} are missing: expected the long table")
    if long.empty:
        raise ValueError("the long table has no rows: expected at least one score")


def _check_facts(heads: pd.DataFrame) -> None:
    for owner, fact in [("metric", "metric_version"), ("metric", "higher_is_better"), ("metric", "metric_family"), ("explainer", "family")]:
        pairs = heads[[owner, fact]].drop_duplicates()
        mixed = sorted(pairs[owner][pairs[owner].duplicated()].unique(), key=natural)
        if mixed:
            found = [f"{name} ({', '.join(sorted(str(value) for value in pairs[fact][pairs[owner] == name]))})" for name in mixed]
            raise ValueError(f"{owner} with several values of {fact}: {'; '.join(found)}; expected one each")


def _there(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without those that have no value for want of a counterfactual; of a cell that would have none left, all."""
    absent = (frame["value"].isna() & frame["flag"].isin(PAIR_FLAGS)).to_numpy()
    lost = np.bincount(frame["cell"], weights=absent) == np.bincount(frame["cell"])
    return frame[~absent | lost[frame["cell"]]] if absent.any() else frame


def _mean(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean of `value` over rows that follow each other and are alike in these columns, NaN where one of its values is."""
    new = np.ones(len(frame), dtype=bool)
    new[1:] = np.logical_or.reduce([np.diff(frame[name].to_numpy()) != 0 for name in by])
    if new.all():
        return frame[by].assign(value=frame["value"] + 0.0)  # a mean has no negative zero
    groups = frame["value"].groupby(new.cumsum(), sort=False).agg(["mean", "count", "size"])
    means = groups["mean"].where(groups["count"] == groups["size"])
    return frame.loc[new, by].assign(value=means.to_numpy()).reset_index(drop=True)


def _flagged(frame: pd.DataFrame) -> list[str]:
    """How many maps or pairs of each cell are flagged, in words."""
    sizes = np.bincount(frame["cell"])
    texts: list[list[str]] = [[] for _ in sizes]
    flagged = frame.loc[frame["flag"] != "", ["cell", "flag"]].astype({"flag": str})
    counts: dict[Any, int] = flagged.groupby(["cell", "flag"], sort=True).size().to_dict()
    for (cell, flag), count in counts.items():
        texts[cell].append(f"{count} of {sizes[cell]} {'pairs' if flag in PAIR_FLAGS else 'maps'} are {flag}")
    return ["; ".join(own) for own in texts]


def _intervals(parts: Sequence[Part], images: int, seeds: int) -> list[dict[str, Any]]:
    """Statistics of each explainer's scores, where all together have so many images and seeds; of those of one shape at once."""
    matrices = [_common(part) for part in parts]
    shapes: dict[tuple[int, ...], list[int]] = {}
    for number, matrix in enumerate(matrices):
        shapes.setdefault(matrix.shape, []).append(number)
    found: list[dict[str, Any]] = [{} for _ in parts]
    for (rows, columns), those in shapes.items():
        # Each matrix lies in one piece, so that its sums are the same to the last bit in any company.
        interval = crossed_interval(np.moveaxis(np.stack([matrices[number] for number in those]), 0, 2), LEVEL)
        counts = [(rows, images, "images"), (columns, seeds, "seeds")]
        for place, number in enumerate(those):
            numbers = {name: float(getattr(interval, name)[place]) for name in ("mean", "low", "high", "df")}
            numbers |= {"images": int(interval.images[place]), "planned": rows, "seeds": columns}
            numbers |= {"undefined": int(interval.undefined[place])}
            notes = [note_of(columns), ONE_IMAGE if numbers["images"] < 2 else ""]
            notes += [f"{have} of {most} {name}" for have, most, name in counts if have < most]
            found[number] = numbers | {"note": "; ".join(filter(None, [*notes, parts[number].flagged]))}
    return found


def _common(part: Part) -> Floats:
    """(images, seeds): the scores of the images that every seed has."""
    images, counts = np.unique(part.places[0], return_counts=True)
    seeds = np.unique(part.places[1])
    return part.spread(images, seeds)[counts == len(seeds)]
