"""Layouts: any axes in rows and columns, the best of the explainers, marks of pairwise tests, costs; and every format of them."""

from __future__ import annotations

import io
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from table_cases import scores

from xaibench.component import ConfigurationError
from xaibench.tables import formats
from xaibench.tables.aggregate import aggregate
from xaibench.tables.blocks import plain
from xaibench.tables.layout import Extras, Layout, blocks

HOSTILE = r"a_b%c&d<e>\f[g=$1]#{h}~i^*|"


def grid():
    """Two data sets x three explainers, one a control, x two metrics; each score is a number of its own."""
    parts = []
    for place, dataset in enumerate(("digits", "mnist")):
        for rank, (explainer, family) in enumerate((("ig", "gradient"), ("lime", "perturbation"), ("sobel", "control"))):
            for metric, sign in (("insertion", -1), ("deletion[steps=10]", 1)):
                value = 0.5 + sign * (0.1 * rank + 0.01 * place)
                parts.append(scores(explainer, [[value, value]] * 2, metric, family=family, dataset=dataset))
    return aggregate(pd.concat(parts, ignore_index=True))


def shown(block, mark=lambda cell: plain(cell).split(" ")[0]):
    """{row: {column: text}}, heads with their arrows."""
    return {
        row.head.text: {head.text: mark(cell) for head, cell in zip(block.columns, row.cells, strict=True) if cell is not None}
        for row in block.rows
    }


def best(block):
    return {(row, column) for row, cells in shown(block, lambda cell: cell.best).items() for column, is_best in cells.items() if is_best}


def test_any_axis_in_rows_and_columns():
    (block,) = blocks(grid(), Layout(("dataset", "explainer"), ("metric",)))[:1]
    assert block.title.text == "conv_8"
    assert list(shown(block)) == [f"{dataset} / {name}" for dataset in ("digits", "mnist") for name in ("ig", "lime", "sobel")]
    assert shown(block)["mnist / lime"] == {"deletion[steps=10] ↓": "0.6100", "insertion ↑": "0.3900"}


def test_what_is_no_axis_makes_blocks_with_its_arrow_in_the_title():
    found = blocks(grid(), Layout(("explainer",), ("dataset",)))
    assert [block.title.text for block in found] == ["conv_8 / deletion[steps=10] ↓", "conv_8 / insertion ↑"]
    assert shown(found[1])["lime"] == {"digits": "0.4000", "mnist": "0.3900"}


def test_metrics_in_rows_have_the_arrows():
    found = blocks(grid(), Layout(("metric_family", "metric"), ("explainer",)))
    assert [block.title.text for block in found] == ["digits / conv_8", "mnist / conv_8"]
    assert list(shown(found[0])) == ["faithfulness / deletion[steps=10] ↓", "faithfulness / insertion ↑"]
    assert [(head.label, head.control) for head in found[0].columns] == [("ig", False), ("lime", False), ("sobel", True)]


@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(("metric",), ("explainer",)),
        Layout(("dataset", "explainer"), ("metric",)),
        Layout(("explainer",), ("dataset",)),
        Layout(("family", "explainer"), ("dataset", "metric")),
    ],
)
def test_best_is_that_of_the_explainers_wherever_they_stand(layout):
    def winners(table):
        names = [name for block in blocks(table, layout) for place in best(block) for head in place for name in head.split(" / ")]
        return [name for name in names if name in ("ig", "lime", "sobel")]

    assert winners(grid()) == ["ig"] * 4
    # Upside down, Sobel's would be the best, were it not a control.
    assert winners(grid().assign(mean=lambda frame: 1 - frame["mean"])) == ["lime"] * 4


def test_without_explainers_in_rows_or_columns_nothing_is_best():
    found = blocks(grid(), Layout(("dataset",), ("metric",)))
    assert [block.title.text for block in found] == ["conv_8 / ig", "conv_8 / lime", "conv_8 / sobel"]
    assert not any(best(block) for block in found)


def test_scores_as_columns():
    long = pd.concat([scores("ig", [[1], [2]], "insertion"), scores("ig", [[3], [4]], "insertion", score="tied")])
    (block,) = blocks(aggregate(long), Layout(("explainer",), ("metric", "score")))
    assert shown(block) == {"ig": {"insertion / value ↑": "1.5", "insertion / tied": "3.5"}}
    assert best(block) == {("ig", "insertion / value ↑")}


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        (("explainers",), ("metric",), "rows=explainers: expected one or some of dataset"),
        (("explainer",), (), "columns=: expected one or some"),
        (("explainer", "metric"), ("metric",), "expected metric only once"),
        (("metric", "metric"), ("explainer",), "expected metric only once"),
    ],
)
def test_layouts_that_cannot_be(rows, columns, told):
    with pytest.raises(ConfigurationError, match=told):
        Layout(rows, columns)


def comparison(trainer="adam", **p):
    """Pairwise tests on the digits' deletion, by the pair's names: whether they differ, None where there is no test."""
    tests = [{"differs": bool(value), "p_holm": math.nan if value is None else 0.5} for value in p.values()]
    rows = [dict(zip(("first", "second"), pair.split("_"), strict=True)) | test for pair, test in zip(p, tests, strict=True)]
    return pd.DataFrame(rows).assign(dataset="digits", model="conv_8", trainer=trainer, metric="deletion[steps=10]")


def test_scores_that_do_not_differ_from_the_best_are_marked():
    # ig is the best: the order of a pair does not matter, pairs without the best do not either, nor other metrics.
    first, second = blocks(grid(), extras=Extras(comparison(lime_ig=False, ig_sobel=True, sobel_lime=False)))
    marked = shown(first, lambda cell: "†" in cell.marks)
    assert {(row, column) for row, cells in marked.items() for column, mark in cells.items() if mark} == {("lime", "deletion[steps=10] ↓")}
    assert [text for mark, text in first.notes if mark == "†"] == [
        "not significantly different from the best (95 % interval of the difference, and Wilcoxon's test with Holm's correction)"
    ]
    assert not any("†" in cell.marks for row in second.rows for cell in row.cells)
    assert second.notes == (("‡", "not compared with the best, image by image"),)
    assert r"$0.6000 \pm 0$\textsuperscript{$\dagger$}" in formats.latex([first])
    control = blocks(grid(), extras=Extras(comparison(ig_sobel=False)))[0]
    assert plain(control.rows[2].cells[0]) == "0.7000 ± 0 (†)"
    assert plain(control.rows[1].cells[0]).endswith(" (‡)")  # lime was not compared with the best
    assert ("‡", "not compared with the best, image by image") in control.notes


def test_what_could_not_be_tested_is_not_said_to_be_equal():
    first = blocks(grid(), extras=Extras(comparison(lime_ig=None, ig_sobel=True)))[0]
    assert plain(first.rows[1].cells[0]).endswith(" (‡)")


def test_errors_against_axioms_are_all_best_where_they_are_rounding():
    given = grid().assign(metric_family="axiomatic")
    given.loc[given["explainer"] == "ig", "mean"], given.loc[given["explainer"] == "lime", "mean"] = 1e-8, 3e-7
    assert [row.head.names[0] for row in blocks(given)[0].rows if row.cells[0].best] == ["ig", "lime"]
    assert [row.head.names[0] for row in blocks(given.assign(metric_family="f"))[0].rows if row.cells[0].best] == ["ig"]


@pytest.mark.parametrize(("planned", "first"), [(2, "ig"), (3, "lime")])
def test_half_of_the_planned_images_are_enough(planned, first):
    given = grid()
    given.loc[given["explainer"] == "ig", "planned"] = planned * given["images"].max() - (planned - 2)
    assert [row.head.names[0] for row in blocks(given)[0].rows if row.cells[0].best] == [first]


def test_a_mean_over_few_images_is_not_the_best():
    given = grid()
    given.loc[given["explainer"] == "ig", "planned"] = 2 * given["images"].max() + 1
    assert [row.head.names[0] for row in blocks(given)[0].rows if row.cells[0].best] == ["lime"]


def test_tests_are_those_of_one_trainer():
    several = pd.concat([grid(), grid().assign(trainer="sgd")])
    found = blocks(several, extras=Extras(comparison("sgd", lime_ig=False, sobel_ig=True)))
    assert [block.title.names for block in found if "†" in dict(block.notes)] == [("digits", "conv_8", "sgd")]


def costs():
    names = {"model": "conv_8", "trainer": "adam"}
    rows = [
        ("digits", "ig", 101.0, 50.0, 2e-5),
        ("digits", "ig", 103.0, 50.0, 4e-5),
        ("mnist", "ig", 1.0, 0.0, 1.0),
        ("digits", "lime", 2000.4, 0.0, 0.5),
    ]
    return pd.DataFrame([dict(zip(("dataset", "explainer", "forward", "backward", "seconds"), row, strict=True)) | names for row in rows])


def test_costs_stand_beside_their_explainers():
    first, second = blocks(grid(), extras=Extras(costs=costs()))
    assert [head.text for head in first.columns][-3:] == ["forward / image", "backward / image", "seconds / image"]
    assert [[plain(cell) for cell in row.cells[-3:]] for row in first.rows] == [
        ["102", "50", "3.000e-5"],
        ["2000", "0", "0.5000"],
        ["", "", ""],
    ]
    assert plain(second.rows[0].cells[-3]) == "1"
    narrow = blocks(grid(), Layout(width=1), Extras(costs=costs()))
    assert [len(block.columns) for block in narrow] == [1, 4, 1, 4]
    with pytest.raises(ConfigurationError, match="rows=metric: expected explainer among the rows"):
        blocks(grid(), Layout(("metric",), ("explainer",)), Extras(costs=costs()))


def test_csv_has_every_number_and_what_it_belongs_to():
    found = pd.read_csv(io.StringIO(formats.csv(blocks(grid(), Layout(("explainer",), ("dataset",), width=None), Extras(costs=costs())))))
    assert list(found.columns[:4]) == ["model", "metric", "explainer", "digits"]
    row = found[(found["metric"] == "insertion") & (found["explainer"] == "lime")].iloc[0]
    assert (row["digits"], row["digits low"], row["mnist high"]) == (0.4, 0.4, 0.39)
    assert row["forward / image"] == 2000.4
    assert len(found) == 6


def hostile():
    """Names with every character that a format gives a meaning."""
    return aggregate(
        pd.concat(
            [
                scores(HOSTILE, [[0.1, 0.2], [0.3, 0.35]], dataset=HOSTILE, model=HOSTILE, flag="constant"),
                scores("*star [b]", [[0.1, 0.2], [0.3, 0.3]], "insertion", dataset=HOSTILE, model=HOSTILE),
                scores("[first]", [[1e-9, 2e-9], [1e-9, 3e-9]], dataset=HOSTILE, model=HOSTILE, family="control"),
            ]
        ).replace({"metric": {"insertion": HOSTILE}})
    )


def test_latex_has_as_many_cells_in_every_row_and_no_bare_special_character():
    made = blocks(hostile(), extras=Extras(comparison(a_b=False)))
    text = formats.latex(made)
    body = text.partition("\\toprule\n")[2].partition("\\bottomrule")[0]
    rows = [line for line in body.splitlines() if line != r"\midrule"]
    assert len(rows) == 4
    for line in rows:
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == len(made[0].columns)
        assert not re.search(r"(?<!\\)[%#]", line)
        assert not re.match(r"\s*[*\[]", line)
    plain_text = re.sub(r"\\[{}]", "", text)
    assert plain_text.count("{") == plain_text.count("}")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1


def compiled(folder, text):
    """What pdflatex says of a minimal document with these tables."""
    (folder / "a.tex").write_text(rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{text}\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "a.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "a.pdf").stat().st_size
    return done.stdout


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not there")
def test_latex_compiles(tmp_path):
    text = formats.latex(blocks(hostile()) + blocks(grid(), extras=Extras(comparison(lime_ig=False), costs())))
    assert r"$\ddagger$" in text
    compiled(tmp_path, text)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not there")
@pytest.mark.parametrize("study", sorted(path.parent.name for path in (Path(__file__).parents[2] / "results").glob("*/table.tex")))
def test_the_studies_tables_compile_and_are_no_wider_than_the_text(study, tmp_path):
    told = compiled(tmp_path, (Path(__file__).parents[2] / "results" / study / "table.tex").read_text(encoding="utf-8"))
    assert "Overfull \\hbox" not in told


class Cells(HTMLParser):
    """The text of each cell of each row."""

    def __init__(self):
        super().__init__()
        self.rows, self.tags, self.inside = [], set(), False

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th") or (self.inside and tag in ("b", "i", "sup"))
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def test_html_is_escaped_and_whole():
    cells = Cells()
    cells.feed(formats.web(blocks(hostile())))
    assert cells.tags <= {"html", "meta", "title", "p", "table", "caption", "tr", "th", "td", "b", "i", "sup"}
    assert {len(row) for row in cells.rows} == {3}
    assert cells.rows[0][2].startswith(HOSTILE) or cells.rows[0][1].startswith(HOSTILE)
    assert {row[0] for row in cells.rows[1:]} == {HOSTILE, "*star [b]", "[first] (control)"}
