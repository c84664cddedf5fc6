"""The configuration folder: where it is, and the components that are described in it."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

import yaml

from xaibench.component import ConfigurationError, build


def conf_folder() -> Path:
    """The configuration: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def importable(*folders: str | Path) -> None:
    """Let Python find components and networks in these folders too, after all other places."""
    sys.path += [place for place in dict.fromkeys(str(Path(folder).absolute()) for folder in folders) if place not in sys.path]


def named(group: str, name: str) -> Any:
    """The component of a group, such as ``explainer``, that a file of this name describes.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    folder = conf_folder() / group
    names = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    known = sorted(name for name in names if not name.startswith("suite/"))  # a suite is a list of names, for the command line
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise ConfigurationError(f"{group}={name}: expected one of {', '.join(known)}{hint}")
    return build(yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")), group)
