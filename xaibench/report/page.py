"""The report: one HTML page made from a study's folder, which opens without any other file and without a network."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from xaibench.component import ConfigurationError
from xaibench.figures import style
from xaibench.report import charts, counterfactuals, figures, gallery
from xaibench.report.classifiers import accuracies, reports
from xaibench.report.leaderboard import boards, leaders
from xaibench.report.methods import methods
from xaibench.report.sheets import claims, provenance, sheets
from xaibench.report.study import Study
from xaibench.report.summary import summary
from xaibench.stats import standings

log = logging.getLogger(__name__)

NAME = "report.html"
HERE = Path(__file__).parent
SCRIPTS = (
    "base",
    "tables",
    "leaderboard",
    "chart",
    "curves",
    "cost",
    "ranks",
    "agreement",
    "comparison",
    "gallery",
    "counterfactuals",
    "start",
)

LIMIT = 14_500_000
"""Bytes of a page at most."""

FOR_GALLERY, FOR_TEXT = 6_500_000, 400_000
"""What figures leave to a gallery, and what everything leaves to the text around it."""


def write(folder: Path, conf: Path, out: Path | None = None) -> Path:
    """Write the report of a study's folder.

    Parameters
    ----------
    folder
        ``results/<study>``.
    conf
        The configuration that describes components and experiments.
    out
        The page to write; null: ``report.html`` in the folder.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ConfigurationError
        If the folder is not a study's.
    """
    if not (folder / "provenance.json").is_file():
        raise ConfigurationError(f"folder={folder}: expected a study's folder, with provenance.json in it")
    path = out or folder / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(Study(folder, conf)), encoding="utf-8", newline="\n")
    return path


def render(study: Study) -> str:
    """The page as text: the same data give the same text."""
    log.info("report of %s: tables and charts", study.name)
    content = _data(study)
    size = len(_json(content).encode())
    grids, galleries = counterfactuals.grids(study.folder), gallery.load(study.folder)
    size += len(_json(grids))
    drawn = figures.drawn(study, bool(galleries), bool(grids))
    log.info("report of %s: figures", study.name)
    budget = LIMIT - FOR_TEXT - size - (FOR_GALLERY if galleries else 0)
    influence, further, left = figures.figures(study, drawn, max(0, budget))
    size += sum(len(one.source) for one in (*influence, *further))
    if galleries:
        log.info("report of %s: gallery", study.name)
    shown, told = gallery.fitted(galleries, max(0, LIMIT - FOR_TEXT - size))
    content |= {"gallery": _titled(study, shown), "grids": _titled(study, grids)}
    return (
        _environment()
        .get_template("template.html")
        .render(
            **_texts(study, content["boards"]),
            data=Markup(_json(content)),
            parts={
                name: bool(content[name]) for name in ("boards", "curves", "ranks", "costs", "agreement", "comparisons", "gallery", "grids")
            },
            gallery_told=told if galleries else "",
            measured=(study.folder / "metric_agreement.csv").is_file(),
            influence_figures=influence,
            figures=further,
            left_out=left,
            css=Markup(_file("report.css")),
            script=Markup("\n".join(_file(f"script/{name}.js") for name in SCRIPTS)),
        )
    )


def _data(study: Study) -> dict[str, Any]:
    """What the page's script draws, without pictures."""
    signs = {True: 1, False: -1, None: 0}
    dashes = [_dash(one) for one in (*style.DASHES, *style.GREY_DASHES)]
    return {
        "explainers": [list(pair) for pair in study.explainers.items()],
        "metrics": [[name, family, signs[better]] for name, (family, better) in study.metrics.items()],
        "boards": boards(study),
        "curves": charts.curves(study),
        "costs": charts.costs(study),
        "agreement": charts.agreement(study),
        "ranks": charts.ranks(study),
        "comparisons": charts.comparisons(study),
        "colors": list(style.COLORS),
        "greys": list(style.GREYS),
        "dashes": dashes[: len(style.DASHES)],
        "grey_dashes": dashes[len(style.DASHES) :],
    }


def _texts(study: Study, found: list[dict[str, Any]]) -> dict[str, Any]:
    """What the template writes."""
    lead, standing = leaders(study), study.csv(standings.STEM)
    explainers, metrics = methods(study)
    heads, rows = accuracies(study)
    general = list(dict.fromkeys(text for one in found for text in one["general"]))
    return {
        "study": study,
        "summary": summary(study, lead, general),
        "leaders": [asdict(one) for one in lead],
        "several": len(study.titles) > 1,
        "accuracy_heads": heads,
        "accuracies": rows,
        "reports": reports(study),
        "claims": claims(study),
        "sheets": sheets(study),
        "standings": standings.sheet(standing) if len(standing) else None,
        "standings_note": standings.NOTE,
        "explainers": explainers,
        "metrics": metrics,
        "provenance": provenance(study),
    }


def _titled(study: Study, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With `title` in place of `name`: (dataset, model) where a classifier of the study has this name."""
    titles = {"-".join(title[:2]): list(title[:2]) for title in study.titles}
    for one in found:
        for kind in ("maps", "explainers"):
            if kind in one:
                one[kind] = {study.names.get(label, label): content for label, content in one[kind].items()}
    return [
        {key: value for key, value in one.items() if key != "name"} | {"title": titles.get(one["name"], [one["name"]])} for one in found
    ]


def _json(content: Any) -> str:
    """JSON that may stand in a script element: without "<", and without the line separators that scripts once took for line ends."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _dash(dash: Any) -> str:
    """A dash of matplotlib's as one of svg's, for lines about two pixels wide."""
    return "" if isinstance(dash, str) else " ".join(f"{2 * one:g}" for one in dash[1])


def _breakable(name: str) -> Markup:
    """A name that may break after its underscores and brackets."""
    pieces = re.split(r"(?<=[_,=\]./-])|(?=\[)", name)
    return Markup("<wbr>").join(escape(piece) for piece in pieces if piece)


@lru_cache(maxsize=None)
def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(HERE)
    made = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    made.filters["breakable"] = _breakable
    return made
