"""Table and figure of the reliability of metrics, beside the published numbers, and what they say about each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats as distributions

from xaibench.figures import style
from xaibench.metric_reliability.meta_evaluation import NAMES

MODEL, INPUT, AGAIN, BOTH = "model", "input", "input, explained again", "model and input"
"""The tests. `INPUT` scores the unperturbed image's map on the perturbed image, as the authors' code does, `AGAIN` its own map."""

PIXEL_FLIPPING, REVERSED = "Pixel Flipping", "Pixel Flipping, higher as better"

COLUMNS = ("dataset", "metric", "test", "score", "value", "low", "high", "kept", "changed", "undefined")

PUBLISHED = {
    "Sparseness": {"MNIST": 0.558, "Fashion-MNIST": 0.536},
    "Complexity": {"MNIST": 0.521, "Fashion-MNIST": 0.516},
    "Faithfulness Correlation": {"MNIST": 0.540, "Fashion-MNIST": 0.530},
    PIXEL_FLIPPING: {"MNIST": 0.626, "Fashion-MNIST": 0.611},
    "Random Logit": {"MNIST": 0.666, "Fashion-MNIST": 0.689},
    "MPRT": {"MNIST": 0.583, "Fashion-MNIST": 0.570},
    "Max-Sensitivity": {"MNIST": 0.649, "Fashion-MNIST": 0.639},
    "Local Lipschitz": {"MNIST": 0.741, "Fashion-MNIST": 0.710},
}
"""Hedström et al. 2023 (arXiv:2302.07265): MC, the mean over the model and the input test."""

AGREES, IN_PART, CHANCE = 0.7, 0.3, 0.05


def markdown(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """The tables: MC beside the published one, the sentence on agreement, the four scores, and the levels of noise."""
    lines = ["# Reliability of metrics", "", *_head(facts), ""]
    for dataset, part in table.groupby("dataset", sort=False):
        name = str(dataset)
        lines += [
            f"## {name}",
            "",
            *_against_published(part, name),
            "",
            agreement(part, name),
            "",
            *_scores(part),
            "",
            *_levels(part, facts),
            "",
        ]
    return "\n".join([*lines, *_foot(facts)]) + "\n"


def _head(facts: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"MC is the mean of four scores in [0, 1] (higher is better), here of {facts['images']} test images and six explainers; "
        f"iterations: {facts['iterations']}, perturbations of each strength in each of them: {facts['perturbations']}. In brackets 95 % "
        f"intervals for other images and iterations (bootstrap, {facts['resamples']} resamples), for this classifier "
        f"(conv10_conv20_dense50, training seed {facts['training seed']}; the paper: LeNet)."
    )


def _against_published(part: pd.DataFrame, dataset: str) -> Iterator[str]:
    yield "| metric | MC, model and input test | published | rank | published | model | input | input, explained again |"
    yield "|---|---|---|---|---|---|---|---|"
    ours, theirs = orders(part, dataset)
    ranks, published = ours.rank(ascending=False), theirs.rank(ascending=False)
    for metric in part.metric.unique():
        tests = [cell(part, metric, test, "mc") for test in (BOTH, MODEL, INPUT, AGAIN)]
        known = [f"{theirs[metric]:.3f}", f"{ranks[metric]:.0f}", f"{published[metric]:.0f}"] if metric in theirs else ["", "", ""]
        yield "| " + " | ".join([metric, tests[0], *known, *tests[1:]]) + " |"


def _scores(part: pd.DataFrame) -> Iterator[str]:
    heads = [f"{name[:3].upper()}_{name[-2:].upper()}, {test}" for test in (MODEL, INPUT) for name in NAMES[:4]]
    yield f"| metric | {' | '.join(heads)} | undefined |"
    yield "|---|" + "---|" * (len(heads) + 1)
    for metric in part.metric.unique():
        values = [value(part, metric, test, name) for test in (MODEL, INPUT) for name in NAMES[:4]]
        lost = part[(part.metric == metric) & (part.test == BOTH)].undefined.iloc[0]
        yield f"| {metric} | {' | '.join(f'{number:.2f}' for number in values)} | {lost:.3f} |"


def _levels(part: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[str]:
    yield "| test | small | prediction kept | strong | prediction changed |"
    yield "|---|---|---|---|---|"
    for test, levels in facts["levels"].items():
        first = part[part.test == test].iloc[0]
        yield f"| {test} | {levels['small']:g} | {first.kept:.1%} | {levels['strong']:g} | {first.changed:.1%} |"


def _foot(facts: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "IAC: two-sided Wilcoxon signed-rank test between the scores without and with perturbation (equal scores: zsplit; normal "
        "approximation), p after small perturbations (NR), 1 - p after strong ones (AR). IEC: share of (image, explainer) whose rank among "
        "the explainers stays (NR), whose score is worse (AR). A metric that ignores perturbations has (1, 0, 1, 0), MC .5; random scores "
        "have MC .42. Only images count whose prediction is kept by the small, and changed by the strong perturbation; the last table of "
        "each data set gives their shares. Undefined: share of scores that are NaN, most of them because a map is constant."
    )
    yield ""
    yield (
        "Levels, explainers and settings of the metrics are those of the authors' configuration where it states them. Model test: every "
        "parameter times a normal number of mean 1 (the table: its standard deviation). Input test: uniform noise up to the level on every "
        "pixel, clipped to [0, 1]; as in the authors' code the map is that of the unperturbed image, which is scored on the perturbed one: "
        "a metric that looks at the map only then sees the explainers' own draws, and nothing else. Explained again: the map of the "
        "perturbed image. Every repetition has new draws of explainers and metrics, but for MPRT, "
        "whose random parameters are always the same, as in the authors' code. Maps are divided by the root of their mean square. "
        f"{REVERSED}: the direction in the authors' configuration, though the area under the curve is better when small."
    )
    yield ""
    yield f"`{facts['command']}`; provenance.json has commit and hardware."


def value(part: pd.DataFrame, metric: str, test: str, score: str, column: str = "value") -> float:
    """One number of one data set's rows."""
    row = part[(part.metric == metric) & (part.test == test) & (part.score == score)]
    return float(row[column].iloc[0])


def cell(part: pd.DataFrame, metric: str, test: str, score: str) -> str:
    """A number with its interval."""
    number, low, high = (value(part, metric, test, score, column) for column in ("value", "low", "high"))
    return f"{number:.3f} ({low:.3f} to {high:.3f})"


def orders(part: pd.DataFrame, dataset: str) -> tuple[pd.Series, pd.Series]:
    """MC of the metrics that have a published one: ours, and the published."""
    names = [name for name in PUBLISHED if name in set(part.metric)]
    ours = pd.Series({name: value(part, name, BOTH, "mc") for name in names})
    return ours, pd.Series({name: PUBLISHED[name][dataset] for name in names})


def agreement(part: pd.DataFrame, dataset: str) -> str:
    """Whether our numbers and the published ones agree, in words made from the numbers."""
    ours, theirs = orders(part, dataset)
    rank = distributions.spearmanr(ours, theirs)
    verdict = "agrees with" if rank.statistic >= AGREES else "agrees in part with" if rank.statistic > IN_PART else "does not agree with"
    chance = "" if rank.pvalue < CHANCE else ", which chance alone could give"
    inside = [name for name in ours.index if value(part, name, BOTH, "mc", "low") <= theirs[name] <= value(part, name, BOTH, "mc", "high")]
    apart = (ours - theirs).abs()
    far = str(apart.idxmax())
    ends = " ".join(
        _ends(title, str(mine), str(other))
        for title, mine, other in (
            ("Most reliable", ours.idxmax(), theirs.idxmax()),
            ("Least reliable", ours.idxmin(), theirs.idxmin()),
        )
    )
    return (
        f"Our order of the metrics {verdict} the published one: Spearman's rank correlation {rank.statistic:.2f} "
        f"(p = {rank.pvalue:.2f}, {len(ours)} metrics){chance}. The published value lies in our interval for {len(inside)} of {len(ours)}"
        f"{' (' + ', '.join(inside) + ')' if inside else ''}; the mean difference is {apart.mean():.3f}, the largest {apart[far]:.3f} "
        f"({far}: {ours[far]:.3f}, published {theirs[far]:.3f}). {ends}"
    )


def _ends(title: str, ours: str, theirs: str) -> str:
    return f"{title} here and in the paper: {ours}." if ours == theirs else f"{title} here: {ours}, in the paper: {theirs}."


def draw(table: pd.DataFrame, path: Path) -> None:
    """One panel for each data set: our MC with its interval, the published one, and that of the input test with new maps."""
    datasets = list(table.dataset.unique())
    with style.settings():
        figure = style.new(3.4 * len(datasets) + 1.6, 3.2)
        panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
        for panel, dataset in zip(panels, datasets, strict=True):
            part = table[table.dataset == dataset]
            ours, theirs = orders(part, dataset)
            for place, name in enumerate(reversed(ours.index)):
                low, high = (value(part, name, BOTH, "mc", column) for column in ("low", "high"))
                panel.plot([low, high], [place, place], color=style.COLORS[0], linewidth=1.2)
            places = list(range(len(ours)))[::-1]
            panel.plot(ours, places, "o", color=style.COLORS[0], markersize=4, label="ours, model and input")
            panel.plot(theirs, places, "D", color=style.COLORS[1], markersize=4, fillstyle="none", label="published")
            again = [value(part, name, AGAIN, "mc") for name in ours.index]
            panel.plot(again, places, "x", color=style.GREYS[0], markersize=4, label="ours, input, explained again")
            panel.axvline(0.5, color=style.GREYS[2], linewidth=0.8, zorder=0)
            panel.set(title=dataset, xlabel="MC (.5: ignores perturbations)", yticks=places, yticklabels=list(ours.index), xlim=(0.2, 1))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        style.save(figure, path)
