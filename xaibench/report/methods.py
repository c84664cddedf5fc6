"""What the explainers and metrics of a study are: one sentence, family and paper of each."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from xaibench.component import Component
from xaibench.report.study import Study
from xaibench.tables.longtable import Results

FILE = "methods.csv"
COLUMNS = ("kind", "name", "what", "paper", "settings")
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Method:
    """An explainer or metric.

    Attributes
    ----------
    name, family
        Its label in the study, and its family.
    arrow
        Of a metric: towards better scores.
    what, paper, settings
        One sentence, where it was published, and the fields that the study's configuration sets; empty where nothing is known.
    link
        Of the paper, where it is on arXiv.
    """

    name: str
    family: str
    arrow: str
    what: str
    paper: str
    settings: str

    @property
    def link(self) -> str:
        """The paper's page, or an empty text."""
        found = ARXIV.search(self.paper)
        return f"https://arxiv.org/abs/{found[1]}" if found else ""


def save(results: Results, path: Path) -> None:
    """Keep what the components of the study say of themselves."""
    grid = results.grid
    parts: dict[tuple[str, str], Component] = {("explainer", entry.name): entry.component for entry in grid.explainers}
    parts |= {("metric", entry.name): entry.component for entry in grid.metrics}
    rows = [(*key, *_said(type(component)), _settings(_changed(component))) for key, component in parts.items()]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(path, index=False)


def methods(study: Study) -> tuple[list[Method], list[Method]]:
    """Explainers and metrics, in the page's order."""
    table = study.csv(FILE.removesuffix(".csv"))
    kept = {(row["kind"], row["name"]): (row["what"], row["paper"], row["settings"]) for row in table.to_dict("records")}

    def said(kind: str, label: str) -> tuple[str, str, str]:
        name = label.partition("[")[0]
        return kept.get((kind, name)) or _configured(study.conf, kind, name)

    arrows = {True: "↑", False: "↓", None: ""}
    explainers = [Method(label, family, "", *said("explainer", label)) for label, family in study.explainers.items()]
    metrics = [Method(label, family, arrows[better], *said("metric", label)) for label, (family, better) in study.metrics.items()]
    return _once(explainers), _once(metrics)


def _once(found: list[Method]) -> list[Method]:
    """Configurations of one component as one method, under its name."""
    names: dict[str, Method] = {}
    for one in found:
        name = one.name.partition("[")[0]
        names.setdefault(name, replace(one, name=name))
    return list(names.values())


def _configured(conf: Path, kind: str, name: str) -> tuple[str, str, str]:
    """What the class says that a configuration file of this name names; nothing where there is none, or it needs what is not installed."""
    for file in _files(conf, kind, name):
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
        module, _, cls = spec.pop("_target_").rpartition(".")
        try:
            return *_said(getattr(importlib.import_module(module), cls)), _settings(spec)
        except ImportError:
            continue
    return "", "", ""


def _files(conf: Path, kind: str, name: str) -> Iterator[Path]:
    for folder in ("", "counterfactual", "variant"):
        file = conf / kind / folder / f"{name}.yaml"
        if file.is_file():
            yield file


def _changed(component: Component) -> dict[str, Any]:
    """The fields of a component that have another value than by default, or no default."""
    defaults = {one.name: one.default if one.default_factory is MISSING else one.default_factory() for one in fields(component)}
    return {name: getattr(component, name) for name, default in defaults.items() if getattr(component, name) != default}


def _settings(values: dict[str, Any]) -> str:
    """``steps=10, of=Gradient()``: nested components by their classes."""

    def text(value: Any) -> str:
        if isinstance(value, dict):
            inner = ", ".join(f"{name}={text(part)}" for name, part in value.items() if name != "_target_")
            return f"{str(value.get('_target_', '')).rpartition('.')[2]}({inner})"
        if isinstance(value, Component):
            return f"{type(value).__name__}({_settings(_changed(value))})"
        return str(value)

    return ", ".join(f"{name}={text(value)}" for name, value in values.items())


def _said(cls: type[Component]) -> tuple[str, str]:
    """The first sentence of a class's description, and its paper."""
    first = " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split()).replace("`", "")
    return first, str(getattr(cls, "paper", ""))
