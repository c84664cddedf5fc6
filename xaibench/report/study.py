"""A study's folder as tables: what a report is made from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import yaml

from xaibench.stats import files as significance
from xaibench.stats.standings import FIRST
from xaibench.studies import costs
from xaibench.tables.blocks import natural

NAMES = ("dataset", "model", "trainer", "explainer", "metric", "score", "family", "metric_family", "first", "second", "class", "influence")
FACTS = ("higher_is_better", "note", "stage", "groups", "label", "predicted", "topic", "claim", "expected", "holds", "reached", "direction")
MORE = ("tells", "of", "least_pair", "least_metric", "kind", "name", "what", "paper", "settings", "against", "left_out", "reason")
TEXTS = frozenset((*NAMES, *FACTS, *MORE))
"""Columns that hold text even where it looks like a number, or like nothing."""

NAMED = ("explainer", "metric", "first", "second")
"""Columns that hold labels of explainers or metrics."""

CLASS = re.compile(r"(?:\w+\.)*class=(?:\w+\.)*(\w+)")
FIELD = re.compile(r"(?<=[\[ ])(?:\w+\.)+(\w+)=")

VERDICTS = {"True": True, "False": False}


@dataclass(frozen=True)
class Study:
    """The data in a study's folder; a table whose file is missing is empty.

    Attributes
    ----------
    folder
        ``results/<study>``.
    conf
        The configuration that components and experiments are described in.
    """

    folder: Path
    conf: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @cached_property
    def title(self) -> str:
        """The experiment's title, where there is an experiment of this name; else the name in words."""
        file = self.conf / "experiment" / f"{self.name}.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return str(content.get("title") or self.name.replace("_", " "))

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What the numbers were computed with."""
        found: dict[str, Any] = json.loads((self.folder / "provenance.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def names(self) -> dict[str, str]:
        """What labels of the study are called in the report, where that is not the label.

        ``deletion[removal.class=xaibench.removal.Blur, removal.sigma=3]`` is ``deletion[Blur, sigma=3]``, unless two labels would be
        the same.
        """
        table = self._read("table")
        if table.empty or "score" not in table:
            return {}
        labels = [*table["explainer"].unique(), *table["metric"].unique()]
        found = {label: FIELD.sub(r"\1=", CLASS.sub(r"\1", label)) for label in labels}
        return {label: name for label, name in found.items() if name != label} if len(set(found.values())) == len(found) else {}

    @cached_property
    def table(self) -> pd.DataFrame:
        """The headline scores: a row for each (dataset, model, trainer, explainer, metric)."""
        found = self.csv("table")
        if found.empty or "score" not in found:  # studies that are no grid have tables of another kind
            return pd.DataFrame()
        directions = pd.Series([VERDICTS.get(text) for text in found["higher_is_better"]], dtype=object)
        return found.assign(higher_is_better=directions)[found["score"] == "value"].reset_index(drop=True)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Mean curves: a row for each (dataset, model, trainer, explainer, metric, curve, fraction)."""
        path = self.folder / "curves.parquet"
        return self._named(pd.read_parquet(path)) if path.is_file() else pd.DataFrame()

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Pairs of explainers, see `comparison.pairs`."""
        return self._named(significance.read(self.folder))

    @cached_property
    def images(self) -> dict[str, int]:
        """How many images of each data set are explained."""
        path = self.folder / "scores.parquet"
        if not path.is_file():
            return {}
        rows = pyarrow.parquet.read_table(path, columns=["dataset", "index"]).to_pandas().drop_duplicates()
        return {str(dataset): len(part) for dataset, part in rows.groupby("dataset", observed=True)}

    @cached_property
    def costs(self) -> pd.DataFrame:
        """Passes and seconds of explaining one image, see `studies.costs`."""
        path, places = self.folder / "scores.parquet", ["dataset", "model", "trainer", "explainer", "seed", "draw", "index"]
        return self._named(costs(self.folder, pd.read_parquet(path, columns=places))) if path.is_file() else pd.DataFrame()

    @property
    def keys(self) -> list[str]:
        """The columns that name a trained classifier: the trainer where several occur."""
        several = not self.table.empty and self.table["trainer"].nunique() > 1
        return ["dataset", "model", "trainer"] if several else ["dataset", "model"]

    @cached_property
    def titles(self) -> list[tuple[str, ...]]:
        """The trained classifiers with scores, in natural order."""
        found = set() if self.table.empty else set(self.table[self.keys].itertuples(index=False, name=None))
        return sorted(found, key=lambda names: [natural(name) for name in names])

    @cached_property
    def explainers(self) -> dict[str, str]:
        """Families of all explainers with scores, in natural order with controls last."""
        families = {} if self.table.empty else dict(zip(self.table["explainer"], self.table["family"], strict=True))
        order = sorted(families, key=lambda name: (families[name] == "control", natural(name)))
        return {name: families[name] for name in order}

    @cached_property
    def metrics(self) -> dict[str, tuple[str, bool | None]]:
        """Family and direction of all metrics, family by family, faithfulness first."""
        columns = ["metric_family", "higher_is_better"]
        facts = {} if self.table.empty else self.table.drop_duplicates("metric").set_index("metric")[columns].to_dict("index")
        order = sorted(facts, key=lambda name: (facts[name]["metric_family"] != FIRST, facts[name]["metric_family"], natural(str(name))))
        return {str(name): (facts[name]["metric_family"], facts[name]["higher_is_better"]) for name in order}

    def csv(self, stem: str) -> pd.DataFrame:
        """A table of the folder: texts as they are, but labels as in `names`; numbers with NaN where there is none."""
        return self._named(self._read(stem))

    def _named(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.replace({column: self.names for column in NAMED if column in table}) if self.names else table

    def _read(self, stem: str) -> pd.DataFrame:
        path = self.folder / f"{stem}.csv"
        if not path.is_file() or path.stat().st_size < 2:
            return pd.DataFrame()
        names = [str(name) for name in pd.read_csv(path, nrows=0).columns]
        texts = {name: str for name in names if name in TEXTS}
        return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={name: ["", "nan"] for name in names if name not in texts})
