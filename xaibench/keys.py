"""Keys: the hash of everything that could change a result, and of nothing else."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from xaibench.component import Component, describe

PACKAGE = "xaibench"


def digest(content: Any) -> str:
    """sha256 of the canonical JSON of `content`."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def spec(stage: str, component: Any, parents: dict[str, str], **more: Any) -> dict[str, Any]:
    """The readable content of a key: stage, component with all fields, its code, parents' keys, and seed or draw."""
    return {"stage": stage, "component": describe(component), "code": code(component), "parents": parents, **more}


def code(component: Any) -> dict[str, str]:
    """What stands for the code that computes a component's result.

    For the module of its class, of the components in its fields, and of what these import from this package: the module's ``VERSION``
    where it has one (a shared module), else its fingerprint and what it imports in turn. A module that has ``LIBRARY`` adds that
    library's installed version.
    """
    return dict(_code(tuple(dict.fromkeys(_modules(component)))))


@lru_cache(maxsize=None)
def _code(modules: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in modules:
        _collect(name, found)
    return dict(sorted(found.items()))


@lru_cache(maxsize=None)
def fingerprint(path: Path) -> str:
    """sha256 of a module's syntax tree without docstrings: comments, layout and documentation do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_docstring(statement)] or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _modules(value: Any) -> Iterator[str]:
    """The modules of components, and of the components in their fields."""
    if isinstance(value, Component):
        yield from _of_component(value)
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _modules(item)


@lru_cache(maxsize=10_000)
def _of_component(component: Component) -> tuple[str, ...]:
    fields = [getattr(component, field.name) for field in dataclasses.fields(component)]
    return (type(component).__module__, *_modules(fields))


def _collect(name: str, found: dict[str, str]) -> None:
    if name in found:
        return
    path = _source(name)
    version, library, imports = _facts(path)
    if version is not None:
        found[name] = version
    else:
        found[name] = fingerprint(path)
        for imported in imports:
            _collect(imported, found)
    if library is not None:
        found[library] = _installed(library)


@lru_cache(maxsize=None)
def _installed(library: str) -> str:
    """The version of a library, or that it is absent: then its component says so when a grid is planned."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _source(name: str) -> Path:
    """A module's source file; for one of this package without importing it."""
    path = _inside(name)
    if path is None and name in sys.modules:
        origin = getattr(sys.modules[name], "__file__", None)
        path = Path(origin) if origin else None
    if path is None:
        raise ValueError(f"module {name!r}: expected a source file, which its results' keys depend on")
    return path


def _inside(name: str) -> Path | None:
    """The file of a module of this package, or None if there is no such module."""
    first, *rest = name.split(".")
    if first != PACKAGE:
        return None
    place = Path(__file__).parent.joinpath(*rest)
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@lru_cache(maxsize=None)
def _facts(path: Path) -> tuple[str | None, str | None, tuple[str, ...]]:
    """A module's VERSION and LIBRARY, and the modules of this package (bar the contracts) that it imports."""
    version = library = None
    imports: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.targets[0], ast.Name):
            version = str(node.value.value) if node.targets[0].id == "VERSION" else version
            library = str(node.value.value) if node.targets[0].id == "LIBRARY" else library
    for inner in _running(tree):
        if isinstance(inner, ast.ImportFrom) and inner.module and inner.module.split(".")[0] == PACKAGE:
            imports |= {_module(inner.module, alias.name) for alias in inner.names}
        elif isinstance(inner, ast.Import):
            imports |= {alias.name for alias in inner.names if alias.name.split(".")[0] == PACKAGE}
    return version, library, tuple(sorted(imports - {f"{PACKAGE}.component"}))


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below ``if TYPE_CHECKING``, which never run."""
    yield node
    skipped = node.body if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING") else []
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from _running(child)


def _module(module: str, name: str) -> str:
    """`from module import name` imports the module `module.name` if there is one, else `module`."""
    return f"{module}.{name}" if _inside(f"{module}.{name}") else module
