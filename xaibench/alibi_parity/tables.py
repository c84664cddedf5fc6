"""The tables of the comparison."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from xaibench.alibi_parity.comparison import DISTANCES
from xaibench.alibi_parity.ours import DIFFERS

FOUND = """Found, by one rule for both: the argmax is the target on the clipped float32 image, by our network. In brackets, what each calls
found itself (Wachter: a probability of the target of at least target_proba - tol). Distances are of pairs that both found, to the original
image, and for pertinent positives to the empty image; L2 is the norm; medians. `not greater`: share of pairs where ours is at most alibi's,
and Wilcoxon's two-sided p of the difference. Seconds are of CPU, one thread each, for one counterfactual: alibi's one after another,
without building its graphs, ours all at once. `logits`: our loss is of logits, as by default; else of probabilities, as alibi's is.
alibi's seconds here were taken on a busy machine: compare speeds by the next table. Of pertinent positives alibi found one, the empty
image, which says nothing of distances."""

SPEED = """Milliseconds of CPU for one iteration of one pair (for ours: one forward and backward pass), timed in turns on one core; how many
times faster ours is. At equal iterations these are the ratios of whole searches. As a black box alibi takes numerical gradients, 1,568
evaluations or twice as many for an iteration; it made few iterations, near the original image, and no whole search."""


def markdown(table: pd.DataFrame, facts: dict[str, Any], speed: pd.DataFrame | None) -> str:
    """The comparison, what does not mean the same, the speed, and the settings."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = ["# Our counterfactuals and alibi's", "", f"alibi's ran with {versions}.", ""]
    heads = ["method", "pairs", "found: ours", "alibi", *(f"{name}: ours | alibi | ratio | not greater" for name in DISTANCES)]
    heads += ["seconds: ours", "alibi", "iterations: ours", "alibi"]
    lines += [*_table(heads, [_comparison(row) for row in table.to_dict("records")]), "", FOUND, ""]
    lines += [*(f"- **{name}**: {reason}." for name, reason in DIFFERS.items()), ""]
    if speed is not None:
        heads = ["method", "pairs at once", "ours", "alibi", "alibi, black box", "times faster", "than the black box"]
        lines += [*_table(heads, [_speed(row) for row in speed.to_dict("records")]), "", SPEED, ""]
    copies = ", ".join(f"{name} {value:.0e}" for name, value in facts["differences"].items())
    lines += [f"Largest difference between the networks and their Keras copies: {copies}.", "", "Settings, in alibi's words:", ""]
    return "\n".join([*lines, *(f"- **{name}**: `{json.dumps(facts['settings'][name])}`" for name in DIFFERS)]) + "\n"


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    first = "| " + " | ".join(heads) + " |"
    return [first, "|" + "---|" * (first.count("|") - 1), *("| " + " | ".join(row) + " |" for row in rows)]


def _comparison(row: dict[Any, Any]) -> list[str]:
    cells = [row["method"], str(row["pairs"]), *(f"{row[f'found_{side}']} ({row[f'own_{side}']})" for side in ("ours", "alibi"))]
    for name in DISTANCES:
        cells += [f"{row[f'{name}_{key}']:.3g}" for key in ("ours", "alibi", "ratio")]
        cells.append(f"{row[f'{name}_not_greater']:.0%} (p = {row[f'{name}_p']:.1g})")
    return cells + [f"{row[f'{key}_{side}']:.3g}" for key in ("seconds", "iterations") for side in ("ours", "alibi")]


def _speed(row: dict[Any, Any]) -> list[str]:
    times = [f"{row[f'{side}_milliseconds']:.3g}" for side in ("ours", "white_box", "black_box")]
    return [row["method"], str(row["pairs_at_once"]), *times, f"{row['times_white_box']:.1f}", f"{row['times_black_box']:.0f}"]
