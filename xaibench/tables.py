"""Tables of a study: mean scores with intervals from the long table, as csv, Markdown, LaTeX and for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xaibench.blocks import WIDTH, Block, Cell, blocks, natural, plain
from xaibench.explaining import PAIR_FLAGS
from xaibench.stats import crossed_interval

if TYPE_CHECKING:
    from rich.table import Table

VERSION = 1

LEVEL = 0.95
KEYS = ["dataset", "model", "trainer", "explainer", "metric", "score"]
FACTS = ["family", "metric_family", "higher_is_better", "metric_version"]
PLACES = ["seed", "index", "target", "draw"]
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
    }
)
"""Brackets are wrapped because a ``[`` after a line break would be its optional argument."""

MARKDOWN = str.maketrans({"\\": r"\\", "|": r"\|", "*": r"\*", "<": "&lt;", "`": r"\`"})


def aggregate(long: pd.DataFrame) -> pd.DataFrame:
    """Mean of each score with its 95 % interval over images crossed with seeds.

    Draws are averaged within (image, seed, target), then targets within (image, seed); one undefined value makes the image undefined for
    that seed. But a pair that has no value because there is no counterfactual, or none was asked for, is left out, and counted. Only
    images that every seed has enter, and of these only those defined for every seed (`stats.crossed_interval`).

    Parameters
    ----------
    long
        One row per (dataset, model, trainer, explainer, metric, score, seed, draw, index, target), in any order, with its `value`, the
        `flag` of the map (empty, or what is wrong with it), `family`, `metric_family`, `higher_is_better` and `metric_version`.

    Returns
    -------
    DataFrame
        One row per (dataset, model, trainer, explainer, metric, score), in natural order: the facts about explainer and metric, `mean`,
        `low`, `high`, `df`, `images`, `seeds`, `undefined` ((image, seed) pairs without a value) and `note`, in which "90 of 100 images"
        and "2 of 3 seeds" tell that more occur among all explainers scored by this metric on this classifier, and "3 of 400 maps are
        constant" that something is wrong with these.

    Raises
    ------
    ValueError
        If columns are missing, rows repeat, the table is empty, or a metric or explainer has several versions, directions or families.
    """
    frame = _numbered(long)
    heads = _heads(frame)
    scores = _image_means(frame)
    scores = scores.join(heads.groupby([key for key in KEYS if key != "explainer"], sort=False).ngroup().rename("block"), on="cell")
    flagged = _flagged(frame)
    available = scores.groupby("block")[["index", "seed"]].nunique()
    facts: dict[Any, dict[Any, Any]] = heads.to_dict("index")
    sizes: dict[Any, dict[Any, Any]] = available.to_dict("index")
    rows = []
    for cell, part in scores.groupby("cell", sort=False):
        size = sizes[part["block"].iloc[0]]
        rows.append({**facts[cell], **_interval(part, size["index"], size["seed"], flagged.get(cell, ""))})
    rows.sort(key=lambda row: [natural(row[key]) for key in KEYS])
    result = pd.DataFrame(rows)
    directions = [None if pd.isna(value) else bool(value) for value in result["higher_is_better"]]
    return result.assign(higher_is_better=pd.Series(directions, dtype=object))


def comparison(aggregated: pd.DataFrame, score: str = "value") -> pd.DataFrame:
    """Explainers x metrics as text, ``mean ± half-width``, for one score.

    Rows: dataset, model, trainer (if several occur) and explainer, controls last in each block. Columns: metrics with an arrow towards
    better scores. An explainer without a score has an empty cell. Letters in parentheses stand for notes, which `write` spells out.
    """
    made = blocks(aggregated, score, width=None)
    index = [(*block.title, row.explainer) for block in made for row in block.rows]
    names = ["dataset", "model", "trainer"][: len(made[0].title)]
    cells = [
        {_head(metric): plain(cell) for metric, cell in zip(block.metrics, row.cells, strict=True)} for block in made for row in block.rows
    ]
    return pd.DataFrame(cells, index=pd.MultiIndex.from_tuples(index, names=[*names, "explainer"])).fillna("")


def write(aggregated: pd.DataFrame, folder: Path, stem: str = "table") -> list[Path]:
    """Write ``stem.csv`` (every number, ten digits), ``stem.md`` and ``stem.tex`` (booktabs; headline scores), and give their paths.

    The best mean of each metric among explainers that are not controls is bold. The same scores give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = blocks(aggregated)
    texts = {
        "csv": aggregated.to_csv(index=False, float_format="%.10g", lineterminator="\n"),
        "md": "\n".join([CAPTION, "", *map(_markdown, made)]),
        "tex": "\n".join(["% Needs \\usepackage{booktabs}.", *map(_latex, made)]),
    }
    paths = [folder / f"{stem}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8", newline="\n")
    return paths


def to_rich(aggregated: pd.DataFrame, score: str = "value", width: int | None = WIDTH) -> Table:
    """The same blocks for the terminal, one below the other; best in bold, controls dimmed below a line."""
    from rich.table import Table
    from rich.text import Text

    page = Table.grid()
    for block in blocks(aggregated, score, width):
        title, caption = Text(" / ".join(block.title)), Text("\n".join(_notes(block)))
        table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
        table.add_column("explainer", overflow="fold")
        for metric in block.metrics:
            table.add_column(Text(_head(metric)), justify="right", overflow="fold")
        for row, following in zip(block.rows, [*block.rows[1:], None], strict=True):
            cells = [Text(plain(cell), style="bold" if cell and cell.best else "") for cell in row.cells]
            last = following is not None and following.control and not row.control
            table.add_row(Text(row.explainer), *cells, style="dim" if row.control else "", end_section=last)
        page.add_row(table)
    return page


def by_image(long: pd.DataFrame) -> pd.DataFrame:
    """What `aggregate` takes means and intervals of: `KEYS`, `FACTS`, seed, index, `value`; draws and targets averaged."""
    frame = _numbered(long)
    return _image_means(frame).join(_heads(frame), on="cell").drop(columns="cell")


def by_draw(long: pd.DataFrame) -> pd.DataFrame:
    """The same with its draws apart, in the column `draw`."""
    frame = _numbered(long)
    return _mean(_there(frame), ["cell", "seed", "index", "draw"]).join(_heads(frame), on="cell").drop(columns="cell")


def _numbered(long: pd.DataFrame) -> pd.DataFrame:
    """What is needed of the long table, checked, with the number of each row's `cell`."""
    _check(long)
    values = long["value"].to_numpy(dtype=np.float64)
    frame = long[[*KEYS, *FACTS, *PLACES, "flag"]].assign(value=np.where(np.isfinite(values), values, np.nan))
    # The last bits of a sum depend on the order of its terms.
    frame = frame.sort_values(PLACES, kind="stable", ignore_index=True)
    frame["cell"] = frame.groupby(KEYS, observed=True, sort=False).ngroup()
    if frame.duplicated(["cell", *PLACES]).any():
        first = frame[frame.duplicated(["cell", *PLACES])].iloc[0]
        raise ValueError(f"repeated row {dict(first[[*KEYS, *PLACES]])}: expected each (cell, seed, draw, index, target) once")
    return frame


def _heads(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop_duplicates("cell").set_index("cell")[[*KEYS, *FACTS]].astype(object)


def _image_means(frame: pd.DataFrame) -> pd.DataFrame:
    return _mean(_mean(_there(frame), ["cell", "seed", "index", "target"]), ["cell", "seed", "index"])


def _check(long: pd.DataFrame) -> None:
    missing = [column for column in [*KEYS, *FACTS, *PLACES, "value", "flag"] if column not in long]
    if missing:
        raise ValueError(f"columns {', '.join(missing)} are missing: expected the long table")
    if long.empty:
        raise ValueError("the long table has no rows: expected at least one score")
    for owner, fact in [("metric", "metric_version"), ("metric", "higher_is_better"), ("metric", "metric_family"), ("explainer", "family")]:
        pairs = long[[owner, fact]].drop_duplicates().astype(object)
        mixed = sorted(pairs[owner][pairs[owner].duplicated()].unique(), key=natural)
        if mixed:
            found = [f"{name} ({', '.join(sorted(str(value) for value in pairs[fact][pairs[owner] == name]))})" for name in mixed]
            raise ValueError(f"{owner} with several values of {fact}: {'; '.join(found)}; expected one each")


def _there(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without those that have no value for want of a counterfactual; of a cell that would have none left, all."""
    absent = frame["value"].isna() & frame["flag"].isin(PAIR_FLAGS)
    return frame[~absent | absent.groupby(frame["cell"]).transform("all")]


def _mean(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean of `value` in each group, NaN where one of its values is."""
    groups = frame.groupby(by, sort=False)["value"].agg(["mean", "count", "size"])
    return groups["mean"].where(groups["count"] == groups["size"]).rename("value").reset_index()


def _flagged(frame: pd.DataFrame) -> dict[Any, str]:
    """How many maps or pairs of a cell are flagged, in words; cells without such are left out."""
    found: dict[Any, str] = {}
    sizes = frame.groupby("cell", sort=False).size()
    flagged = frame[frame["flag"] != ""].assign(flag=lambda part: part["flag"].astype(str))
    for row in flagged.groupby(["cell", "flag"], sort=True).size().reset_index(name="count").to_dict("records"):
        text = f"{row['count']} of {sizes[row['cell']]} {'pairs' if row['flag'] in PAIR_FLAGS else 'maps'} are {row['flag']}"
        found[row["cell"]] = "; ".join(filter(None, [found.get(row["cell"], ""), text]))
    return found


def _interval(part: pd.DataFrame, images: int, seeds: int, flagged: str) -> dict[str, Any]:
    """Statistics of one cell's (seed, index) scores, where all explainers together have `images` and `seeds`."""
    own_images, row = np.unique(part["index"].to_numpy(), return_inverse=True)
    own_seeds, column = np.unique(part["seed"].to_numpy(), return_inverse=True)
    matrix, present = np.zeros((len(own_images), len(own_seeds))), np.zeros((len(own_images), len(own_seeds)), dtype=bool)
    matrix[row, column], present[row, column] = part["value"].to_numpy(), True
    common = present.all(axis=1)
    found = crossed_interval(matrix[common], LEVEL)
    counts = [(int(common.sum()), images, "images"), (found.seeds, seeds, "seeds")]
    note = "; ".join(filter(None, [found.note, *(f"{have} of {most} {name}" for have, most, name in counts if have < most), flagged]))
    numbers = {name: float(getattr(found, name)) for name in ("mean", "low", "high", "df")}
    return {**numbers, "images": int(found.images), "seeds": found.seeds, "undefined": int(found.undefined), "note": note}


def _head(metric: tuple[str, str]) -> str:
    return " ".join(filter(None, metric))


def _notes(block: Block) -> list[str]:
    return [f"All: {text}." for text in block.general] + [f"({mark}) {text}." for mark, text in block.notes]


def _markdown(block: Block) -> str:
    def text(cell: Cell | None) -> str:
        if cell is None:
            return ""
        number = plain(Cell(cell.mean, cell.half, cell.exponent, cell.best, ()))
        number = f"**{number}**" if cell.best else number
        return number + (f"<sup>{','.join(cell.marks)}</sup>" if cell.marks else "")

    heads = ["explainer", *(_head(metric).translate(MARKDOWN) for metric in block.metrics)]
    lines = [f"**{' / '.join(block.title).translate(MARKDOWN)}**", "", _line(heads), _line(["---", *["---:"] * len(block.metrics)])]
    for row in block.rows:
        name = row.explainer.translate(MARKDOWN)
        lines.append(_line([f"*{name}* (control)" if row.control else name, *map(text, row.cells)]))
    remarks = [f"All: {note}." for note in block.general] + [f"<sup>{mark}</sup> {note}." for mark, note in block.notes]
    return "\n".join([*lines, "", *(["  \n".join(remarks), ""] if remarks else [])])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex(block: Block) -> str:
    def text(cell: Cell | None) -> str:
        if cell is None:
            return ""
        number = "--" if cell.mean == "–" else rf"{cell.mean} \pm {cell.half}" if cell.half else cell.mean
        number = rf"({number}) \cdot 10^{{{cell.exponent}}}" if cell.exponent else number
        number = "--" if number == "--" else rf"$\mathbf{{{number}}}$" if cell.best else f"${number}$"
        return number + (rf"\textsuperscript{{{','.join(cell.marks)}}}" if cell.marks else "")

    arrows = {"↑": r" $\uparrow$", "↓": r" $\downarrow$", "": ""}
    heads = ["explainer", *(label.translate(TEX) + arrows[arrow] for label, arrow in block.metrics)]
    notes = [rf"All: {note.translate(TEX)}." for note in block.general]
    notes += [rf"\textsuperscript{{{mark}}} {note.translate(TEX)}." for mark, note in block.notes]
    body: list[str] = []
    for row, previous in zip(block.rows, [None, *block.rows[:-1]], strict=True):
        body += [r"\midrule"] if previous is not None and row.control and not previous.control else []
        body.append(" & ".join([row.explainer.translate(TEX), *map(text, row.cells)]) + r" \\")
    caption = f"{' / '.join(block.title).translate(TEX)}. {CAPTION.translate(TEX)}"
    start = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{l{'r' * len(block.metrics)}}}", r"\toprule"]
    end = [r"\bottomrule", r"\end{tabular}", *(rf"\par\smallskip\footnotesize {note}" for note in notes), r"\end{table}"]
    return "\n".join([*start, " & ".join(heads) + r" \\", r"\midrule", *body, *end, ""])
