"""What a study's folder holds of influence: its data from the store, and from these data alone its tables and figures."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
from numpy.typing import NDArray

from xaibench import markdown as md
from xaibench.disk import save_arrays
from xaibench.figures.influence import heat_maps
from xaibench.influence.reads import SCORES
from xaibench.stats.intervals import added_half_widths
from xaibench.tables.aggregate import save as save_table
from xaibench.tables.longtable import Results

FILE = "influence.safetensors"
UNITS = {"accuracy": "accuracy", "log_loss": "log loss, nats", "brier": "Brier score"}
NOTE = """What changes in the predictions for the whole test set when a pixel is saturated: the reweighted mean at the last tau less
that at the first, mean over the seeds. Intervals: 95 %, of the bootstrap over images and of the seeds, for this pixel: that it is the one
with the largest change is not allowed for. Pixels that cannot be saturated (constant, or their high target is not above their mean) are
left out and counted."""


def save(results: Results, path: Path) -> None:
    """The contrasts of each (data set, model, analysis) with intervals, over the seeds."""
    groups: dict[str, list[Any]] = {}
    about: dict[str, dict[str, Any]] = {}
    for names, training, artifact in results.influences():
        name = f"{names['dataset']}-{names['model']}-{names['influence']}"
        groups.setdefault(name, []).append(artifact.tensors)
        facts = {key: names[key] for key in ("dataset", "model", "influence")} | {"classes": list(training.dataset.classes)}
        about.setdefault(name, facts | {"seeds": []})["seeds"].append(names["seed"])
    tensors: dict[str, NDArray[Any]] = {}
    for name, members in groups.items():
        tensors |= {f"{name}/{key}": value for key, value in _combined(members).items()}
    if tensors:
        save_arrays(tensors, path, about)


def alone(tensors: Mapping[str, Any], name: str, classes: Sequence[str], folder: Path) -> Path:
    """The file of one analysis that belongs to no study, such as of a file of predictions."""
    facts = {"dataset": name, "model": "", "influence": "", "classes": list(classes), "seeds": [0]}
    arrays = {f"{name}/{key}": value for key, value in _combined([tensors]).items()}
    save_arrays(arrays, folder / FILE, {name: facts})
    return folder / FILE


def _combined(members: list[Any]) -> dict[str, NDArray[Any]]:
    """`value`, `low`, `high` (R, H, W) of classes and scores, and (H, W) each: what is known of the pixels, the same for all seeds."""

    def stacked(end: str) -> NDArray[Any]:
        parts = [np.concatenate([one[f"{what}_contrast{end}"].numpy() for what in ("probability", "performance")]) for one in members]
        return np.stack(parts)

    values, first = stacked(""), members[0]
    found = {"value": values.mean(axis=0)}
    if "probability_contrast_low" in first:
        half = added_half_widths(values, (stacked("_high") - stacked("_low")) / 2)
        found |= {"low": found["value"] - half, "high": found["value"] + half}
    found |= {"effective": first["effective"][-1].numpy(), "targets": first["targets"][-1].numpy()}
    flags = {"moved": first["moved"][-1], "lowered": first["moved"][0], "boundary": first["boundary"].any(0)}
    return {name: value.astype(np.float32) for name, value in found.items()} | {name: value.numpy() for name, value in flags.items()}


def draw(path: Path) -> None:
    """Tables and figures beside the data."""
    tables = []
    for name, facts, arrays, alone in read(path):
        suffix, classes = "" if alone else f"-{name}", facts["classes"]
        count = len(classes)
        tables.append(_table(facts, arrays))
        moved, values = arrays["moved"], arrays["value"]
        heat_maps(values[:count], moved, classes, "change of the mean probability of the class", path.parent / f"influence{suffix}.png")
        units = [UNITS[score] for score in SCORES]
        text = "change, each map on its own scale"
        heat_maps(values[count : count + len(SCORES)], moved, units, text, path.parent / f"performance{suffix}.png", common=False)
        recalls = path.parent / f"recall{suffix}.png"
        heat_maps(values[count + len(SCORES) :], moved, classes, "change of the recall of the class", recalls)
    table = pd.concat(tables, ignore_index=True)
    save_table(table, markdown(table), path.parent / "influence", "%.5g")


def read(path: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, NDArray[Any]], bool]]:
    """Name, facts and arrays of each analysis in a file, and whether it is the only one."""
    with safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["about"])
        for name, facts in about.items():
            arrays = {key.removeprefix(f"{name}/"): file.get_tensor(key) for key in file.keys() if key.startswith(f"{name}/")}  # noqa: SIM118
            yield name, facts, arrays, len(about) == 1


def _table(facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> pd.DataFrame:
    """One row for each class and score: the pixels that raise and that lower it most."""
    names = [*facts["classes"], *SCORES, *(f"recall of {name}" for name in facts["classes"])]
    moved = arrays["moved"]
    known = {key: facts[key] for key in ("dataset", "model", "influence")} | {"seeds": len(facts["seeds"]), "pixels": moved.size}
    known |= {"varying": int((moved | arrays["lowered"]).sum()), "saturable": int(moved.sum()), "boundary": int(arrays["boundary"].sum())}
    known["effective"] = float(np.median(arrays["effective"][moved])) if moved.any() else np.nan
    rows = []
    for place, name in enumerate(names):
        row: dict[str, Any] = known | {"of": name}
        shown = np.where(moved, arrays["value"][place], np.nan)
        for what, chosen in (("most", np.nanargmax), ("least", np.nanargmin)) if np.isfinite(shown).any() else ():
            at = np.unravel_index(int(chosen(shown)), shown.shape)
            row |= {f"{what}_row": int(at[0]), f"{what}_column": int(at[1]), what: float(shown[at])}
            row |= {f"{what}_{end}": float(arrays[end][place][at]) for end in ("low", "high") if end in arrays}
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The table, a part for each classifier."""
    lines = [NOTE, ""]
    for (dataset, model, influence), part in table.groupby(["dataset", "model", "influence"], sort=True):
        one = part.iloc[0]
        lines += [f"## {' / '.join(filter(None, map(str, (dataset, model, influence))))}", ""]
        lines += [
            f"{one['pixels']} pixels, {one['varying']} of them vary, {one['saturable']} can be saturated; {one['boundary']} have a target "
            f"at their smallest or largest value. Effective sample size at the last tau, median: {one['effective']:,.0f} images. "
            f"Seeds: {one['seeds']}.",
            "",
        ]
        rows = []
        for row in part.to_dict("records"):
            places = ((f"{row[f'{what}_row']:.0f}, {row[f'{what}_column']:.0f}", _with_ends(row, what)) for what in ("most", "least"))
            rows.append([row["of"], *itertools.chain(*places)])
        lines += [*md.table(["of", "raised most by (row, column)", "by", "lowered most by (row, column)", "by"], rows), ""]
    return "\n".join(lines)


def _with_ends(row: Mapping[Any, Any], what: str) -> str:
    text = f"{row[what]:+.3f}"
    return f"{text} ({row[f'{what}_low']:+.3f} to {row[f'{what}_high']:+.3f})" if f"{what}_low" in row else text
