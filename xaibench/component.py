"""Components: frozen dataclasses whose fields are the whole configuration.

Datasets, models, trainers, explainers, metrics and removal operators are components. A component checks each field against
its annotation when it is made, so that a wrong value is reported before anything is computed.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import math
import types
import typing
from abc import ABC
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Union

import annotated_types

PositiveInt = Annotated[int, annotated_types.Ge(1)]
NonNegativeInt = Annotated[int, annotated_types.Ge(0)]
PositiveFloat = Annotated[float, annotated_types.Gt(0)]
NonNegativeFloat = Annotated[float, annotated_types.Ge(0)]
Fraction = Annotated[float, annotated_types.Ge(0), annotated_types.Le(1)]


class UserError(Exception):
    """Something that the user can mend: shown as one line, without a traceback."""


class ConfigurationError(UserError, ValueError):
    """A field has a value that it cannot have; the message names field, value and expectation."""


@dataclasses.dataclass(frozen=True)
class Component(ABC):  # noqa: B024 - its kinds (Explainer, Metric, ...) have the abstract methods
    """A frozen dataclass that checks its fields against their annotations.

    Supported annotations: ``int``, ``float`` (an ``int`` is converted), ``bool``, ``str``, ``Literal``, ``tuple[T, ...]`` (a list is
    converted), ``X | None``, other components, and ``Annotated`` with bounds of `annotated_types`.

    Raises
    ------
    ConfigurationError
        If a value does not fit; the message names field, value and expectation.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            value = getattr(self, name)
            converted, problem = _fit(value, hint)
            if problem:
                raise ConfigurationError(f"{type(self).__name__}.{name}={value!r}: expected {problem}")
            object.__setattr__(self, name, converted)


def build(spec: Mapping[str, Any], where: str = "") -> Any:
    """Make the component that a mapping with ``_target_`` describes.

    Parameters
    ----------
    spec
        ``_target_`` (the class's import path) and field values; a value may itself be such a mapping.
    where
        The name used in error messages, such as ``explainer``.

    Raises
    ------
    ConfigurationError
        If the class cannot be imported, a field does not exist, or a value does not fit its field.
    """
    target = spec.get("_target_")
    if not isinstance(target, str):
        raise ConfigurationError(f"{where or 'component'}._target_={target!r}: expected the import path of a component class")
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{where}._target_={target!r}: expected an importable component class ({error})") from error
    if not (isinstance(cls, type) and issubclass(cls, Component)):
        raise ConfigurationError(f"{where}._target_={target!r}: expected a subclass of xaibench.component.Component")
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    values: dict[str, Any] = {}
    for key, value in spec.items():
        if key == "_target_":
            continue
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise ConfigurationError(f"{where}.{key}={value!r}: expected a field of {name} ({', '.join(known) or 'it has none'}){hint}")
        values[key] = _built(value, f"{where}.{key}")
    if inspect.isabstract(cls):
        raise ConfigurationError(f"{where}._target_={target!r}: expected a component class that is not abstract")
    absent = [field.name for field in dataclasses.fields(cls) if field.name not in values and _required(field)]
    if absent:
        raise ConfigurationError(f"{where}.{absent[0]}: expected a value; {name} has no default for it")
    return cls(**values)


def _built(value: Any, where: str) -> Any:
    if isinstance(value, Mapping) and "_target_" in value:
        return build(value, where)
    return [_built(item, where) for item in value] if isinstance(value, list | tuple) else value


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def describe(component: Any) -> Any:
    """The plain, JSON-ready content of a component: its class's import path and all field values, defaults included.

    Fields with the metadata ``runtime`` (where something runs) are left out: no result depends on them.
    """
    if isinstance(component, Component):
        return dict(_described(component))
    if isinstance(component, Mapping):
        return {str(key): describe(value) for key, value in component.items()}
    if isinstance(component, list | tuple):
        return [describe(value) for value in component]
    if component is None or isinstance(component, bool | int | float | str):
        return component
    raise TypeError(f"{component!r}: expected a component, number, string, list or mapping")


@lru_cache(maxsize=10_000)
def _described(component: Component) -> dict[str, Any]:
    cls = type(component)
    names = [field.name for field in dataclasses.fields(component) if not field.metadata.get("runtime")]
    return {"class": f"{cls.__module__}.{cls.__qualname__}", **{name: describe(getattr(component, name)) for name in names}}


@lru_cache(maxsize=None)
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _fit(value: Any, hint: Any) -> tuple[Any, str]:
    """The value converted to what `hint` asks for, and, if that fails, what was expected."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        converted, problem = _fit(value, arguments[0])
        bounds = [bound for bound in arguments[1:] if isinstance(bound, annotated_types.BaseMetadata)]
        if problem or not all(_within(converted, bound) for bound in bounds):
            return value, " and ".join([_name(arguments[0]), *map(_bound, bounds)])
        return converted, ""
    if origin in (Union, types.UnionType):
        for option in arguments:
            converted, problem = _fit(value, option)
            if not problem:
                return converted, ""
        return value, _name(hint)
    if origin is Literal:
        return value, "" if any(value == option and type(value) is type(option) for option in arguments) else _name(hint)
    if origin is tuple:
        return _fit_tuple(value, hint, arguments)
    if hint is type(None):
        return value, "" if value is None else "null"
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) + 0.0, "" if math.isfinite(value) else "a finite number"  # -0.0 equals 0.0, and must not have another key
    good = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    return value, "" if good else _name(hint)


def _fit_tuple(value: Any, hint: Any, arguments: tuple[Any, ...]) -> tuple[Any, str]:
    if not isinstance(value, list | tuple):
        return value, _name(hint)
    options = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(options) != len(value):
        return value, f"{len(options)} values"
    fitted = [_fit(item, option) for item, option in zip(value, options, strict=True)]
    if any(problem for _, problem in fitted):
        return value, _name(hint)
    return tuple(item for item, _ in fitted), ""


def _within(value: Any, bound: Any) -> bool:
    match bound:
        case annotated_types.Ge(ge=limit):
            return bool(value >= limit)
        case annotated_types.Gt(gt=limit):
            return bool(value > limit)
        case annotated_types.Le(le=limit):
            return bool(value <= limit)
        case annotated_types.Lt(lt=limit):
            return bool(value < limit)
    raise TypeError(f"{bound!r}: expected Ge, Gt, Le or Lt")


def _bound(bound: Any) -> str:
    symbols = {"Ge": ">=", "Gt": ">", "Le": "<=", "Lt": "<"}
    name = type(bound).__name__
    return f"{symbols[name]} {getattr(bound, name.lower())}"


def _name(hint: Any) -> str:
    """What a value of this annotation is called in an error message."""
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in names:
        return names[hint]
    if origin is Annotated:
        return " and ".join([_name(arguments[0]), *map(_bound, arguments[1:])])
    if origin in (Union, types.UnionType):
        return " or ".join(map(_name, arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        return f"a list of {_name(arguments[0])}"
    return f"a {getattr(hint, '__name__', hint)}"
