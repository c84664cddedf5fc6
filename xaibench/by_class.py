"""Scores of each true class apart."""

from __future__ import annotations

import pandas as pd

from xaibench.problem import Family
from xaibench.tables import KEYS, aggregate

NOTE = """Mean over the images of each true class, by its number, and over seeds; intervals (images crossed with seeds) are in the csv file.
Spread: the largest less the smallest."""


def by_class(long: pd.DataFrame, score: str = "value") -> pd.DataFrame:
    """The table of `tables.aggregate` for the images of each true class alone, with the column `label` after its keys."""
    chosen = long[long["score"] == score]
    parts = [aggregate(part).assign(label=label) for label, part in chosen.groupby("label", sort=True)]
    table = pd.concat(parts, ignore_index=True)
    return table[[*KEYS, "label", *(name for name in table.columns if name not in (*KEYS, "label"))]]


def markdown(table: pd.DataFrame) -> str:
    """Explainers by classes, a part for each data set, model and metric, controls last."""
    lines = [NOTE, ""]
    for names, part in table.groupby(["dataset", "model", "metric"], sort=True):
        labels = sorted(part["label"].unique())
        lines += [f"## {' / '.join(map(str, names))}", "", f"| explainer | {' | '.join(map(str, labels))} | spread |"]
        lines.append(f"| --- |{' ---: |' * (len(labels) + 1)}")
        wide = part.pivot(index=["family", "explainer"], columns="label", values="mean")
        for family, explainer in sorted(wide.index, key=lambda item: (item[0] == Family.CONTROL.value, item[1])):
            own = wide.loc[(family, explainer)]
            name = f"*{explainer}* (control)" if family == Family.CONTROL.value else explainer
            cells = [f"{value:.3f}" for value in (*own, own.max() - own.min())]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)
