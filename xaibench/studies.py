"""Several studies' scores, comparisons and costs as one: what they call alike but is not gets labels of its own."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from pandas.api.types import union_categoricals

from xaibench.component import ConfigurationError
from xaibench.labels import labels
from xaibench.stats import files as significance
from xaibench.tables.aggregate import KEYS, NEEDED, PLACES
from xaibench.tables.layout import AXES, COSTS, Extras

SCORES, COST = "scores.parquet", "cost.csv"
PARTS = {
    "dataset": ("dataset", "explain_on"),
    "model": ("model",),
    "trainer": ("trainer",),
    "explainer": ("explainer",),
    "metric": ("metric",),
}
"""Whose fields a label stands for."""

TOLERANCE = 1e-4
"""Relative difference up to which two studies' numbers count as the same: that of other thread counts and machines."""

BY_EXPLAINER = ("explainer", "family")

Labels = dict[str, dict[str, str]]
Filter = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Study:
    """A study's folder.

    Attributes
    ----------
    folder
        Holds ``scores.parquet``.
    """

    folder: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.name

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The long table, as far as tables need it."""
        return pd.read_parquet(self.folder / SCORES, columns=NEEDED)

    def fields(self, part: str) -> dict[str, dict[str, Any]]:
        """All fields of what each label of a part stands for, as far as they are known."""
        prefixes = tuple(f"{name}." for name in PARTS[part])
        columns = [column for column in pq.read_schema(self.folder / SCORES).names if column.startswith(prefixes)]
        firsts = pd.read_parquet(self.folder / SCORES, columns=[part, *columns]).drop_duplicates(part).set_index(part).astype(object)
        found: dict[str, dict[str, Any]] = {}
        for label, row in zip(map(str, firsts.index), firsts.to_numpy().tolist(), strict=True):
            known = [(column, text) for column, text in zip(columns, row, strict=True) if isinstance(text, str)]
            found[label] = {column.partition(".")[2]: json.loads(text) for column, text in known}
        return found

    def costs(self) -> pd.DataFrame:
        """What its explanations cost, see `costs`."""
        return costs(self.folder, self.scores)

    def comparison(self) -> pd.DataFrame:
        """Pairwise tests of its explainers, if there are any."""
        return significance.read(self.folder)


def costs(folder: Path, scores: pd.DataFrame) -> pd.DataFrame:
    """Passes and seconds of explaining one image, by data set, model, trainer and explainer: one row for each seed and draw."""
    path, place = folder / COST, ["dataset", "model", "trainer", "explainer", "seed", "draw"]
    if not path.is_file():
        return pd.DataFrame()
    found = pd.read_csv(path)
    images = scores.groupby(place, observed=True)["index"].nunique().rename("images").reset_index()
    images = images.astype(dict.fromkeys(place[:4], str))
    found = found[found["stage"] == "explain"].merge(images, on=place)
    return found.assign(**{name: found[name] / found["images"] for name in COSTS})[[*place[:4], *COSTS]]


def gathered(studies: Sequence[Study], wanted: Filter, costs: bool = False) -> tuple[pd.DataFrame, Extras]:
    """The long table of all studies, and what can stand beside its means.

    Names are labelled by the fields in which they differ among the studies; cells that several studies have are taken once.

    Parameters
    ----------
    studies
        One or more.
    wanted
        Labels, or names without fields, of some of `AXES`: other scores are left out, but for those of other explainers, as what a
        score is compared with depends on them.
    costs
        Whether to read these too.

    Raises
    ------
    ConfigurationError
        If nothing is called so, if a metric has several versions, or if a cell has different numbers in two studies.
    """
    renamed = _labels(studies) if len(studies) > 1 else [{} for _ in studies]
    frames = [_renamed(study.scores, known) for study, known in zip(studies, renamed, strict=True)]
    for axis, values in wanted.items():
        _check(axis, values, frames)
    chosen = {axis: values for axis, values in wanted.items() if axis not in BY_EXPLAINER}
    frames = [frame[kept(frame, chosen)] for frame in frames]
    names = [study.name for study, frame in zip(studies, frames, strict=True) if len(frame)]
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        raise ConfigurationError(f"filter={' '.join(f'{key}={_listed(values)}' for key, values in wanted.items())}: nothing is left")
    _check_versions(names, frames)
    comparisons = [_renamed(study.comparison(), known) for study, known in zip(studies, renamed, strict=True)]
    spent = [_renamed(study.costs(), known) for study, known in zip(studies, renamed, strict=True)] if costs else [pd.DataFrame()]
    return _once(names, frames), Extras(pd.concat(comparisons, ignore_index=True), pd.concat(spent, ignore_index=True))


def kept(frame: pd.DataFrame, wanted: Filter) -> pd.Series:
    """Which rows have one of the wanted labels, or of the wanted names, in every column that is asked for."""
    keep = pd.Series(True, index=frame.index)
    for axis, values in wanted.items():
        column = frame[axis].astype("category")
        good = [label for label in column.cat.categories if {str(label), _name(str(label))} & set(values)]
        keep &= column.isin(good)
    return keep


def _check(axis: str, values: Sequence[str], frames: Sequence[pd.DataFrame]) -> None:
    if axis not in AXES:
        raise ConfigurationError(f"filter={axis}={_listed(values)}: expected one of {', '.join(AXES)} before the first =")
    known = {str(label) for frame in frames for label in frame[axis].unique()}
    names = {_name(label) for label in known}
    for value in values:
        if value not in known | names:
            close = difflib.get_close_matches(value, known | names, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise ConfigurationError(f"filter={axis}={value}: expected one of {', '.join(sorted(names))}{hint}")


def _labels(studies: Sequence[Study]) -> list[Labels]:
    """For each study and part, the label among all studies by the study's own."""
    found: list[Labels] = [{} for _ in studies]
    for part in PARTS:
        owned = [(number, label, fields) for number, study in enumerate(studies) for label, fields in study.fields(part).items()]
        made = labels([(_name(label), fields) for _, label, fields in owned], absent_differs=False)
        for (number, label, _), new in zip(owned, made, strict=True):
            found[number].setdefault(part, {})[label] = new
    return found


def _listed(values: Sequence[str]) -> str:
    return ",".join(values)


def _name(label: str) -> str:
    return label.partition("[")[0]


def _renamed(frame: pd.DataFrame, known: Labels) -> pd.DataFrame:
    """With the labels among all studies."""
    parts = {"first": "explainer", "second": "explainer"} | {part: part for part in known}
    for column, part in parts.items():
        if column in frame and part in known:
            old = frame[column].astype("category")
            new = np.array([known[part].get(str(label), str(label)) for label in old.cat.categories], dtype=object)
            frame = frame.assign(**{column: pd.Categorical(new[old.cat.codes])})
    return frame


def _check_versions(names: Sequence[str], frames: Sequence[pd.DataFrame]) -> None:
    """Refuse a metric that has several versions, in whatever configurations."""
    found: dict[str, dict[int, str]] = {}
    for name, frame in zip(names, frames, strict=True):
        for row in frame[["metric", "metric_version"]].drop_duplicates().to_dict("records"):
            found.setdefault(_name(str(row["metric"])), {}).setdefault(int(row["metric_version"]), name)
    for metric, versions in found.items():
        if len(versions) > 1:
            told = ", ".join(f"{version} in {study}" for version, study in sorted(versions.items()))
            raise ConfigurationError(f"metric={metric}: version {told}; expected one: run the older study again, or leave one out")


def _once(names: Sequence[str], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows; of what several studies have, those of the first."""
    if len(frames) == 1:
        return frames[0]
    texts = {*KEYS, "family", "metric_family", "flag"}
    names_of = {column: union_categoricals([pd.Categorical(frame[column]) for frame in frames]) for column in texts}
    rest = pd.concat([frame.drop(columns=[*texts]).assign(study=number) for number, frame in enumerate(frames)], ignore_index=True)
    long = rest.assign(**names_of)
    cell = long.groupby(KEYS, observed=True, sort=False).ngroup()
    shared = long[long["study"].groupby(cell).transform("nunique") > 1]
    place = shared.groupby([*KEYS, *PLACES], observed=True, sort=False).ngroup().rename("place")
    firsts = shared.assign(place=place).drop_duplicates("place").set_index("place")[["study", "value"]].loc[place]
    wrong = ~np.isclose(shared["value"], firsts["value"], rtol=TOLERANCE, atol=TOLERANCE / 100, equal_nan=True)
    if wrong.any():
        row, first = shared[wrong].iloc[0], firsts[wrong].iloc[0]
        told = " ".join(f"{name}={row[name]}" for name in [*KEYS, "seed", "index", "target"])
        both = f"{first['value']:g} in {names[int(first['study'])]}, {row['value']:g} in {names[int(row['study'])]}"
        raise ConfigurationError(f"{told}: {both}; expected the same number of the same cell: run the older study again, or leave one out")
    return long.drop(index=shared.index[place.duplicated()])
