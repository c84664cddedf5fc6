"""A study's folder: its data from the store, and from these data alone its tables and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xaibench import classifiers, influence_agreement, influence_maps, influence_pixels, pictures, skipped
from xaibench import markdown as md
from xaibench.claims.base import COLUMNS, Claim
from xaibench.claims.page import to_markdown
from xaibench.environment import environment
from xaibench.explaining import FLAGS, PAIR_FLAGS
from xaibench.figures import classifier, curves
from xaibench.figures.quality import quality
from xaibench.figures.ranking import ranking
from xaibench.pictures import Picture, file_name
from xaibench.planning import plan
from xaibench.report import gallery, methods
from xaibench.stats import by_class, files, metric_quality, operator_agreement, standings
from xaibench.studies import costs
from xaibench.tables.aggregate import NEEDED, aggregated, by_image, save, write
from xaibench.tables.layout import Extras
from xaibench.tables.longtable import Results

SCORES, CURVES, MAPS, HISTORY, CONFUSION = "scores.parquet", "curves.parquet", "maps.safetensors", "history.csv", "confusion.csv"
INFLUENCE, PIXELS, AGREEMENT = influence_maps.FILE, influence_pixels.FILE, influence_agreement.FILE
PROVENANCE, QUALITY = "provenance.json", "explanations.csv"
STANDARD = ("maps", "all_classes", "counterfactuals")
CLASSIFIERS, CLAIMS = "classifiers.csv", "claims.csv"


def publish(
    results: Results,
    folder: Path,
    figures: tuple[str, ...],
    reference: dict[str, Any],
    claims: tuple[Claim, ...] = (),
    further: Mapping[str, Picture] | None = None,
) -> pd.DataFrame:
    """Write a study's data, then its tables and figures; what an earlier run wrote there and this one does not is removed.

    Parameters
    ----------
    results
        What the store holds of the study's grid.
    folder
        ``results/<study>``.
    figures
        Any of ``curves``, ``maps``, ``all_classes``, ``counterfactuals``, ``learning_curves``, ``confusion_matrix``, ``metric_quality``,
        ``operator_agreement``, ``ranking``, ``by_class``, ``comparison``,
        ``gallery`` (maps of the first images, for the report).
    reference
        Published accuracies, by model and dataset, to stand beside ours.
    claims
        What is to be checked.
    further
        Further figures of explanations, by file name.

    Returns
    -------
    DataFrame
        The checked claims.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in _noted(folder).get("files", []):
        (folder / name).unlink(missing_ok=True)
    before = _times(folder)
    scores = results.scores()
    if len(scores):
        _to_parquet(scores, folder / SCORES)
        results.costs().to_csv(folder / "cost.csv", index=False, float_format="%.4g")
        results.quality().to_csv(folder / QUALITY, index=False, float_format="%.4g")
        results.curves().to_parquet(folder / CURVES, index=False)
        skipped.skipped(plan(results.grid, results.store)).to_csv(folder / skipped.FILE, index=False)
        methods.save(results, folder / methods.FILE)
    if "gallery" in figures:
        gallery.save(results, folder / gallery.FILE)
    chosen = {name: Picture(name) for name in STANDARD if name in figures} | dict(further or {})  # type: ignore[arg-type]
    if chosen:
        pictures.save(results, chosen, folder / MAPS)
    if results.grid.influences:
        influence_maps.save(results, folder / INFLUENCE)
        influence_pixels.save(results, folder / INFLUENCE, folder / PIXELS)
        influence_agreement.save(results, folder / AGREEMENT)
    accuracy = classifiers.accuracy(results, reference)
    if len(accuracy):
        accuracy.to_csv(folder / CLASSIFIERS, index=False, float_format="%.6g")
    if {"learning_curves", "confusion_matrix"} & set(figures):
        classifiers.history(results).to_csv(folder / HISTORY, index=False, float_format="%.6g")
        classifiers.confusion(results).to_csv(folder / CONFUSION, index=False)
        classifiers.reports(results).to_csv(folder / "report.csv", index=False, float_format="%.6g")
    found = [claim(results) for claim in claims]
    checked = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))
    if claims:
        checked.to_csv(folder / CLAIMS, index=False, float_format="%.6g")
    draw(folder, (*figures, "pictures"))
    written = sorted(name for name, time in _times(folder).items() if before.get(name) != time)
    (folder / PROVENANCE).write_text(json.dumps(_provenance(results) | {"figures": list(figures), "files": written}, indent=1))
    return checked


def draw(folder: Path, figures: tuple[str, ...]) -> pd.DataFrame | None:
    """Write tables and figures from a study's data: no store, no training, no data set; the scores' table, if there are any.

    The study's own pictures are drawn with ``pictures``, ``maps`` or ``all_classes`` among the figures.
    """
    table = None
    if (folder / SCORES).exists():
        table = _scores(pd.read_parquet(folder / SCORES, columns=[*NEEDED, "label", "predicted"]), folder, figures)
    if (folder / QUALITY).exists():
        (folder / "explanations.md").write_text(_quality(pd.read_csv(folder / QUALITY)), encoding="utf-8")
    if (folder / CLASSIFIERS).exists():
        (folder / "classifiers.md").write_text(classifiers.markdown(pd.read_csv(folder / CLASSIFIERS)), encoding="utf-8")
    if (folder / CLAIMS).exists():
        (folder / "claims.md").write_text(to_markdown(load_claims(folder)), encoding="utf-8")
    if "metric_quality" in figures and (folder / SCORES).exists():
        _metric_quality(folder)
    if "operator_agreement" in figures and (folder / SCORES).exists():
        _operator_agreement(folder)
    if "curves" in figures and (folder / CURVES).exists():
        found = pd.read_parquet(folder / CURVES)
        for name, part in curves.files(found):
            curves.curves(part, folder / f"curves-{file_name(name)}.png")
    if (folder / INFLUENCE).exists():
        influence_maps.draw(folder / INFLUENCE)
    if (folder / PIXELS).exists():
        influence_pixels.draw(folder / PIXELS)
    if (folder / AGREEMENT).exists():
        influence_agreement.draw(folder / AGREEMENT)
    if {"pictures", *STANDARD} & set(figures) and (folder / MAPS).exists():
        pictures.draw(folder / MAPS, without=set(STANDARD) - set(figures))
    if "learning_curves" in figures and (folder / HISTORY).exists():
        for name, part in _by_classifier(pd.read_csv(folder / HISTORY)):  # none where all weights were given
            classifier.learning_curves(part, folder / f"learning_curves{name}.png")
    if "confusion_matrix" in figures and (folder / CONFUSION).exists():
        for name, part in _by_classifier(pd.read_csv(folder / CONFUSION, dtype={"label": str, "predicted": str}, keep_default_na=False)):
            counts = part.groupby(["label", "predicted"], sort=False)["count"].sum().unstack(sort=False)
            names = list(dict.fromkeys(part["label"]))
            classifier.confusion_matrix(counts.loc[names, names].to_numpy(), names, folder / f"confusion_matrix{name}.png")
    return table


def drawn(folder: Path, known: tuple[str, ...]) -> tuple[str, ...]:
    """The figures that a study's folder was written with; where that was not noted, those that are there."""
    there = {path.stem for path in folder.iterdir() if path.suffix in (".png", ".md")}
    noted = _noted(folder).get("figures", [name for name in known if any(stem.startswith(name) for stem in there)])
    return (*noted, "pictures")


def _noted(folder: Path) -> dict[str, Any]:
    """What the folder's provenance says, if it has one."""
    path = folder / PROVENANCE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _times(folder: Path) -> dict[str, int]:
    """When each file but the provenance was changed."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file() and path.name != PROVENANCE}


def load_claims(folder: Path) -> pd.DataFrame:
    """The checked claims of a study's folder."""
    texts = dict.fromkeys(("topic", "dataset", "model", "explainer", "claim", "expected", "holds", "note"), str)
    found = pd.read_csv(folder / CLAIMS, dtype=texts, keep_default_na=False, na_values={name: [""] for name in ("value", "low", "high")})
    return found.assign(holds=pd.Series([{"True": True, "False": False}.get(text) for text in found["holds"]], dtype=object))


def _to_parquet(scores: pd.DataFrame, path: Path) -> None:
    """The long table in few bytes: names as dictionaries, and values byte by byte, as their exponents are alike."""
    names = [name for name in map(str, scores) if name != "value"]
    table, encoding = pa.Table.from_pandas(scores, preserve_index=False), {"value": "BYTE_STREAM_SPLIT"}
    pq.write_table(table, path, compression="zstd", compression_level=9, use_dictionary=names, column_encoding=encoding)


def _scores(scores: pd.DataFrame, folder: Path, figures: tuple[str, ...]) -> pd.DataFrame:
    """The table of the scores, and what else is asked for of them."""
    parts = by_image(scores)
    if "comparison" in figures:
        files.write(scores, parts, folder)
    table, compared = aggregated(parts), files.read(folder)
    write(table, folder, extras=Extras(compared))
    standing = standings.standings(table, compared, costs(folder, scores)) if "comparison" in figures else pd.DataFrame()
    if len(standing):
        save(standing, standings.markdown(standing), folder / standings.STEM)
    if "ranking" in figures:
        for metric, part in table[table["score"] == "value"].groupby("metric", sort=True):
            ranking(part, folder / f"ranking-{file_name(str(metric))}.png")
    if "by_class" in figures:
        found = by_class.by_class(scores)
        save(found, by_class.markdown(found), folder / "by_class")
    return table


def _metric_quality(folder: Path) -> None:
    """What the metrics make of degraded explanations, where there are any."""
    scores = pd.read_parquet(folder / SCORES)
    if "explainer.kind" not in scores:
        return
    table = metric_quality.metric_quality(scores)
    save(table, metric_quality.markdown(table), folder / "metric_quality")
    quality(table, folder / "metric_quality.png")


def _operator_agreement(folder: Path) -> None:
    """Whether metrics agree with themselves under other removal operators, where there are several."""
    scores = pd.read_parquet(folder / SCORES)
    table = operator_agreement.operator_agreement(scores) if operator_agreement.OPERATOR in scores else pd.DataFrame()
    if len(table):
        save(table, operator_agreement.markdown(table), folder / "operator_agreement")


def _by_classifier(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Parts of one (dataset, model), with a suffix for file names where there are several."""
    groups = list(frame.groupby(["dataset", "model"], sort=True))
    return [("" if len(groups) == 1 else f"-{dataset}-{model}", part) for (dataset, model), part in groups]


def _quality(table: pd.DataFrame) -> str:
    """Markdown: for each explainer, over seeds and draws, how many maps say nothing and how far sums are from what they should be."""
    flags = [name for name in FLAGS if name in table]
    heads = ["dataset", "model", "explainer", "maps or pairs", *flags, "completeness error, mean", "largest"]
    kinds = ["maps that are constant, all zero or not finite"] if FLAGS[1] in flags else []
    kinds += [f"pairs (image, class) {' or '.join(PAIR_FLAGS)}"] if PAIR_FLAGS[0] in flags else []
    lines = [f"Counted: {'; '.join(kinds)}. Errors: |sum of the map - what it claims to sum to| in output units.", ""]
    rows = []
    for (dataset, model, explainer), part in table.groupby(["dataset", "model", "explainer"], sort=True):
        counts = ["" if part[name].isna().all() else int(part[name].sum()) for name in ("maps", *flags)]
        errors = [part["completeness_error"].mean(), part["largest_completeness_error"].max()]
        texts = ["" if np.isnan(error) else f"{error:.1e}" for error in errors]
        rows.append([dataset, model, explainer, *counts, *texts])
    return "\n".join([*lines, *md.table(heads, rows, "lllr"), ""])


def _provenance(results: Results) -> dict[str, Any]:
    """What the numbers come from: the code that wrote this folder, the commits and machines that computed its cells, and the seeds."""
    import torch

    spent = [artifact.provenance for _, artifact in results.found] or [trained.provenance for _, _, trained, _ in results.classifiers()]
    return {
        "written_by": environment(torch.device("cpu")),
        "computed_by_commits": sorted({str(item.get("commit")) for item in spent}),
        "computed_on": sorted({str(item.get("hardware")) for item in spent}),
        "computed_with_threads": sorted({int(item.get("threads", 0)) for item in spent}),
        "seeds": list(results.grid.seeds),
        "draws": list(results.grid.draws),
        "cells": len(results.found),
    }
