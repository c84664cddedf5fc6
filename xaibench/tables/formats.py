"""Tables as text: Markdown, LaTeX with booktabs, HTML, csv, and for the terminal."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from xaibench import markdown as md
from xaibench.tables.blocks import Block, Cell, Head, plain

if TYPE_CHECKING:
    from rich.table import Table

VERSION = 1

CAPTION = "Mean over images and seeds with the half-width of its 95 % interval (images crossed with seeds); arrows point to better scores."

TEX = str.maketrans(
    {
        **{character: "\\" + character for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",
        "]": "{]}",
        "*": "{*}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "†": r"$\dagger$",
        "‡": r"$\ddagger$",
    }
)
"""Brackets and stars are wrapped because a ``[`` or ``*`` after a line break would be its optional argument."""

FITTED = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"

MARKDOWN = str.maketrans({"\\": r"\\", "|": r"\|", "*": r"\*", "<": "&lt;", "`": r"\`"})


def markdown(blocks: Sequence[Block]) -> str:
    """Tables of GitHub's Markdown."""
    return "\n".join([CAPTION, "", *map(_markdown, blocks)])


def latex(blocks: Sequence[Block]) -> str:
    """Floating tables for a document that uses booktabs and graphicx; those that are wider than the text are scaled down to it."""
    return "\n".join(["% Needs \\usepackage{booktabs,graphicx}.", *map(_latex, blocks)])


def web(blocks: Sequence[Block]) -> str:
    """A plain HTML page."""
    start = ["<!DOCTYPE html>", '<html lang="en">', '<meta charset="utf-8">', "<title>xaibench</title>"]
    return "\n".join([*start, f"<p>{html.escape(CAPTION)}</p>", *map(_web, blocks), "</html>", ""])


def csv(blocks: Sequence[Block]) -> str:
    """One table of all numbers: what makes blocks and rows in columns of their own, then mean and interval of each column."""
    rows = []
    for block in blocks:
        for row in block.rows:
            line: dict[str, str | float] = dict(zip(block.keys + block.corner, block.title.names + row.head.names, strict=True))
            for head, cell in zip(block.columns, row.cells, strict=True):
                names = (head.label, f"{head.label} low", f"{head.label} high")[: 1 if head.cost else 3]
                line.update(zip(names, cell.numbers if cell else [math.nan] * len(names), strict=True))
            rows.append(line)
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.10g", lineterminator="\n")


def terminal(blocks: Sequence[Block]) -> Table:
    """One below the other; best in bold, controls dimmed below a line."""
    from rich.table import Table
    from rich.text import Text

    page = Table.grid()
    for block in blocks:
        notes = [f"All: {text}." for text in block.general] + [f"({mark}) {text}." for mark, text in block.notes]
        table = Table(title=Text(block.title.text), caption=Text("\n".join(notes)), title_justify="left", caption_justify="left")
        table.add_column(_corner(block), overflow="fold")
        for head in block.columns:
            table.add_column(Text(head.text), justify="right", overflow="fold")
        for row, following in zip(block.rows, [*block.rows[1:], None], strict=True):
            cells = [Text(plain(cell), style="bold" if cell and cell.best else "") for cell in row.cells]
            last = following is not None and following.head.control and not row.head.control
            table.add_row(Text(row.head.text), *cells, style="dim" if row.head.control else "", end_section=last)
        page.add_row(table)
    return page


def _corner(block: Block) -> str:
    return " / ".join(block.corner)


def _without_marks(cell: Cell) -> str:
    return plain(replace(cell, marks=()))


def _markdown(block: Block) -> str:
    def text(cell: Cell | None) -> str:
        if cell is None:
            return ""
        number = f"**{_without_marks(cell)}**" if cell.best else _without_marks(cell)
        return number + (f"<sup>{','.join(cell.marks)}</sup>" if cell.marks else "")

    def named(head: Head) -> str:
        name = head.text.translate(MARKDOWN)
        return f"*{name}* (control)" if head.control else name

    lines = [f"**{block.title.text.translate(MARKDOWN)}**", ""]
    rows = ([named(row.head), *map(text, row.cells)] for row in block.rows)
    lines += md.table([_corner(block), *map(named, block.columns)], rows)
    remarks = [f"All: {note}." for note in block.general] + [f"<sup>{mark}</sup> {note}." for mark, note in block.notes]
    return "\n".join([*lines, "", *(["  \n".join(remarks), ""] if remarks else [])])


def _latex(block: Block) -> str:
    def text(cell: Cell | None) -> str:
        if cell is None:
            return ""
        number = "--" if cell.mean == "–" else rf"{cell.mean} \pm {cell.half}" if cell.half else cell.mean
        number = f"({number})" if cell.exponent and cell.half else number
        number = rf"{number} \cdot 10^{{{cell.exponent}}}" if cell.exponent else number
        number = "--" if number == "--" else rf"$\mathbf{{{number}}}$" if cell.best else f"${number}$"
        return number + (rf"\textsuperscript{{{','.join(cell.marks).translate(TEX)}}}" if cell.marks else "")

    heads = [_corner(block).translate(TEX), *(head.text.translate(TEX) for head in block.columns)]
    notes = [rf"All: {note.translate(TEX)}." for note in block.general]
    notes += [rf"\textsuperscript{{{mark.translate(TEX)}}} {note.translate(TEX)}." for mark, note in block.notes]
    body: list[str] = []
    for row, previous in zip(block.rows, [None, *block.rows[:-1]], strict=True):
        body += [r"\midrule"] if previous is not None and row.head.control and not previous.head.control else []
        body.append(" & ".join([row.head.text.translate(TEX), *map(text, row.cells)]) + r" \\")
    caption = f"{block.title.text.translate(TEX)}. {CAPTION.translate(TEX)}"
    columns = rf"\begin{{tabular}}{{l{'r' * len(block.columns)}}}"
    start = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", FITTED, columns, r"\toprule"]
    below = [r"\par\smallskip\footnotesize", *notes] if notes else []
    end = [r"\bottomrule", r"\end{tabular}}", *below, r"\end{table}"]
    return "\n".join([*start, " & ".join(heads) + r" \\", r"\midrule", *body, *end, ""])


def _web(block: Block) -> str:
    def text(cell: Cell | None) -> str:
        if cell is None:
            return "<td></td>"
        number = html.escape(_without_marks(cell))
        number = f"<b>{number}</b>" if cell.best else number
        marks = f"<sup>{','.join(cell.marks)}</sup>" if cell.marks else ""
        return f"<td>{number}{marks}</td>"

    def named(head: Head) -> str:
        name = html.escape(head.text)
        return f"<th>{f'<i>{name}</i> (control)' if head.control else name}</th>"

    heads = f"<tr><th>{html.escape(_corner(block))}</th>{''.join(map(named, block.columns))}</tr>"
    rows = [f"<tr>{named(row.head)}{''.join(map(text, row.cells))}</tr>" for row in block.rows]
    notes = [f"<p>All: {html.escape(note)}.</p>" for note in block.general]
    notes += [f"<p><sup>{mark}</sup> {html.escape(note)}.</p>" for mark, note in block.notes]
    return "\n".join(["<table>", f"<caption>{html.escape(block.title.text)}</caption>", heads, *rows, "</table>", *notes])
