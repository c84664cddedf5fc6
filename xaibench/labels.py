"""What components are called in tables: their name, and what tells them from their namesakes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xaibench.component import Component, ConfigurationError, describe
from xaibench.grid import Entry

DIGITS = 8
"""How many digits of a sha256 are shown."""


def varying(entries: tuple[Entry[Any], ...]) -> dict[Entry[Any], str]:
    """Labels: the name, with the fields in which entries of the same name differ, as ``integrated_gradients[steps=50]``.

    Raises
    ------
    ConfigurationError
        If different entries have the same label: tables would take them for one.
    """
    found = dict(zip(entries, labels([(entry.name, flat(entry.component)) for entry in entries]), strict=True))
    owners: dict[str, Entry[Any]] = {}
    for entry, label in found.items():
        if (other := owners.setdefault(label, entry)) is not entry:
            told = f"{other.component} and {entry.component}"
            raise ConfigurationError(f"{label}: expected components that differ in what results depend on, or in name, got {told}")
    return found


def labels(named: Sequence[tuple[str, Mapping[str, Any]]], absent_differs: bool = True) -> list[str]:
    """A label for each (name, fields): the name, with the fields in which its namesakes differ.

    A sha256 is shown, shortened, only where no other field tells namesakes apart. Whether a field that a namesake does not have counts as
    different is as asked.
    """
    namesakes: dict[str, list[Mapping[str, Any]]] = {}
    for name, fields in named:
        namesakes.setdefault(name, []).append(fields)
    found = []
    for name, mine in named:

        def differing(others: list[Mapping[str, Any]], digests: bool, mine: Mapping[str, Any] = mine) -> list[str]:
            keys = [key for key, value in mine.items() if _is_digest(value) is digests]
            return [key for key in keys if any(other.get(key, None if absent_differs else mine[key]) != mine[key] for other in others)]

        differ = differing(namesakes[name], digests=False)
        differ += differing([other for other in namesakes[name] if all(other.get(key) == mine[key] for key in differ)], digests=True)
        found.append(name + (f"[{', '.join(f'{key}={_text(mine[key])}' for key in differ)}]" if differ else ""))
    return found


def flat(component: Component) -> dict[str, Any]:
    """Field values by dotted name, classes of nested components included; fields with the metadata ``shown`` though no key has them."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield prefix, value

    shown = {item.name: getattr(component, item.name) for item in dataclasses.fields(component) if item.metadata.get("shown")}
    return shown | {name: value for name, value in walk("", describe(component)) if name != "class"}


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _text(value: Any) -> str:
    return value[:DIGITS] if _is_digest(value) else f"{value:g}" if isinstance(value, float) else str(value)
