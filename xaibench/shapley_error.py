"""The error of estimators of Shapley values against the number of evaluations, ours and those of shap and captum.

``python -m xaibench.shapley_error`` writes errors.csv, table.md, errors.png and provenance.json to results/shapley_error/.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xaibench.adapters import captum
from xaibench.adapters import shap as shap_adapter
from xaibench.cost import measure
from xaibench.datasets.mnist import Mnist
from xaibench.environment import environment
from xaibench.explainers import coalitions
from xaibench.explainers.coalitions import Group
from xaibench.explainers.exact_shapley import all_coalitions
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.kernel_shap import KernelShap
from xaibench.explainers.permutation_shapley import PermutationShapley, permutations
from xaibench.figures import style
from xaibench.identity import Explaining
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.problem import Explainer, Output, Problem, Training
from xaibench.removal import Constant
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Store
from xaibench.superpixels import Pixels, Squares, Superpixels
from xaibench.training import Trainer

Peer = Callable[[Problem, Tensor, int, int], Tensor]
"""Takes a problem, superpixels (H, W), a number of evaluations and a seed; each pixel of its map has its superpixel's value."""

FOLDER, REMOVAL = Path("results/shapley_error"), Constant(0.0)
OURS: dict[str, Callable[..., Explainer]] = {
    "KernelShap": KernelShap,
    "KernelShap, linear fit": partial(KernelShap, fit="linear"),
    "PermutationShapley": PermutationShapley,
}


def _of_shap(explain: Callable[[Problem, Output, Tensor, Tensor, int, int], Tensor]) -> Peer:
    def estimate(problem: Problem, regions: Tensor, budget: int, seed: int) -> Tensor:
        return explain(problem, "logit", regions, torch.zeros_like(problem.images[:1]), budget - 2, seed)

    return estimate


PEERS: dict[str, Peer] = {
    "shap KernelExplainer": _of_shap(shap_adapter.kernel_explainer),
    "shap PermutationExplainer": _of_shap(shap_adapter.permutation_explainer),
    "shap SamplingExplainer": _of_shap(shap_adapter.sampling_explainer),
    "captum KernelShap": lambda problem, regions, budget, seed: captum.kernel_shap(problem, "logit", regions, budget, seed),
    "captum ShapleyValueSampling": lambda problem, regions, budget, seed: captum.shapley_value_sampling(
        problem, "logit", regions, max(1, round(budget / (int(regions.max()) + 1))), seed
    ),
}
BEST = "KernelShap"


@dataclass(frozen=True)
class Case:
    """What is estimated, and how: evaluations of the reference, budgets, images, repetitions."""

    title: str
    superpixels: Superpixels
    reference: int
    budgets: tuple[int, ...]
    images: int
    repetitions: int
    estimators: tuple[str, ...]


EVERY = (*OURS, *PEERS)
SIXTEEN = Case("16 superpixels", Squares(side=4), 2**16, (32, 64, 128, 256, 512, 1024, 2048), 16, 5, EVERY)
FORTY_NINE = Case("49 superpixels", Squares(side=7), 2**20, (64, 128, 256, 512, 1024, 2048, 4096), 12, 4, EVERY)
PIXELS = Case("784 pixels", Pixels(), 2**18, (250, 500, 1000, 2000), 6, 2, ("KernelShap", "PermutationShapley", "shap KernelExplainer"))
CASES = (SIXTEEN, FORTY_NINE, PIXELS)


def main(arguments: list[str]) -> int:
    """Run the study, or, with ``--draw``, make table and figure from its csv."""
    parser = argparse.ArgumentParser(prog="python -m xaibench.shapley_error", description=__doc__)
    parser.add_argument("--draw", action="store_true", help="make table and figure from errors.csv, without computing")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not chosen.draw:
        torch.set_num_threads(chosen.threads)
        start = time.perf_counter()
        frames = []
        for case in CASES:
            frames.append(run(case))
            pd.concat(frames).to_csv(FOLDER / "errors.csv", index=False, float_format="%.6g")
        facts = {"command": "python -m xaibench.shapley_error", "training seed": 0, "seconds": round(time.perf_counter() - start)}
        (FOLDER / "provenance.json").write_text(json.dumps(facts | environment(torch.device("cpu")), indent=1) + "\n")
    table = pd.read_csv(FOLDER / "errors.csv")
    (FOLDER / "table.md").write_text(markdown(table))
    draw(table, FOLDER / "errors.png")
    return 0


def load(images: int) -> Problem:
    """Test images of MNIST with the trained network, for the predicted class."""
    stages = Stages(Store(Path("results/store")), Runtime(device="cpu", threads=torch.get_num_threads()))
    training = Training(Mnist(), Conv10Conv20Dense50(), Trainer(), seed=0)
    return stages.problem(Explaining(training, ExplainOn(count=images), Gradient()), {})


def run(case: Case) -> pd.DataFrame:
    """Root-mean-square errors over images and superpixels, one row for each estimator, budget and repetition."""
    problem = load(case.images)
    (group,) = coalitions.groups(problem, case.superpixels)
    changed = coalitions.changes(group, REMOVAL) > 0
    singles = [Group(problem.take(slice(row, row + 1)), group.rows[:1], group.regions, group.count) for row in range(case.images)]
    known, spread = references(case, singles, changed)
    rows = []
    for name in case.estimators:
        for budget in case.budgets:
            if name in OURS and ours(name, case, budget).unsupported(problem):
                continue
            for repetition in range(case.repetitions):
                with measure(problem.classifier) as cost:
                    found = estimates(name, case, group, budget, repetition)
                error = float((found - known).square().mean().sqrt())
                rows.append((case.title, name, budget, repetition, cost.forward / case.images, error))
        print(case.title, name, *(f"{row[-1]:.4f}" for row in rows if row[1] == name), flush=True)
    frame = pd.DataFrame(rows, columns=["case", "estimator", "budget", "repetition", "evaluations", "rmse"])
    return frame.assign(
        images=case.images,
        rms_value=float(known.square().mean().sqrt()),
        reference_error=spread,
        changed=float(changed.sum(1).double().mean()),
        commit=environment(torch.device("cpu"))["commit"],
    )


def estimates(name: str, case: Case, group: Group, budget: int, seed: int) -> Tensor:
    """(B, M): an estimator's Shapley values of superpixels, with about `budget` evaluations for each image."""
    if name in OURS:
        maps = ours(name, case, budget)(group.problem, Rng(0, seed, name)).values[:, 0, 0].flatten(1).double()
        return gathered(maps, group)
    maps = PEERS[name](group.problem, group.regions[0], budget, 1000 * seed)[:, 0, 0].flatten(1).double()
    return gathered(maps, group) / group.regions.flatten().bincount()


def ours(name: str, case: Case, budget: int) -> Explainer:
    """One of our estimators with at most so many evaluations."""
    return OURS[name](samples=budget - 2, superpixels=case.superpixels, removal=REMOVAL)


def outputs_of(single: Group) -> Callable[[Tensor], Tensor]:
    """The logit of an image when only the superpixels of a coalition are present."""
    return lambda present: coalitions.values(single, REMOVAL, present, "logit")[0, 0]


def gathered(maps: Tensor, group: Group) -> Tensor:
    """(B, M): each superpixel's sum of (B, H W) maps."""
    regions = group.regions.flatten()
    return maps.new_zeros(len(maps), group.count).index_add_(1, regions, maps)


def references(case: Case, singles: list[Group], changed: Tensor) -> tuple[Tensor, float]:
    """(B, M) Shapley values, and their standard error: exact where all coalitions fit, else unbiased from random orders.

    Superpixels that are black already have the value 0; the game of the others is evaluated.
    """
    known = torch.zeros(changed.shape, dtype=torch.float64)
    variances = []
    for row, single in enumerate(singles):
        players = changed[row].nonzero()[:, 0]
        value = outputs_of(single)
        if 2 ** len(players) <= case.reference:
            known[row, players], variance = _exact(value, players, single.count), 0.0
        else:
            known[row, players], variance = _long_run(value, players, single.count, case.reference)
        variances.append(variance)
        print(case.title, "reference", row, len(players), f"{variance**0.5:.5f}", flush=True)
    return known, float(np.mean(variances) ** 0.5)


def _exact(value: Callable[[Tensor], Tensor], players: Tensor, count: int) -> Tensor:
    design = all_coalitions(len(players))
    return torch.cat([_outputs(value, part, players, count) for part in design.coalitions.split(2**16)]) @ design.weights


def _long_run(value: Callable[[Tensor], Tensor], players: Tensor, count: int, evaluations: int) -> tuple[Tensor, float]:
    parts = 16
    pairs = evaluations // (2 * len(players) * parts)
    designs = (permutations(len(players), pairs, torch.Generator().manual_seed(part)) for part in range(parts))
    found = torch.stack([_outputs(value, design.coalitions, players, count) @ design.weights for design in designs])
    # the mean over all superpixels: those that are black are known exactly
    return found.mean(0), float(found.var(0).sum() / parts / count)


def _outputs(value: Callable[[Tensor], Tensor], present: Tensor, players: Tensor, count: int) -> Tensor:
    everyone = torch.zeros(len(present), count, dtype=torch.bool)
    everyone[:, players] = present
    return value(everyone).double()


def at_equal_evaluations(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each case, estimator and budget: evaluations, error, and its ratio to ours at as many evaluations.

    Ours is interpolated between its budgets, linearly in logarithms; it never takes more than its budget, and less where that is all
    coalitions. Below its least budget its error there stands.
    """
    keys = ["case", "estimator", "budget"]
    squares = table.assign(rmse=table.rmse**2).groupby(keys, sort=False)[["evaluations", "rmse"]].mean().reset_index()
    squares["rmse"] **= 0.5
    ratios = []
    for (case, _), part in squares.groupby(["case", "estimator"], sort=False):
        ours = squares[(squares.case == case) & (squares.estimator == BEST)].sort_values("budget")
        least, most = ours.budget.min() * 0.5, ours.budget.max() * 1.1
        level = np.interp(np.log(part.evaluations), np.log(ours.budget), np.log(ours.rmse.clip(lower=1e-12)))
        ratios.append((part.rmse / np.exp(level)).where(part.evaluations.between(least, most)))
    return squares.assign(ratio=pd.concat(ratios))


def markdown(table: pd.DataFrame) -> str:
    """The table of the study: errors, and in brackets the ratio to ours at equal evaluations."""
    found = at_equal_evaluations(table)
    lines = ["# Error of Shapley estimators at equal evaluations", ""]
    for case, part in found.groupby("case", sort=False):
        facts = table[table.case == case].iloc[0]
        budgets = sorted(part.budget.unique())
        lines += [
            f"## {case}",
            "",
            f"{facts.images} images, on average {facts.changed:.1f} not black; root mean square of the values {facts.rms_value:.3f}; "
            f"standard error of the reference {facts.reference_error:.1g}.",
            "",
            "| budget of evaluations | " + " | ".join(str(budget) for budget in budgets) + " |",
            "|---|" + "---|" * len(budgets),
        ]
        for name, rows in part.groupby("estimator", sort=False):
            cells = [_cell(rows[rows.budget == budget]) for budget in budgets]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [
        f"Root-mean-square error over images and superpixels, in logits; in brackets its ratio to {BEST}'s with a budget of as many",
        "evaluations as were counted (a mean over images: some have fewer coalitions, and some estimators round).",
        "MNIST test images, conv10_conv20_dense50 (seed 0), logit of the predicted class, black baseline. shap leaves out superpixels that",
        "equal the baseline, as ours does; captum does not. `python -m xaibench.shapley_error`; provenance.json has commit and hardware.",
    ]
    return "\n".join(lines) + "\n"


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    row = rows.iloc[0]
    ratio = "" if row.estimator == BEST or np.isnan(row.ratio) else f" ({row.ratio:.1f})"
    return f"{row.rmse:.4f}{ratio}"


def draw(table: pd.DataFrame, path: Path) -> None:
    """One panel for each case with several budgets: error against evaluations, with the range over the repetitions."""
    from matplotlib.figure import Figure

    cases = [case for case, part in table.groupby("case", sort=False) if part.budget.nunique() > 1]
    with style.settings():
        figure = Figure(figsize=(3.6 * len(cases) + 2.2, 3.8), layout="constrained")
        panels = figure.subplots(1, len(cases), squeeze=False)[0]
        for panel, case in zip(panels, cases, strict=True):
            for number, name in enumerate(EVERY):
                rows = table[(table.case == case) & (table.estimator == name)].groupby("budget")
                error = rows.rmse.agg(lambda values: float(np.sqrt((values**2).mean())))
                shown = error > 1e-6  # all coalitions: exact
                look = {"color": COLORS[number], "marker": MARKERS[number], "linewidth": 2.2 if name == BEST else 1.2, "markersize": 4}
                panel.plot(rows.evaluations.mean()[shown], error[shown], label=name, **look)
                panel.fill_between(
                    rows.evaluations.mean()[shown], rows.rmse.min()[shown], rows.rmse.max()[shown], color=COLORS[number], alpha=0.15, lw=0
                )
            panel.set(xscale="log", yscale="log", xlabel="evaluations for each image", title=case)
        panels[0].set_ylabel("root-mean-square error (logit)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
        figure.savefig(path, dpi=150)


COLORS = ["#000000", "#0072B2", "#D55E00", "#E69F00", "#CC79A7", "#56B4E9", "#009E73", "#999999"]
MARKERS = ["o", "s", "^", "v", "D", "P", "X", "*"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
