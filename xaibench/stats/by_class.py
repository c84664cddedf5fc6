"""Scores of each true class apart, and of what the classifier gets right and wrong."""

from __future__ import annotations

import pandas as pd

from xaibench import markdown as md
from xaibench.problem import Family
from xaibench.tables.aggregate import KEYS, aggregate
from xaibench.tables.blocks import natural

NOTE = """Mean over the images of each true class, by its number, of those that all seeds' classifiers predict rightly, and of those that
all predict wrongly; intervals (images crossed with seeds) are in the csv file. Spread: the largest class less the smallest."""

PREDICTED = ["dataset", "model", "trainer", "index"]


def by_class(long: pd.DataFrame, score: str = "value") -> pd.DataFrame:
    """The table of `tables.aggregate` for the images of each true class alone, and of rightly and wrongly predicted ones.

    An image that the classifiers of some seeds get right and others wrong is in neither of the two.

    Returns
    -------
    DataFrame
        Its columns, and after the keys `images_of`: the number of the class, "right" or "wrong".
    """
    chosen = long[long["score"] == score]
    right = (chosen["label"] == chosen["predicted"]).groupby([chosen[name] for name in PREDICTED], observed=True).transform("mean")
    parts = {str(label): part for label, part in chosen.groupby("label", sort=True)}
    parts |= {"right": chosen[right == 1], "wrong": chosen[right == 0]}
    table = pd.concat([aggregate(part).assign(images_of=name) for name, part in parts.items() if len(part)], ignore_index=True)
    return table[[*KEYS, "images_of", *(name for name in table.columns if name not in (*KEYS, "images_of"))]]


def markdown(table: pd.DataFrame) -> str:
    """Explainers by classes, a part for each data set, model and metric, controls last."""
    lines = [NOTE, ""]
    keys = ["dataset", "model", *(["trainer"] if table["trainer"].nunique() > 1 else []), "metric"]
    for names, part in table.groupby(keys, sort=True):
        heads = sorted(set(part["images_of"]), key=natural)
        classes = [name for name in heads if name not in ("right", "wrong")]
        rows, wide = [], part.pivot(index=["family", "explainer"], columns="images_of", values="mean")
        for family, explainer in sorted(wide.index, key=lambda item: (item[0] == Family.CONTROL.value, item[1])):
            own = wide.loc[(family, explainer)]
            name = f"*{explainer}* (control)" if family == Family.CONTROL.value else explainer
            rows.append([name, *(f"{value:.3f}" for value in (*own[heads], own[classes].max() - own[classes].min()))])
        lines += [f"## {' / '.join(map(str, names))}", "", *md.table(["explainer", *heads, "spread"], rows), ""]
    return "\n".join(lines)
