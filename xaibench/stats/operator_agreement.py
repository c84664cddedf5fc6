"""Whether a metric puts explainers in the same order whatever a removed pixel becomes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from xaibench import markdown as md
from xaibench.claims.base import over_seeds

OPERATOR = "metric.removal.class"


def operator_agreement(scores: pd.DataFrame) -> pd.DataFrame:
    """One row for each dataset, model and metric that was computed with several removal operators.

    Returns
    -------
    DataFrame
        `dataset`, `model`, `metric`; `operators`, `explainers` (their numbers); `agreement` with `low` and `high`: Spearman's rank
        correlation between the explainers' mean scores under two operators, mean over all pairs, for each seed; mean and 95 % interval
        over the seeds. `least` and `least_pair`: the pair of operators that agree least, and their correlation.
    """
    chosen = scores[(scores["score"] == "value") & scores[OPERATOR].notna()]
    chosen = chosen.assign(name=[str(label).partition("[")[0] for label in chosen["metric"]], operator=_names(chosen))
    rows = [_row(names, part) for names, part in chosen.groupby(["dataset", "model", "name"], sort=True, observed=True)]
    return pd.DataFrame([row for row in rows if row["operators"] > 1])


def _names(scores: pd.DataFrame) -> list[str]:
    """Operators in words: the class, and a constant's value."""
    classes = [str(text).strip('"').rpartition(".")[2] for text in scores[OPERATOR]]
    values = scores.get("metric.removal.value", pd.Series(index=scores.index, dtype=object))
    return [f"{name}({value})" if name == "Constant" and not pd.isna(value) else name for name, value in zip(classes, values, strict=True)]


def _row(names: Any, part: pd.DataFrame) -> dict[str, Any]:
    # Only images that every explainer has a score for under every operator.
    wide = part.pivot_table(index=["seed", "index", "target"], columns=["operator", "explainer"], values="value", observed=True).dropna()
    means = wide.groupby("seed", observed=True).mean()
    operators = sorted(set(part["operator"]))
    pairs = list(itertools.combinations(operators, 2))
    found = np.array([[stats.spearmanr(one[first], one[second]).statistic for first, second in pairs] for _, one in means.iterrows()])
    row = dict(zip(("dataset", "model", "metric"), names, strict=True)) | {"operators": len(operators)}
    if not found.size:
        return row | {"explainers": 0, "agreement": math.nan, "low": math.nan, "high": math.nan, "least": math.nan, "least_pair": ""}
    interval, least = over_seeds(found.mean(axis=1)), int(found.mean(axis=0).argmin())
    row |= {"explainers": int(part["explainer"].nunique()), "agreement": float(interval.mean)}
    row |= {"low": max(float(interval.low), -1.0), "high": min(float(interval.high), 1.0)}
    return row | {"least": float(found.mean(axis=0)[least]), "least_pair": " and ".join(pairs[least])}


def markdown(table: pd.DataFrame) -> str:
    """The table in rounded numbers."""
    lines = [
        "Spearman's rank correlation between the orders of the explainers under two removal operators, mean over all pairs of operators;",
        "",
    ]
    lines[0] += " in brackets the 95 % interval over seeds (these images and operators)."
    heads, rows = ["dataset", "model", "metric", "operators", "explainers", "agreement", "least", "between"], []
    for one in table.to_dict("records"):
        agreement, least = f"{one['agreement']:.2f} ({one['low']:.2f} to {one['high']:.2f})", f"{one['least']:.2f}"
        rows.append([*(one[name] for name in heads[:5]), agreement, least, one["least_pair"]])
    return "\n".join([*lines, *md.table(heads, rows, "lllrrrrl"), ""])
