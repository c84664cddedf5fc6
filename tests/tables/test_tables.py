"""Tables: aggregation by hand on small frames, exact text of each format, and the same bytes whatever the order of the rows."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from table_cases import FACTS, scores, study

from xaibench.component import ConfigurationError
from xaibench.stats.intervals import crossed_interval
from xaibench.tables import aggregate as tables
from xaibench.tables import formats
from xaibench.tables.aggregate import aggregate, write
from xaibench.tables.blocks import natural, number, plain
from xaibench.tables.layout import Layout, blocks

MARKDOWN = """\
Mean over images and seeds with the half-width of its 95 % interval (images crossed with seeds); arrows point to better scores.

**digits / conv_8**

| explainer | ties | deletion[steps=10] ↓ | insertion ↑ |
| --- | ---: | ---: | ---: |
| ig[steps=5] | (2.0 ± 2.5)e-9 | 0.30 ± 0.25 | **3 ± 25**<sup>a</sup> |
| ig[steps=50] |  | **0.20 ± 0.25** | 2.0 ± 2.5 |
| *sobel* (control) |  | 0 ± 0 | 8.0 ± 2.5 |

All: one seed: the interval holds for this classifier only.  
<sup>a</sup> undefined (image, seed) pairs: 1; their images are left out, 2 remain.
"""  # noqa: W291 - two spaces are Markdown's line break

LATEX = r"""% Needs \usepackage{booktabs,graphicx}.
\begin{table}
\centering
\caption{digits / conv\_8. Mean over images and seeds with the half-width of its 95 \% interval (images crossed with seeds); arrows point to better scores.}
\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%
\begin{tabular}{lrrr}
\toprule
explainer & ties & deletion{[}steps=10{]} $\downarrow$ & insertion $\uparrow$ \\
\midrule
ig{[}steps=5{]} & $(2.0 \pm 2.5) \cdot 10^{-9}$ & $0.30 \pm 0.25$ & $\mathbf{3 \pm 25}$\textsuperscript{a} \\
ig{[}steps=50{]} &  & $\mathbf{0.20 \pm 0.25}$ & $2.0 \pm 2.5$ \\
\midrule
sobel &  & $0 \pm 0$ & $8.0 \pm 2.5$ \\
\bottomrule
\end{tabular}}
\par\smallskip\footnotesize
All: one seed: the interval holds for this classifier only.
\textsuperscript{a} undefined (image, seed) pairs: 1; their images are left out, 2 remain.
\end{table}
"""  # noqa: E501 - the file as it is written

CSV = """\
dataset,model,trainer,explainer,metric,score,family,metric_family,higher_is_better,metric_version,mean,low,high,df,images,planned,seeds,undefined,note
digits,conv_8,adam,ig[steps=5],deletion[steps=10],value,gradient,faithfulness,False,1,0.3,0.05158622882,0.5484137712,2,3,3,1,0,this classifier only
digits,conv_8,adam,ig[steps=5],insertion,value,gradient,faithfulness,True,1,3,-22.41240947,28.41240947,1,2,3,1,1,this classifier only
"""  # noqa: E501 - the file as it is written


def test_files(tmp_path):
    paths = write(aggregate(study()), tmp_path / "new")
    assert [path.name for path in paths] == ["table.csv", "table.md", "table.tex"]
    csv, markdown, latex = (path.read_text(encoding="utf-8") for path in paths)
    assert csv.startswith(CSV)
    assert csv.count("\n") == 8
    assert markdown == MARKDOWN
    assert latex == LATEX


def test_the_order_of_rows_does_not_move_a_byte(tmp_path):
    rng = np.random.default_rng(0)
    long = pd.concat(
        [
            scores(f"e[n={n}]", rng.normal(size=(20, 3)) * 10.0 ** (4 * draw), model=f"conv{n}", draw=draw, target=t)
            for n in (2, 10)
            for draw in range(5)
            for t in (0, 1)
        ],
    )
    shuffled = long.sample(frac=1, random_state=1).astype(dict.fromkeys(["model", "explainer", "metric"], "category"))
    first, second = write(aggregate(long), tmp_path, "a"), write(aggregate(shuffled), tmp_path, "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    # To the last bit, not only to the digits written.
    pd.testing.assert_frame_equal(aggregate(long), aggregate(shuffled), check_exact=True)


def test_draws_then_targets_are_averaged_within_image_and_seed():
    # Target 3 has two draws (mean 2), target 4 one (5): the image's score is 3.5, not (1 + 3 + 5) / 3.
    long = pd.concat([scores("ig", [[1.0], [1.0]]), scores("ig", [[3.0], [3.0]], draw=1), scores("ig", [[5.0], [6.0]], target=4)])
    row = aggregate(long).iloc[0]
    assert (row["mean"], row["images"], row["df"]) == (3.75, 2, 1)


def test_one_undefined_draw_makes_the_image_undefined():
    long = pd.concat([scores("ig", [[1.0], [2.0], [np.inf]]), scores("ig", [[np.nan], [4.0], [5.0]], draw=1)])
    row = aggregate(long).iloc[0]
    assert (row["mean"], row["images"], row["undefined"]) == (3, 1, 2)


def test_interval_is_that_of_images_crossed_with_seeds():
    values = np.random.default_rng(0).normal(size=(12, 3))
    values[4, 1] = np.nan
    row, expected = aggregate(scores("ig", values)).iloc[0], crossed_interval(values)
    for name in ("mean", "low", "high", "df"):
        assert row[name] == pytest.approx(getattr(expected, name), rel=1e-12)
    assert (row["images"], row["seeds"], row["undefined"], row["note"]) == (11, 3, 1, "")


def test_intervals_computed_together_are_those_computed_alone_to_the_last_bit():
    draw = np.random.default_rng(0)
    values = {f"e{place:02}": draw.normal(size=(31, 3)) * 10.0 ** draw.integers(-6, 6) for place in range(12)}
    values["e03"][:] = 0.1
    values["e05"][4:9, 1] = np.nan
    table = aggregate(pd.concat([scores(name, one) for name, one in values.items()])).set_index("explainer")
    for name, one in values.items():
        expected = crossed_interval(one)
        assert table.loc[name, ["mean", "low", "high", "df"]].tolist() == [expected.mean, expected.low, expected.high, expected.df]


def test_only_images_of_all_seeds_enter_and_smaller_sets_are_flagged():
    long = pd.concat([scores("ig", [[1, 2, 3], [4, 5, 6], [7, 8, 9]]), scores("gradient", [[1, 2], [4, 6]])])
    long = long[~((long["explainer"] == "ig") & (long["index"] == 2) & (long["seed"] == 1))]
    gradient, ig = aggregate(long).itertuples()
    assert (ig.mean, ig.images, ig.note) == (3.5, 2, "2 of 3 images")
    assert (gradient.images, gradient.seeds, gradient.note) == (2, 2, "two seeds; 2 of 3 images; 2 of 3 seeds")
    assert [text for _, text in blocks(aggregate(long))[0].notes][-1] == "2 of 3 seeds"


def test_no_image_of_all_seeds():
    long = scores("ig", [[1, 2], [3, 4]])
    row = aggregate(long[long["index"] == long["seed"]]).iloc[0]
    assert np.isnan(row["mean"])
    assert (row["images"], row["seeds"]) == (0, 2)


def bold(long):
    found = comparison_blocks(long)
    return {row.head.label for row in found.rows for cell in row.cells if cell is not None and cell.best}


def comparison_blocks(long):
    (block,) = blocks(aggregate(long))
    return block


def test_best_is_bold_by_direction_among_explainers_that_are_not_controls():
    def rows(metric, **columns):
        means = {"low": 0.1, "middle": 0.2, "high": 0.3}
        explainers = [scores(name, [[mean], [mean + 0.01]], metric, **columns) for name, mean in means.items()]
        return pd.concat([*explainers, *(scores(f"control {mean}", [[mean], [mean]], metric, family="control") for mean in (0.0, 0.9))])

    assert bold(rows("deletion[steps=10]")) == {"low"}
    assert bold(rows("insertion")) == {"high"}
    assert bold(rows("ties")) == set()  # no direction, no best
    reversed_ = rows("insertion").assign(higher_is_better=False)  # the mutant: a wrong direction is seen
    assert bold(reversed_) == {"low"}


def test_all_ties_are_bold():
    assert bold(pd.concat([scores(name, [[0.1 + eps], [0.2]]) for name, eps in [("a", 0), ("b", 1e-15), ("c", 0.1)]])) == {"a", "b"}


def test_undefined_mean_is_a_dash_and_never_best():
    long = pd.concat([scores("a", [[np.nan], [np.nan]]), scores("b", [[0.5], [0.7]])])
    assert bold(long) == {"b"}
    assert texts(long)["a"][0].startswith("– (")


def texts(long, **layout):
    """What stands in the rows of the only table, by their heads; the columns' heads beside the corner."""
    (block,) = blocks(aggregate(long), Layout(**layout))
    heads = {" / ".join(block.corner): [head.text for head in block.columns]}
    return heads | {row.head.text: [plain(cell) for cell in row.cells] for row in block.rows}


def test_trainer_is_shown_where_it_varies():
    long = pd.concat([scores("ig", [[1], [2]]), scores("ig", [[1], [2]], trainer="sgd")])
    assert [block.title.names for block in blocks(aggregate(long))] == [("digits", "conv_8", "adam"), ("digits", "conv_8", "sgd")]


def test_further_scores_have_a_table_without_direction():
    long = pd.concat([scores("ig", [[1], [2]]), scores("ig", [[3], [4]], score="ties")])
    assert texts(long, score="ties") == {"explainer": ["deletion[steps=10]"], "ig": ["3.5 ± 6.4"]}
    with pytest.raises(ConfigurationError, match="score='tie': expected one of ties, value"):
        blocks(aggregate(long), Layout(score="tie"))


def test_blocks_are_no_wider_than_asked():
    long = pd.concat([scores("ig", [[1], [2]], metric) for metric in FACTS])
    assert [[head.label for head in block.columns] for block in blocks(aggregate(long), Layout(width=2))] == [
        ["ties", "deletion[steps=10]"],
        ["insertion"],
    ]


def test_terminal_shows_labels_that_look_like_markup():
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(formats.terminal(blocks(aggregate(study().replace("ig[steps=5]", "ig[bold]")))))
    shown = console.file.getvalue()
    for text in ("ig[bold]", "deletion[steps=10] ↓", "0.20 ± 0.25", "(a) undefined", "digits / conv_8"):
        assert text in shown


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("metric_version", r"deletion\[steps=10\] \(1, 2\)"),
        ("higher_is_better", r"deletion\[steps=10\] \(2, False\)"),
    ],
)
def test_refuses_to_mix(column, message):
    other = scores("gradient", [[1], [2]])
    other[column] = 2
    with pytest.raises(ValueError, match=f"{column}: {message}"):
        aggregate(pd.concat([scores("ig", [[1], [2]]), other]))


def test_refuses_repeated_rows_missing_columns_and_nothing():
    long = scores("ig", [[1], [2]])
    with pytest.raises(ValueError, match=r"repeated row.*'ig'"):
        aggregate(pd.concat([long, long]))
    with pytest.raises(ValueError, match="columns target, draw are missing"):
        aggregate(long.drop(columns=["draw", "target"]))
    with pytest.raises(ValueError, match="no rows"):
        aggregate(long.iloc[:0])


@pytest.mark.parametrize(
    ("mean", "half", "expected"),
    [
        (0.12345, 0.0567, ("0.123", "0.057", 0)),
        (-12.3456, 3.21, ("-12.3", "3.2", 0)),
        (1234.5, 210.0, ("1234", "210", 0)),
        (1.23e-7, 4.5e-9, ("1.230", "0.045", -7)),
        (-0.0001, 0.5, ("0.00", "0.50", 0)),
        (2.5e8, 1.25e7, ("2.50", "0.12", 8)),
        (0.0, 0.0, ("0", "0", 0)),
        (0.5, 0.0, ("0.5000", "0", 0)),
        (0.123456, np.nan, ("0.1235", "", 0)),
        (np.nan, np.nan, ("–", "", 0)),
    ],
)
def test_digits_follow_the_half_width(mean, half, expected):
    assert number(mean, half) == expected


def test_natural_order():
    labels = [
        "ig",
        "ig[steps=5]",
        "ig[steps=50]",
        "ig[steps=500]",
        "lime[x=-1]",
        "lime[x=-0.5]",
        "lime[x=1e-05]",
        "lime[x=0.25]",
        "lime[x=3]",
    ]
    shuffled = labels[::-1]
    assert sorted(shuffled, key=natural) == labels


def test_latex_escapes_every_special_character():
    text = r"a_b&c%d$e#f{g}h~i^j\k<l>m|n[o]*†".translate(formats.TEX)
    expected = r"a\_b\&c\%d\$e\#f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}"
    expected += r"k\textless{}l\textgreater{}m\textbar{}n{[}o{]}{*}$\dagger$"
    assert text == expected


def test_flagged_maps_are_counted_in_a_note():
    long = study()
    here = (long["explainer"] == "ig[steps=5]") & (long["metric"] == "deletion[steps=10]")
    long.loc[here & (long["index"] == 0), "flag"] = "constant"
    long.loc[here & (long["index"] == 2), "flag"] = "all zero"
    found = aggregate(long).set_index(["explainer", "metric"])["note"]
    assert "1 of 3 maps are all zero; 1 of 3 maps are constant" in found["ig[steps=5]", "deletion[steps=10]"]
    assert not found.drop(("ig[steps=5]", "deletion[steps=10]")).str.contains("maps").any()
    assert "1 of 3 maps are constant." in _text_of(long)


def _text_of(long) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(formats.terminal(blocks(aggregate(long))))
    return console.file.getvalue()


def pairs(explainer, values, flags):
    """Long rows of (images, targets) values of one seed with the flag of each pair."""
    values = np.asarray(values, dtype=float)
    frame = scores(explainer, values, "insertion")
    return frame.assign(target=frame["seed"], seed=0, flag=np.asarray(flags).ravel())


NONE, ASKED = "without a counterfactual", "not asked for"


def check_pairs(found):
    rows = found.set_index("explainer")
    some = rows.loc["some"]
    # The mean of the images' means over what was found: (1 + 3) / 2, 5 and 8; the fourth image has none.
    assert some["mean"] == pytest.approx((2 + 5 + 8) / 3)
    assert (some["images"], some["undefined"]) == (3, 0)
    notes = ["3 of 4 images", "3 of 8 pairs are without a counterfactual", "1 of 8 pairs are not asked for"]
    assert all(note in some["note"] for note in notes)
    assert rows.loc["all", "mean"] == 2.0
    assert (rows.loc["all", "images"], rows.loc["all", "note"].count("pairs")) == (4, 0)
    nothing = rows.loc["nothing"]
    assert np.isnan(nothing["mean"])
    assert nothing["undefined"] == 4
    assert "8 of 8 pairs are without a counterfactual" in nothing["note"]
    broken = rows.loc["broken"]
    assert broken["undefined"] == 1
    assert broken["mean"] == 2.0


def searching():
    nan, good = np.nan, ["", ""]
    return pd.concat(
        [
            pairs("some", [[1, 3], [5, nan], [nan, 8], [nan, nan]], [good, ["", NONE], [ASKED, ""], [NONE, NONE]]),
            pairs("all", [[2, 2]] * 4, [good] * 4),
            pairs("nothing", [[nan, nan]] * 4, [[NONE, NONE]] * 4),
            pairs("broken", [[2, nan], [2, 2], [2, 2], [2, 2]], [good] * 4),
        ],
        ignore_index=True,
    )


def test_pairs_without_a_counterfactual_are_left_out_and_counted():
    check_pairs(aggregate(searching()))


def test_validity_counts_what_was_not_found():
    """A score that such pairs do have stays."""
    long = pairs("validity", [[1, 0], [1, 1]], [["", NONE], ["", ""]])
    (row,) = aggregate(long).to_dict("records")
    assert (row["mean"], row["images"], row["undefined"]) == (0.75, 2, 0)
    assert "1 of 4 pairs are without a counterfactual" in row["note"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda frame: frame,
        lambda frame: frame[frame["value"].notna()],
        lambda frame: frame[~frame["flag"].isin([NONE, ASKED])],
        lambda frame: frame.assign(value=frame["value"].fillna(0.0)),
        lambda frame: frame[~(frame["value"].isna() & (frame["flag"] == NONE))],
    ],
)
def test_other_ways_of_leaving_pairs_out_are_noticed(wrong, monkeypatch):
    monkeypatch.setattr(tables, "_there", wrong)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        check_pairs(aggregate(searching()))
