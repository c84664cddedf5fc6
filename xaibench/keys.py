"""Keys: the hash of everything that could change a result, and of nothing else."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    library's installed version. A module outside this package counts by its fingerprint, and so does what it imports of its own package
    or folder.
    """
    return dict(_code(tuple(dict.fromkeys(_modules(component)))))


def sources(modules: Iterable[str]) -> dict[str, str]:
    """The same for modules of foreign code; of what is installed, and not this package, its distribution's version alone."""
    found: dict[str, str] = {}
    for name in sorted({*modules}):
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top == "torch":
            continue
        if top != PACKAGE and _is_installed(_source(name)):
            found |= {library: _installed(library) for library in importlib.metadata.packages_distributions().get(top, [top])}
        else:
            _collect(name, _source(name), found)
    return dict(sorted(found.items()))


@lru_cache(maxsize=None)
def _code(modules: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in modules:
        _collect(name, _source(name), found)
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


def _collect(name: str, path: Path, found: dict[str, str]) -> None:
    if name in found:
        return
    version, library, imports = _facts(name, path)
    if version is not None and name.split(".")[0] == PACKAGE:
        found[name] = version
    else:
        found[name] = fingerprint(path)
        for imported, file in imports:
            _collect(imported, file, found)
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
    return _below(Path(__file__).parent.parent, name) if name.split(".")[0] == PACKAGE else None


def _below(root: Path, name: str) -> Path | None:
    """The file of a module whose package lies in a folder, or None if there is no such module."""
    place = root.joinpath(*name.split("."))
    return next((path for path in (place.parent / f"{place.name}.py", place / "__init__.py") if path.is_file()), None)


def _is_installed(path: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


@lru_cache(maxsize=None)
def _facts(name: str, path: Path) -> tuple[str | None, str | None, tuple[tuple[str, Path], ...]]:
    """A module's VERSION and LIBRARY, and what `_finder` finds of its imports (bar the contracts), with its files."""
    version = library = None
    imports: dict[str, Path] = {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.targets[0], ast.Name):
            version = str(node.value.value) if node.targets[0].id == "VERSION" else version
            library = str(node.value.value) if node.targets[0].id == "LIBRARY" else library
    find = _finder(name, path)
    for inner in _running(tree):
        if isinstance(inner, ast.ImportFrom):
            module = _absolute(inner, name, path)
            for candidates in ((f"{module}.{alias.name}", module) for alias in inner.names):  # an import of a module, or from one
                imports |= next(({each: file} for each in candidates if (file := find(each))), {})
        elif isinstance(inner, ast.Import):
            imports |= {alias.name: file for alias in inner.names if (file := find(alias.name))}
    imports.pop(f"{PACKAGE}.component", None)
    return version, library, tuple(sorted(imports.items()))


def _finder(name: str, path: Path) -> Callable[[str], Path | None]:
    """The files of modules of this package, and of the own package or, unless it is installed, the own folder of a module."""
    root, top = path.parents[name.count(".") + (path.name == "__init__.py")], name.split(".")[0]

    def find(other: str) -> Path | None:
        near = other.split(".")[0] == top or not _is_installed(path)
        return _inside(other) or (_below(root, other) if top != PACKAGE and near else None)

    return find


def _absolute(node: ast.ImportFrom, name: str, path: Path) -> str:
    """The full name of the module that is imported from."""
    parts = name.split(".")[: len(name.split(".")) - node.level + (path.name == "__init__.py")] if node.level else []
    return ".".join([*parts, *([node.module] if node.module else [])])


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below ``if TYPE_CHECKING``, which never run."""
    yield node
    skipped = node.body if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING") else []
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from _running(child)
