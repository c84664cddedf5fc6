"""From a request, or from the configuration of one job, to a grid and its settings."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from xaibench.claims.base import Claim
from xaibench.cli.request import GROUPS, Choice, Request
from xaibench.component import ConfigurationError, build
from xaibench.grid import Entry, Grid
from xaibench.pictures import Picture
from xaibench.stages import Runtime
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
    store: Path

    @property
    def folder(self) -> Path:
        """Where the study's tables and figures go."""
        return self.results / self.study

    @property
    def failures(self) -> Path:
        """Where failures are recorded."""
        return self.results / "runs" / "failures"


def composed(request: Request) -> tuple[Grid, Settings]:
    """The whole grid, each choice of each group composed once, and the settings.

    Raises
    ------
    ConfigurationError
        If any part of it cannot be: with the field, its value and what was expected.
    """
    packages = [line for group in GROUPS for line in request.lines(group, f"entries.{group}")]
    config = request.compose([*request.fixed(), *packages])
    parts = {group: _entries(request.choices[group], config, f"entries.{group}") for group in GROUPS}
    axes = [[(name.partition(".")[2], yaml.safe_load(value)) for value in values] for name, values in request.swept("explain_on")]
    fixed = _plain(config, "explain_on")
    grid = Grid(
        datasets=parts["dataset"],
        models=parts["model"],
        trainers=parts["trainer"],
        explain_on=tuple(Entry("explain_on", build(fixed | dict(chosen), "explain_on")) for chosen in itertools.product(*axes)),
        explainers=parts["explainer"],
        metrics=parts["metric"] if parts["explainer"] else (),
        seeds=_whole("seed", request, config),
        draws=_whole("draw", request, config),
        influences=_influences(config),
        budget=_budget(config),
    )
    if grid.budget is not None and len(grid.explain_on) > 1:
        raise ConfigurationError("explain_on: expected one choice of images where there is a budget, which shortens it, got several")
    return grid, settings(config)


def of_job(config: DictConfig, choices: dict[str, str]) -> tuple[Grid, Settings]:
    """The part of the grid that one Hydra job computes, from its configuration and the names that it chose."""

    def chosen(group: str) -> tuple[Entry[Any], ...]:
        return (Entry(_label(choices[group]), build(_plain(config, group), group)),) if group in config else ()

    metrics = {name: build(spec, f"metrics.{name}") for name, spec in _plain(config, "metrics").items()} if "metrics" in config else {}
    explainers = chosen("explainer")
    grid = Grid(
        datasets=chosen("dataset"),
        models=chosen("model"),
        trainers=chosen("trainer"),
        explain_on=(Entry("explain_on", build(_plain(config, "explain_on"), "explain_on")),),
        explainers=explainers,
        metrics=tuple(Entry(_label(choices[f"metric@metrics.{name}"]), metric) for name, metric in metrics.items()) if explainers else (),
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
    threads = runtime["threads"]
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ConfigurationError(f"runtime.threads={threads!r}: expected an integer >= 1, or null")
    results = Path(runtime["results"]).absolute()
    store = runtime["store"] or os.environ.get("XAIBENCH_STORE") or results / "store"
    return Settings(
        study=study,
        title=str(config.get("title") or study),
        figures=tuple(figures),
        claims=tuple(build(claim, f"claims[{number}]") for number, claim in enumerate(_plain(config, "claims"))),
        pictures={name: build({"_target_": PICTURE} | fields, f"pictures.{name}") for name, fields in _plain(config, "pictures").items()},
        reference=_plain(config, "reference"),
        tracker=build(_plain(config, "tracker"), "tracker"),
        runtime=Runtime(str(runtime["device"]), threads),
        results=results,
        store=Path(store).absolute(),
    )


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
