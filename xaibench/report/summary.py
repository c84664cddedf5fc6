"""What a study found, in sentences that are made from its numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from xaibench.report.leaderboard import Leader
from xaibench.report.study import Study
from xaibench.stats import standings

FEW = 3
"""Explainers that are named as the first, or the last, of many."""

Section = dict[str, list[str]]


def summary(study: Study, found: list[Leader], general: list[str]) -> Section:
    """Sentences: what was compared, what leads, how good the classifiers are, and what to be careful about.

    Parameters
    ----------
    study
        The study's tables.
    found
        Who leads each metric.
    general
        Notes that hold for all scores of a classifier.
    """
    leading = [text for title in study.titles for text in _leading([one for one in found if one.title == title])]
    parts = {
        "What was compared": _compared(study),
        "Which explainers lead": _ahead(study.csv(standings.STEM)) + leading,
        "How stable the order is": _stability(study.csv("stability")),
        "The classifiers": _accuracies(study.csv("classifiers")),
        "What to be careful about": _warnings(study, found, general),
    }
    return {name: texts for name, texts in parts.items() if texts}


def count(number: int, name: str, plural: str = "") -> str:
    """``1 image``, ``2 images``."""
    return f"{number:,} {name if number == 1 else plural or name + 's'}"


def listed(names: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _compared(study: Study) -> list[str]:
    texts = []
    if study.explainers:
        controls = sum(family == "control" for family in study.explainers.values())
        told = f"{count(len(study.explainers), 'explainer')}" + (
            f" ({count(controls, 'control')} that ignore{'s' * (controls == 1)} the classifier among them)" if controls else ""
        )
        families = Counter(family for family, _ in study.metrics.values())
        kinds = listed([f"{number} {family}" if len(families) > 1 else f"all {family}" for family, number in sorted(families.items())])
        texts.append(f"{told}, scored by {count(len(study.metrics), 'metric')} ({kinds}), on {count(len(study.titles), 'classifier')}.")
    images = [f"{count(number, 'image')} of {dataset}" for dataset, number in sorted(study.images.items())]
    seeds = study.provenance.get("seeds", [])
    draws = study.provenance.get("draws", [])
    influence = study.csv("influence")
    if not influence.empty:
        pixels = influence.groupby("dataset", sort=True)["pixels"].max()
        texts.append(f"Influence on all test images: {listed([f'{number:,} pixels of {dataset}' for dataset, number in pixels.items()])}.")
    if images:
        texts.append(f"Explained: {listed(images)}.")
    if seeds:
        trained = f"Each classifier was trained with {count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
        texts.append(f"{trained}; explainers and metrics drew {count(len(draws), 'time')}." if len(draws) > 1 else f"{trained}.")
    return texts


def _leading(found: list[Leader]) -> list[str]:
    """For one classifier: who leads most often, and how often the leader beats the best control."""
    if not found:
        return []
    wins = Counter(name for one in found for name in (one.explainer, *one.tied))
    most = max(wins.values())
    first = sorted(name for name, number in wins.items() if number == most)
    where = " / ".join(found[0].title)
    if most == 1 and len(first) > 1:
        texts = [f"On {where} no explainer leads more than one of {count(len(found), 'metric')}."]
    else:
        verb = "leads" if len(first) == 1 else "lead"
        each = " each" if len(first) > 1 else ""
        texts = [f"On {where} {listed(first)} {verb} {most} of {count(len(found), 'metric')}{each}."]
    if tied := sum(bool(one.tied) for one in found):
        texts.append(f"{count(tied, 'metric has', 'metrics have')} several leaders with the same mean, each counted.")
    judged = {verdict: [one.metric for one in found if one.verdict == verdict] for verdict in ("yes", "no", "undecided")}
    if total := sum(map(len, judged.values())):
        texts.append(f"In {len(judged['yes'])} of {total} the leader is significantly better than the best control, image by image.")
        texts += [f"The best control is significantly better in {_few(judged['no'])}."] if judged["no"] else []
        texts += [f"It is undecided in {_few(judged['undecided'])}."] if judged["undecided"] else []
    return [" ".join(texts)]


def _ahead(found: pd.DataFrame) -> list[str]:
    """Who is most often better than the best control in the first family of metrics, and who least."""
    if found.empty:
        return []
    names, family, hardest = standings.ordered(found), standings.families(found)[0], standings.hardest(found)
    known = hardest.groupby("explainer")[["better", "compared"]].sum()
    told = [f"{name} ({known['better'][name]} of {known['compared'][name]})" for name in names if name in known.index]
    if len(told) < 2 * FEW:
        return []
    models = sorted(hardest["model"].unique())
    where = f", on {listed(models)}," if len(models) < found["model"].nunique() else ""
    if known["better"].max() == 0:
        return [f"In {family}{where} no explainer is significantly better than the best control by any metric."]
    if known["better"].nunique() == 1:
        return []
    text = f"By {family}{where} most often significantly better than the best control, in pairs of a metric and a classifier:"
    share = known["better"] / known["compared"].clip(lower=1)
    last = [name for name in names if name in known.index and share[name] == share.min()]
    alike = f"{len(last)} of {len(told)} explainers alike ({known['better'][last[-1]]} of {known['compared'][last[-1]]})"
    return [f"{text} {listed(told[:FEW])}; least often: {listed(told[-FEW:]) if len(last) <= FEW else alike}."]


def _stability(found: pd.DataFrame) -> list[str]:
    """How many explainers change rank with other images, and with another seed."""
    texts = []
    for against, part in found.groupby("against", sort=True) if len(found) else ():
        moved, by, tau, first = part[["moved", "by", "tau", "same_first"]].mean()
        by_what = "By the other half of the images" if "half" in str(against) else "By another seed"
        text = f"{by_what} {moved:.0%} of the explainers have another rank, {by:.1f} away in the mean (Kendall's tau {tau:.2f})"
        texts.append(f"{text}; the first stays in {first:.0%} (mean over {count(len(part), 'pair')} of a metric and a classifier).")
    return texts


def _few(names: list[str], most: int = 4) -> str:
    """Names if they are few, else how many."""
    return listed(names) if len(names) <= most else str(len(names))


def _accuracies(table: pd.DataFrame) -> list[str]:
    texts = []
    for row in table.to_dict("records"):
        spans = f"{100 * row['low']:.2f} to {100 * row['high']:.2f}" if np.isfinite([row["low"], row["high"]]).all() else "no interval"
        text = f"{row['model']} has {100 * row['accuracy']:.2f} % test accuracy on {row['dataset']} (95 % interval {spans}; "
        text += f"{count(int(row['seeds']), 'seed')}, {count(int(row['images']), 'test image')})"
        published = row.get("reference", np.nan)
        texts.append(text + ("." if pd.isna(published) else f"; published: {100 * published:.2f} %, reached: {row['reached']}."))
    return texts


def _warnings(study: Study, found: list[Leader], general: list[str]) -> list[str]:
    texts = [f"{text[0].upper()}{text[1:]}." for text in general]
    table = study.table
    if not table.empty:
        undefined = table[table["undefined"] > 0]
        if len(undefined):
            names = sorted(set(undefined["metric"]))
            rest = f"{len(undefined):,} of {count(len(table), 'score')} rest{'s' * (len(undefined) == 1)} on fewer images than others"
            texts.append(f"{rest}, as some have no defined value ({'metrics: ' * (len(names) > 4)}{_few(names)}).")
        lost = int(table["mean"].isna().sum())
        if lost:
            texts.append(f"{count(lost, 'score is', 'scores are')} undefined for every image, and shown as –.")
        if not any(family == "control" for family in study.explainers.values()):
            texts.append("There is no control in this study: no score says how much of it an explainer gets without the classifier.")
    if found and len(found) > 1:
        texts.append("Many metrics and explainers are compared: a leader is the best of many, and its lead is therefore optimistic.")
    return texts + _changed(study.provenance)


def _changed(provenance: dict[str, Any]) -> list[str]:
    dirty = [text for text in provenance.get("computed_by_commits", []) if text.endswith("+") or text == "None"]
    if not dirty:
        return []
    return [f"Part of the results was computed by code that no commit holds ({_few(dirty)}; + means changed since)."]
