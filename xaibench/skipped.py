"""What of a grid is not computed, and why."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from xaibench.planning import Planned

FILE = "skipped.csv"


def reasons(cells: Iterable[Planned]) -> dict[str, list[Planned]]:
    """The skipped cells by their reason."""
    found: dict[str, list[Planned]] = {}
    for item in cells:
        if item.status == "skipped":
            found.setdefault(item.reason, []).append(item)
    return found


def whose(members: Iterable[Planned]) -> dict[tuple[str, ...], list[str]]:
    """Metrics by explainers: those that are skipped for the same explainers together."""
    explainers: dict[str, dict[str, None]] = {}
    for item in members:
        explainers.setdefault(item.cell.metric.name, {})[item.cell.explainer.name] = None
    metrics: dict[tuple[str, ...], list[str]] = {}
    for metric, names in explainers.items():
        metrics.setdefault(tuple(names), []).append(metric)
    return metrics


def skipped(cells: Iterable[Planned]) -> pd.DataFrame:
    """One row for each reason and the explainers that it holds for with the same metrics.

    Returns
    -------
    DataFrame
        `cells`, how many it keeps from being computed; `reason`; `model`, `metric` and `explainer`, the names of all.
    """
    rows = []
    for reason, members in reasons(cells).items():
        for explainers, metrics in whose(members).items():
            own = [item.cell for item in members if item.cell.explainer.name in explainers and item.cell.metric.name in metrics]
            models = sorted({cell.model.name for cell in own})
            rows.append((len(own), reason, *(", ".join(names) for names in (models, metrics, explainers))))
    return pd.DataFrame(rows, columns=["cells", "reason", "model", "metric", "explainer"])
