"""From a request, or from the configuration of one job, to a grid and its settings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from xaibench.claims.base import Claim
from xaibench.cli.request import GROUPS, Choice, Request
from xaibench.component import ConfigurationError, build
from xaibench.execution import PHASES, Phase
from xaibench.grid import Entry, Grid
from xaibench.labels import varying
from xaibench.pictures import Picture
from xaibench.stages import Runtime
from xaibench.store import Store
from xaibench.tracking.base import Tracker

PICTURE = "xaibench.pictures.Picture"
BUDGET = "xaibench.budget.Budget"
INFLUENCE = "xaibench.influence.analysis.Influence"
FIGURES = (
    "curves",
    "maps",
    "all_classes",
    "counterfactuals",
    "learning_curves",
    "confusion_matrix",
    "metric_quality",
    "operator_agreement",
    "ranking",
    "by_class",
    "comparison",
    "gallery",
)


@dataclass(frozen=True)
class Settings:
    """What a configuration says beside its grid."""

    study: str
    title: str
    figures: tuple[str, ...]
    claims: tuple[Claim, ...]
    pictures: dict[str, Picture]
    reference: dict[str, Any]
    tracker: Tracker
    runtime: Runtime
    results: Path
    store: Store
    until: Phase
    passes_per_job: int
    jobs: int | None
    retry: bool

    @property
    def folder(self) -> Path:
        """Where the study's tables and figures go."""
        return self.results / self.study


def composed(request: Request) -> tuple[Grid, Settings]:
    """The whole grid, each choice of each group composed once, and the settings.

    Raises
    ------
    ConfigurationError
        If any part of it cannot be: with the field, its value and what was expected.
    """
    _check_matches(request)
    packages = [line for group in GROUPS for line in request.lines(group, f"entries.{group}")]
    config = request.compose([*request.fixed(), *packages])
    parts = {group: _entries(request.choices[group], config, f"entries.{group}") for group in GROUPS}
    images = [{name.partition(".")[2]: yaml.safe_load(value) for name, value in chosen} for chosen in request.images()]
    fixed = _plain(config, "explain_on")
    grid = Grid(
        datasets=parts["dataset"],
        models=parts["model"],
        trainers=parts["trainer"],
        explain_on=tuple(Entry("explain_on", build(fixed | chosen, "explain_on")) for chosen in images),
        explainers=parts["explainer"],
        metrics=parts["metric"] if parts["explainer"] else (),
        seeds=_whole("seed", request, config),
        draws=_whole("draw", request, config),
        influences=_influences(config),
        budget=_budget(config),
    )
    for entries in (*parts.values(), grid.explain_on):
        varying(entries)  # raises where tables would take two for one
    if grid.budget is not None and len(grid.explain_on) > 1:
        raise ConfigurationError("explain_on: expected one choice of images where there is a budget, which shortens it, got several")
    return grid, settings(config)


def _check_matches(request: Request) -> None:
    """A sweep over the options of a group that match nothing is a mistake, and no empty grid."""
    for group in GROUPS:
        asked = [item for item in request.overrides if item.key_or_group == group and item.is_sweep_override()]
        if asked and not request.choices[group]:
            known = ", ".join(request.options(group))
            raise ConfigurationError(f"{asked[-1].input_line}: expected at least one match; there is {known}")


def of_job(config: DictConfig, choices: dict[str, str]) -> tuple[Grid, Settings]:
    """The part of the grid that one Hydra job computes, from its configuration and the names that it chose."""

    def chosen(group: str) -> tuple[Entry[Any], ...]:
        return (Entry(_label(choices[group]), build(_plain(config, group), group)),)

    def several(group: str, package: str) -> tuple[Entry[Any], ...]:
        specs = _plain(config, package) if package in config else {}
        labels = {name: _label(choices[f"{group}@{package}.{name}"]) for name in specs}
        return tuple(Entry(labels[name], build(spec, f"{package}.{name}")) for name, spec in specs.items())

    grid = Grid(
        datasets=chosen("dataset"),
        models=chosen("model"),
        trainers=chosen("trainer"),
        explain_on=(Entry("explain_on", build(_plain(config, "explain_on"), "explain_on")),),
        explainers=several("explainer", "explainers"),
        metrics=several("metric", "metrics"),
        seeds=(int(config["seed"]),),
        draws=(int(config["draw"]),),
        influences=_influences(config),
        budget=_budget(config),
    )
    return grid, settings(config)


def settings(config: DictConfig) -> Settings:
    """The settings of a composed configuration."""
    runtime, study, figures = _plain(config, "runtime"), str(config["study"]), _plain(config, "figures")
    if not isinstance(figures, list) or not set(figures) <= set(FIGURES):
        raise ConfigurationError(f"figures={figures}: expected a list of {', '.join(FIGURES)}")
    _check_runtime(runtime, config["retry"])
    results = Path(runtime["results"]).absolute()
    root = runtime["store"] or os.environ.get("XAIBENCH_STORE") or results / "store"
    return Settings(
        study=study,
        title=str(config.get("title") or study),
        figures=tuple(figures),
        claims=tuple(build(claim, f"claims[{number}]") for number, claim in enumerate(_plain(config, "claims"))),
        pictures={name: build({"_target_": PICTURE} | fields, f"pictures.{name}") for name, fields in _plain(config, "pictures").items()},
        reference=_plain(config, "reference"),
        tracker=build(_plain(config, "tracker"), "tracker"),
        runtime=Runtime(str(runtime["device"]), runtime["threads"]),
        results=results,
        store=Store(Path(root).absolute(), tuple(Path(folder).absolute() for folder in runtime["caches"])),
        until=runtime["until"],
        passes_per_job=runtime["passes_per_job"],
        jobs=runtime["jobs"],
        retry=config["retry"] is not None,
    )


def _check_runtime(runtime: dict[str, Any], retry: Any) -> None:
    for name, told in (("threads", ", or null"), ("jobs", ", or null"), ("passes_per_job", "")):
        value = runtime[name]
        if not (told and value is None) and (not isinstance(value, int) or value < 1):
            raise ConfigurationError(f"runtime.{name}={value!r}: expected an integer >= 1{told}")
    if runtime["until"] not in PHASES:
        raise ConfigurationError(f"runtime.until={runtime['until']!r}: expected one of {', '.join(PHASES)}")
    caches = runtime["caches"]
    absent = [folder for folder in caches if not Path(folder).is_dir()] if isinstance(caches, list) else [caches]
    if absent:
        raise ConfigurationError(f"runtime.caches={caches!r}: expected a list of folders that are there, such as [/data/store]")
    if retry not in (None, "failed"):
        raise ConfigurationError(f"retry={retry!r}: expected null or failed")


def _influences(config: DictConfig) -> tuple[Entry[Any], ...]:
    asked = _plain(config, "influences")
    return tuple(Entry(name, build({"_target_": INFLUENCE} | fields, f"influences.{name}")) for name, fields in asked.items())


def _budget(config: DictConfig) -> Any:
    asked = config["budget"]
    if not isinstance(asked, DictConfig | None):
        raise ConfigurationError(f"budget={asked!r}: expected null, or fields such as {{scoring: 100}}")
    return None if asked is None else build({"_target_": BUDGET} | _plain(config, "budget"), "budget")


def _entries(choices: list[Choice], config: DictConfig, package: str) -> tuple[Entry[Any], ...]:
    if not choices:
        return ()
    specs = _plain(config, package)
    return tuple(Entry(choice.label, build(specs[f"{choice.label}_{number}"], choice.group)) for number, choice in enumerate(choices))


def _label(choice: str) -> str:
    return choice.rpartition("/")[2]


def _whole(name: str, request: Request, config: DictConfig) -> tuple[int, ...]:
    given = request.swept(name)
    values = [yaml.safe_load(value) for value in given[-1][1]] if given else [config[name]]
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise ConfigurationError(f"{name}={','.join(map(str, values))}: expected integers >= 0")
    return tuple(values)


def _plain(config: DictConfig, path: str) -> Any:
    return OmegaConf.to_container(OmegaConf.select(config, path), resolve=True)
