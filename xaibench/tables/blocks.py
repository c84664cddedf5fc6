"""What tables are made of: cells, heads, rows and blocks, numbers as text, and the order of labels."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

VERSION = 1

NUMBER = re.compile(r"((?:(?<==)-)?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


@dataclass(frozen=True)
class Cell:
    """One score in a table.

    Attributes
    ----------
    mean, half, exponent
        Mean and half-width as text, both to be multiplied by a power of ten (0: none).
    best
        Whether it is the best of the explainers.
    marks
        Those of its notes.
    numbers
        Mean, and low and high end of the interval; of a cost the mean alone.
    """

    mean: str
    half: str
    exponent: int
    best: bool
    marks: tuple[str, ...]
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Head:
    """What names a row, a column or a block.

    Attributes
    ----------
    names
        Its parts.
    arrow
        Towards better scores; "" where there is no direction.
    control, cost
        Whether it is that of a control, or of a cost instead of scores.
    """

    names: tuple[str, ...]
    arrow: str = ""
    control: bool = False
    cost: bool = False

    @property
    def label(self) -> str:
        """Its parts in one text."""
        return " / ".join(self.names)

    @property
    def text(self) -> str:
        """The label with its arrow."""
        return " ".join(filter(None, [self.label, self.arrow]))


@dataclass(frozen=True)
class Row:
    """The scores beside one head; None where it has none."""

    head: Head
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Block:
    """One table.

    Attributes
    ----------
    keys, title
        What the block holds alone, such as (dataset, model), and the names of these.
    corner
        What the rows are.
    columns
        In natural order, metrics by family; then costs.
    rows
        In natural order, controls last.
    general
        Notes that hold for every cell.
    notes
        (mark, sentence) of notes on single cells.
    """

    keys: tuple[str, ...]
    title: Head
    corner: tuple[str, ...]
    columns: tuple[Head, ...]
    rows: tuple[Row, ...]
    general: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]


def natural(label: str) -> tuple[tuple[str | float, ...], str]:
    """Sort key of a label that takes the numbers in it as numbers: ``steps=5`` comes before ``steps=50``."""
    parts = NUMBER.split(label)
    return tuple(float(part) if position % 2 else part for position, part in enumerate(parts)), label


def number(mean: float, half: float) -> tuple[str, str, int]:
    """Mean and half-width with two significant digits of the half-width, and the power of ten to multiply both by (0: none)."""
    if math.isnan(mean):
        return "–", "", 0
    scale = half if half > 0 else abs(mean) / 100
    digits = 1 - math.floor(math.log10(scale)) if scale > 0 else 0
    size = max(abs(mean), 0.0 if math.isnan(half) else half)
    exponent = math.floor(math.log10(size)) if digits > 6 or size >= 1e6 else 0
    decimals = min(max(digits + exponent, 0), 6)
    texts = [f"{value / 10.0**exponent:.{decimals}f}" for value in (mean, half)]
    return re.sub(r"^-(0\.?0*)$", r"\1", texts[0]), "" if math.isnan(half) else texts[1] if half > 0 else "0", exponent


def plain(cell: Cell | None) -> str:
    """A cell as text: ``0.123 ± 0.045 (a)``."""
    if cell is None:
        return ""
    text = f"{cell.mean} ± {cell.half}" if cell.half else cell.mean
    text = f"{f'({text})' if cell.half else text}e{cell.exponent}" if cell.exponent else text
    return f"{text} ({','.join(cell.marks)})" if cell.marks else text
