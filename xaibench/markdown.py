"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

RULES = {"l": "---", "r": "---:"}


def table(heads: Sequence[object], rows: Iterable[Iterable[object]], align: str = "lr") -> list[str]:
    """The lines of a table: texts must be escaped already.

    Parameters
    ----------
    heads, rows
        Texts, or what has one.
    align
        An l or r, left or right, for each column; its last letter holds for all that follow.
    """
    rules = [RULES[letter] for letter in align.ljust(len(heads), align[-1])]
    return [f"| {' | '.join(map(str, cells))} |" for cells in (heads, rules, *rows)]
