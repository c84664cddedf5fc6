"""`xaibench list`: the components and studies that can be chosen, with what they are."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xaibench.cli.request import GROUPS, Request, study_content
from xaibench.component import Component, ConfigurationError, build
from xaibench.problem import Explainer, Family
from xaibench.scoring import Metric, Requires

PLURALS = {"datasets": "dataset", "models": "model", "trainers": "trainer", "explainers": "explainer", "metrics": "metric"}
VARIANTS = "variant/"
"""Begins the names of what differs from an option only in some fields: these are not listed."""

OWN = "own/"
"""Begins the names of what stands for a user's own data or network, and has fields without a default."""

HELP = "usage: xaibench list [datasets | models | trainers | explainers | metrics | experiments] [--config-dir FOLDER]"


def main(argv: list[str]) -> int:
    """Print one group, or all."""
    if any(word in ("-h", "--help") for word in argv):
        print(HELP)
        return 0
    words = [word for word in argv if not word.startswith("-") and (not argv.index(word) or argv[argv.index(word) - 1] != "--config-dir")]
    chosen = words or [*PLURALS, "experiments"]
    request = Request([word for word in argv if word not in words])
    console = Console(width=None if Console().is_terminal else 160)
    for word in chosen:
        if word == "experiments":
            console.print(_experiments(request))
        elif word in PLURALS:
            console.print(_group(request, PLURALS[word], word, narrow=console.width < 120))
        else:
            raise ConfigurationError(f"list {word}: expected one of {', '.join([*PLURALS, 'experiments'])}")
    return 0


def components(request: Request, group: str) -> dict[str, Component]:
    """All components of a group at their configured values, by name; those of counterfactuals as ``counterfactual/NAME``."""
    assert group in GROUPS
    names = [name for name in request.options(group) if not name.startswith((VARIANTS, OWN))]
    config = request.compose([f"+{group}@entries.e{number}={name}" for number, name in enumerate(names)])
    from omegaconf import OmegaConf

    specs: Any = OmegaConf.to_container(config["entries"], resolve=True)
    return {name: build(specs[f"e{number}"], group) for number, name in enumerate(names)}


def _group(request: Request, group: str, title: str, narrow: bool) -> Table:
    """What a group holds; in a narrow terminal what has columns of its own elsewhere stands in the last one."""
    found = components(request, group)
    table = Table(title=f"{len(found)} {title}", title_justify="left", expand=True)
    known = {"explainer": ("family", "claims"), "metric": ("family", "better", "needs", "version")}.get(group, ())
    extra = () if narrow else known
    for column in ("name", *extra, "what it is, its paper and fields"):
        table.add_column(
            column,
            overflow="fold",
            no_wrap=column == "name" and not narrow,
            ratio=1 if column.startswith("what") else None,
            max_width=24 if column in extra else None,
        )
    for name, component in sorted(found.items(), key=lambda item: (_family(item[1]), item[0])):
        fields = ", ".join(f"{field.name}={_short(getattr(component, field.name))}" for field in dataclasses.fields(component))
        facts = _facts(component)
        told = "; ".join(f"{head}: {fact}" for head, fact in zip(known, facts, strict=True) if fact) if narrow else ""
        small = "".join(f"\n{line}" for line in (told, getattr(component, "paper", ""), fields) if line)
        table.add_row(name, *(() if narrow else facts), Text(_first_sentence(component)).append(small, style="dim"))
    for name in (name for name in request.options(group) if name.startswith(OWN)):
        spec = request.compose([f"+{group}@own={name}"])["own"]
        cls = getattr(importlib.import_module(spec["_target_"].rpartition(".")[0]), spec["_target_"].rpartition(".")[2])
        fields = ", ".join(field.name for field in dataclasses.fields(cls))
        table.add_row(name, Text(_first_sentence(cls)).append(f"\n{fields}", style="dim"))
    return table


def _family(component: Component) -> int:
    return list(Family).index(component.family) if isinstance(component, Explainer | Metric) else 0


def _facts(component: Component) -> tuple[str, ...]:
    if isinstance(component, Explainer):
        return component.family.value, ", ".join(sorted(component.claims))
    if isinstance(component, Metric):
        better = {True: "higher", False: "lower", None: "neither"}[component.higher_is_better]
        needs = ", ".join(item.value for item in Requires if item in component.requires) or "map only"
        return component.family.value, better, needs, str(component.version)
    return ()


def _first_sentence(component: Component | type) -> str:
    text = (inspect.getdoc(component if isinstance(component, type) else type(component)) or "").strip()
    return " ".join(text.split("\n\n")[0].split())


def _short(value: Any) -> str:
    return type(value).__name__ if isinstance(value, Component) else str(value)


def _experiments(request: Request) -> Table:
    names = request.loader.get_group_options("experiment")
    table = Table(title=f"{len(names)} experiments: xaibench run experiment=NAME", title_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("title")
    for name in names:
        table.add_row(name, str(study_content(request.loader, name).get("title", "")))
    return table
