"""Critical-difference diagrams: mean ranks of explainers, and which of them cannot be told apart."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xaibench.figures import style

VERSION = 1

ROW, WIDTH = 0.15, 3.6
"""Inches of an explainer's row, and of a panel."""
LETTERS = 50
"""Letters that fit above a panel."""
BAR = 0.03
"""Distance of the bars, as a share of the panel's width."""


def critical_difference(ranks: pd.DataFrame, path: Path) -> Figure:
    """A panel for each classifier, of one metric: explainers by mean rank, the best above; a bar joins those that do not differ.

    Parameters
    ----------
    ranks
        Columns dataset, model, trainer, metric, explainer, family, mean_rank, groups (letters), images, friedman.
    path
        File to write: png, svg or pdf.
    """
    keys = ["dataset", "model", *(["trainer"] if ranks["trainer"].nunique() > 1 else [])]
    panels = list(ranks.groupby(keys, sort=True))
    families = dict(ranks[["explainer", "family"]].itertuples(index=False, name=None))
    colors = {name: look["color"] for name, look in style.families(families).items()}
    most = max(len(part) for _, part in panels)
    with style.settings():
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure = style.new(WIDTH * columns + 0.3, (0.75 + ROW * max(most, 4)) * rows + 0.3)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for one, ((dataset, *rest), part) in zip(axes, panels, strict=False):
            _panel(one, part.sort_values("mean_rank", kind="stable"), colors)
            one.set_title(_title(str(dataset), " / ".join(map(str, rest)), int(part["images"].iloc[0]), float(part["friedman"].iloc[0])))
        for one in axes[len(panels) :]:
            one.axis("off")
        dots = {family: axes[0].plot([], [], "o", markersize=3, color=colors[name])[0] for name, family in sorted(families.items())}
        figure.legend(list(dots.values()), list(dots), loc="outside upper right", ncols=3, frameon=False, fontsize=7)
        figure.supxlabel(
            f"mean rank by {ranks['metric'].iloc[0]} (1 is best); bars: no significant difference (Wilcoxon, Holm, 5 %)", fontsize=7
        )
        style.save(figure, path, flat=True)
    return figure


def _panel(axes: Axes, part: pd.DataFrame, colors: dict[str, str]) -> None:
    heights = range(len(part))[::-1]
    own = [colors[name] for name in part["explainer"]]
    end = float(part["mean_rank"].max())
    axes.hlines(heights, 0.5, part["mean_rank"], colors=own, linewidth=0.8, alpha=0.35)
    axes.scatter(part["mean_rank"], heights, s=11, c=own, zorder=3, linewidths=0)
    members: dict[str, list[int]] = {}
    for height, letters in zip(heights, part["groups"], strict=True):
        for letter in letters:
            members.setdefault(letter, []).append(height)
    lowest: list[int] = []  # of the last bar in each lane; bars come from above
    for group in (group for group in members.values() if len(group) > 1):
        lane = next((number for number, low in enumerate(lowest) if low > max(group)), len(lowest))
        lowest[lane : lane + 1] = [min(group)]
        ends = [min(group) - 0.25, max(group) + 0.25]
        axes.plot([end * (1.04 + BAR * lane)] * 2, ends, color="#333333", linewidth=1.6, solid_capstyle="butt")
    axes.set(xlim=(0.5, end * (1.07 + BAR * len(lowest))), ylim=(-0.7, len(part) - 0.3))
    style.row_names(axes, list(part["explainer"])[::-1], set(part.loc[part["family"] == "control", "explainer"]))


def _title(dataset: str, model: str, images: int, p: float) -> str:
    apart = " / " if len(dataset) + len(model) < LETTERS else "\n"
    test = "" if math.isnan(p) else ", Friedman p < .001" if p < 0.001 else f", Friedman p = {p:.3f}"
    return f"{dataset}{apart}{model}\n{images} image{'s' * (images != 1)}{test}"
