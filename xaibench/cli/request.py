"""Reading a command line: a study's grid is filled in, metrics are folded into each job, and names are checked."""

from __future__ import annotations

import argparse
import difflib
import itertools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.default_element import GroupDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xaibench.component import ConfigurationError
from xaibench.configuration import conf_folder, importable

GROUPS = ("dataset", "model", "trainer", "explainer", "metric")
AXES = (*GROUPS, "explain_on", "seed", "draw")
SUITES = "metric/suite"
FOLDERS = {
    "dataset": ("own", "large"),
    "model": ("own", "large"),
    "explainer": ("variant", "counterfactual"),
    "metric": ("variant", "counterfactual"),
}
"""Folders inside a group that no glob picks, chosen as ``FOLDER/NAME``: components that differ from an option in some fields; what
searches or scores counterfactuals; a user's own data and networks; and data and networks that take hours and gigabytes."""
DEFAULT_METRIC = "deletion"
QUOTES = "; a value with = in it needs quotes: model.weights='\"epoch=3.ckpt\"'"


def _processes(threads: int | None) -> int:
    """How many processes with so many threads each fit on this machine."""
    import joblib  # slow, and only needed by one launcher

    return max(1, joblib.cpu_count() // (threads or 1))


# conf/hydra/launcher/ refines the plug-ins' own presets of the same names, on purpose.
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")
OmegaConf.register_new_resolver("xaibench.processes", _processes, replace=True)


@dataclass(frozen=True)
class Choice:
    """An option of a group, and what is set in it: (dotted field, value as typed)."""

    group: str
    name: str
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return self.name.rpartition("/")[2]

    def chosen(self) -> list[str]:
        """Hydra overrides that make it the group's choice."""
        return [f"{self.group}={self.name}", *(f"++{self.group}.{field}={value}" for field, value in self.fields)]

    def lines(self, package: str) -> list[str]:
        """Hydra overrides that compose this choice into a package of its own."""
        return [f"+{self.group}@{package}={self.name}", *(f"++{package}.{field}={value}" for field, value in self.fields)]


class Request:
    """A command line of `run` or `plan`.

    Parameters
    ----------
    argv
        As typed, without the subcommand: Hydra's flags and overrides.

    Attributes
    ----------
    flags
        Hydra's flags.
    search_path, loader
        Where Hydra finds configuration, `--config-dir` included.
    given
        The user's overrides.
    overrides
        The study's grid, then the user's overrides; one of the user's replaces the study's of the same name.
    """

    def __init__(self, argv: list[str]) -> None:
        parser: argparse.ArgumentParser = get_args_parser()
        parser.prog = "xaibench"
        self.flags: argparse.Namespace = parser.parse_intermixed_args(argv)  # -m may stand among the overrides
        self.search_path = _search_path(self.flags.config_dir)
        self.loader = ConfigLoaderImpl(config_search_path=self.search_path)
        lines = [] if self.flags.shell_completion else self.flags.overrides  # query=bash is for the shell
        self.given = given = self._parsed([f"~{line[:-5]}" if line.endswith("=null") and line[:-5] in GROUPS else line for line in lines])
        taken = {item.key_or_group for item in given}
        self.overrides = [item for item in self._study_grid(given) if item.key_or_group not in taken] + given
        for item in self.overrides:
            _check("", _root(item), [*GROUPS, *self._top_level()], _text(item))
            if item.is_sweep_override() and _root(item) not in AXES:
                raise ConfigurationError(f"{_text(item)}: expected one value; a grid is swept over {', '.join(AXES)}")
            if _root(item) == "runtime" and _is_field(item):
                _check("", item.key_or_group, [f"runtime.{name}" for name in _own_config()["runtime"]], _text(item))

    @property
    def only_informs(self) -> bool:
        """Whether Hydra is asked to print something instead of running."""
        return any(getattr(self.flags, name) for name in ("help", "hydra_help", "cfg", "info", "shell_completion"))

    @cached_property
    def choices(self) -> dict[str, list[Choice]]:
        """For each group every combination of chosen options and field values."""
        return {group: self._choices(group) for group in GROUPS}

    def folded(self) -> list[str]:
        """The overrides for Hydra, with the metrics folded into one list."""
        lines = [text if item.is_delete() or not _is_field(item) else f"++{text.lstrip('+')}" for item, text in self._texts("metric")]
        return [*lines, *self.lines("metric", "metrics")]

    def lines(self, group: str, package: str, chosen: Iterable[int] | None = None) -> list[str]:
        """Overrides that compose all choices of a group, or those at some places, into numbered packages below `package`."""
        choices = self.choices[group]
        numbers = range(len(choices)) if chosen is None else chosen
        return [line for number in numbers for line in choices[number].lines(f"{package}.{choices[number].label}_{number}")]

    def fixed(self) -> list[str]:
        """All overrides that choose no component and are not swept."""
        swept = [group for group in GROUPS if group != "metric"]
        kept = [(item, text) for item, text in self._texts("metric", "seed", "draw", *swept) if not item.is_sweep_override()]
        return [text if item.is_delete() or not _is_field(item) else f"++{text.lstrip('+')}" for item, text in kept]

    def swept(self, root: str) -> list[tuple[str, list[str]]]:
        """(name, values) of the overrides below `root`."""
        return [(item.key_or_group, values(item)) for item in self.overrides if _root(item) == root]

    def images(self) -> list[tuple[tuple[str, str], ...]]:
        """The fields of `explain_on`, (name, value as typed), for each choice of images."""
        return list(itertools.product(*([(name, value) for value in given] for name, given in self.swept("explain_on"))))

    def axes(self) -> dict[str, list[str]]:
        """What the jobs differ in, by override: components, swept fields, seeds and draws; the metrics stay together in each job."""
        groups = {group: list(dict.fromkeys(choice.name for choice in self.choices[group])) for group in GROUPS if group != "metric"}
        always = {"dataset", "model", "explainer"}
        found = {group: names for group, names in groups.items() if len(names) > 1 or (names and group in always)}
        swept = [
            item for item in self.overrides if item.is_sweep_override() and _root(item) != "metric" and item.key_or_group not in GROUPS
        ]
        return found | {item.key_or_group: values(item) for item in swept}

    def unswept(self) -> list[str]:
        """The user's overrides that are no axis, as typed."""
        axes = self.axes()
        return [_text(item) for item in self.given if item.key_or_group not in axes]

    def options(self, group: str) -> list[str]:
        """What can be chosen in a group."""
        inner = [f"{folder}/{name}" for folder in FOLDERS.get(group, ()) for name in self.loader.get_group_options(f"{group}/{folder}")]
        return [*self.loader.get_group_options(group), *inner]

    def compose(self, lines: list[str]) -> DictConfig:
        """The composed configuration."""
        try:
            return self.loader.load_configuration("config", lines, run_mode=RunMode.RUN)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigurationError(_one_line(error)) from error

    def _parsed(self, lines: list[str]) -> list[Override]:
        try:
            return OverridesParser.create(config_loader=self.loader).parse_overrides(lines)
        except HydraException as error:
            raise ConfigurationError(_one_line(error) + (QUOTES if "mismatched input '='" in str(error) else "")) from error

    def _study_grid(self, given: list[Override]) -> list[Override]:
        names = [str(item.value()) for item in given if item.key_or_group == "experiment"]
        if not names or (name := names[-1]) == "null":
            return []
        _check("experiment", name, self.loader.get_group_options("experiment"))
        self._check_study(name, content := study_content(self.loader, name))
        grid = content.get("grid", {}).items()
        return self._parsed([f"~{key}" if value is None else f"{key}={_as_sweep(value)}" for key, value in grid])

    def _check_study(self, name: str, content: dict[str, Any]) -> None:
        """Refuse what a study's file says outside `grid` though it is of the grid, and what nothing reads."""
        found = self.loader.repository.load_config(config_path=f"experiment/{name}")
        defaults = (found and found.defaults_list) or ()
        chosen = [str(item.group).lstrip("/") for item in defaults if isinstance(item, GroupDefault)]
        for key in [*content, *chosen]:
            if key in GROUPS:
                told = f"experiment={name}: {key} stands outside grid"
                raise ConfigurationError(f"{told}; expected it inside, as in grid: {{{key}: NAME, {key}.FIELD: VALUE}}")
        for key in content:
            _check("experiment", key, [*self._top_level(), "grid"], f"experiment={name}: {key}")

    def _choices(self, group: str) -> list[Choice]:
        names, fields = self._default(group), []
        for item in self.overrides:
            if item.key_or_group == group:
                names = [] if item.is_delete() else values(item)
            elif _root(item) == group:
                fields.append([(item.key_or_group.partition(".")[2], value) for value in values(item)])
        suites = [f"suite/{suite}" for suite in self.loader.get_group_options(SUITES)] if group == "metric" else []
        for name in names:
            _check(group, name, [*self.options(group), *suites])
        names = [inner for name in names for inner in (self._suite(name) if name in suites else [name])]
        return [Choice(group, name, combination) for name in dict.fromkeys(names) for combination in itertools.product(*fields)]

    def _default(self, group: str) -> list[str]:
        defaults = _own_config()["defaults"]
        return [item[group] for item in defaults if isinstance(item, dict) and group in item] or [DEFAULT_METRIC]

    def _suite(self, name: str) -> list[str]:
        metrics = _load(self.loader, f"metric/{name}")["metrics"]
        found = self._parsed([f"metric={metrics}"]) if isinstance(metrics, str) else []
        return values(found[0]) if found else [str(metric) for metric in metrics]

    def _top_level(self) -> list[str]:
        return [*(name for name in _own_config() if name != "defaults"), "tracker", "experiment", "title"]

    def _texts(self, *without: str) -> list[tuple[Override, str]]:
        return [(item, _text(item)) for item in self.overrides if _root(item) not in without]


def _own_config() -> dict[str, Any]:
    return dict(yaml.safe_load((conf_folder() / "config.yaml").read_text()))


def study_content(loader: ConfigLoaderImpl, name: str) -> dict[str, Any]:
    """A study's YAML."""
    if not (found := _load(loader, f"experiment/{name}")):
        raise ConfigurationError(f"experiment={name}: expected a study with its grid, and the file is empty")
    return found


def values(item: Override) -> list[str]:
    """What an override sets, each value as Hydra writes it."""
    if item.is_sweep_override():
        return list(item.sweep_string_iterator())
    text = _text(item).partition("=")[2]
    return [part.strip() for part in text[1:-1].split(",")] if _root(item) in GROUPS and not _is_field(item) and text[:1] == "[" else [text]


def _search_path(config_dir: str | None) -> ConfigSearchPath:
    path: ConfigSearchPath = create_config_search_path(f"file://{conf_folder()}")
    if config_dir is not None:
        folder = Path(config_dir).absolute()
        if not folder.is_dir():
            raise ConfigurationError(f"--config-dir {config_dir}: expected a folder")
        importable(folder)
        path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    return path


def _load(loader: ConfigLoaderImpl, path: str) -> dict[str, Any]:
    found = loader.repository.load_config(config_path=path)
    assert found is not None
    content = OmegaConf.to_container(found.config)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _check(group: str, name: str, options: Iterable[str], shown: str = "") -> None:
    known = sorted(options)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise ConfigurationError(
            f"{shown or f'{group}={name}'}: expected {'' if group else 'a name that begins with '}one of {', '.join(known)}{hint}"
        )


def _root(item: Override) -> str:
    return str(item.key_or_group).split(".")[0].split("/")[0]


def _is_field(item: Override) -> bool:
    return "." in item.key_or_group and "/" not in item.key_or_group


def _text(item: Override) -> str:
    assert item.input_line is not None
    return item.input_line


def _as_sweep(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _one_line(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())
