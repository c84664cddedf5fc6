"""`xaibench table`: one study or all, in any layout and format, from real small runs."""

import io
import shutil

import pandas as pd
import pytest
from cli_cases import Bench, isolated

from xaibench.cli.main import main


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Two studies: `first` and `second` share the gradient's deletion, and have a deletion of their own each."""
    bench = Bench(tmp_path_factory.mktemp("studies"))
    assert bench.run("-m", "study=first", "explainer=gradient,random", "metric=deletion", "metric.steps=14,28", "seed=0,1").status == 0
    assert bench.run("-m", "study=second", "explainer=gradient,saliency", "metric=deletion,sparseness", "seed=0,1").status == 0
    return bench


@pytest.fixture
def table(studies, tmp_path, capsys):
    """The command on a copy of the studies' folders."""
    folder = tmp_path / "results"
    for study in ("first", "second"):
        shutil.copytree(studies.results / study, folder / study)

    def call(*given, status=0):
        with isolated():
            assert main(["table", *given, "--results", str(folder)]) == status
        told = capsys.readouterr()
        return told.err if status else told.out

    call.folder = folder
    return call


def numbers(text):
    return pd.read_csv(io.StringIO(text))


def committed(folder, metric, explainer):
    found = pd.read_csv(folder / "table.csv")
    return found[(found["metric"] == metric) & (found["explainer"] == explainer) & (found["score"] == "value")].iloc[0]


def test_all_tells_apart_what_has_one_name_and_takes_shared_cells_once(table):
    found = numbers(table("all", "--columns", "metric", "--format", "csv")).set_index("explainer")
    assert set(found.index) == {"gradient", "random", "saliency"}
    assert {"deletion[steps=14]", "deletion[steps=28]", "sparseness"} <= set(found.columns)
    for label, study, own in (("deletion[steps=28]", "second", "deletion"), ("deletion[steps=14]", "first", "deletion[steps=14]")):
        row = committed(table.folder / study, own, "gradient")
        assert found.loc["gradient", [label, f"{label} low", f"{label} high"]].tolist() == pytest.approx(
            row[["mean", "low", "high"]].tolist()
        )
    assert found.loc["saliency", ["deletion[steps=14]"]].isna().all()
    assert found.loc["random", ["sparseness"]].isna().all()


def test_one_study_keeps_its_labels(table):
    assert list(numbers(table("second", "--format", "csv")).columns[3:]) == [
        *("sparseness", "sparseness low", "sparseness high", "deletion", "deletion low", "deletion high")
    ]


def change(folder, column, edit):
    scores = pd.read_parquet(folder / "scores.parquet")
    scores[column] = edit(scores[column])
    scores.to_parquet(folder / "scores.parquet", index=False)


def test_a_cell_with_two_numbers_is_refused_and_named(table):
    change(table.folder / "second", "value", lambda values: values + 0.01)
    told = table("all", status=2)
    assert all(text in told for text in ("explainer=gradient", "metric=deletion[steps=28]", "in first", "in second", "expected the same"))
    assert len(told.splitlines()) == 1
    assert "saliency" in table("second", "--format", "csv")


def test_a_field_that_an_older_study_does_not_know_tells_nothing_apart(table):
    path = table.folder / "second" / "scores.parquet"
    scores = pd.read_parquet(path)
    scores.drop(columns="metric.ties").to_parquet(path, index=False)
    found = numbers(table("all", "--format", "csv"))
    assert len(found) == 3
    assert {"deletion[steps=14]", "deletion[steps=28]"} <= set(found.columns)


def test_numbers_that_differ_in_their_last_bits_are_one(table):
    change(table.folder / "second", "value", lambda values: values * (1 + 1e-6))
    assert "deletion[steps=28]" in table("all", "--format", "csv")


def test_versions_of_a_metric_are_not_mixed(table):
    change(table.folder / "second", "metric_version", lambda versions: versions + 1)
    told = table("all", status=2)
    assert all(text in told for text in ("metric=deletion", "version 1 in first, 2 in second", "expected one"))
    # Also where no configuration is in both, but not where one version is left out.
    told = table("all", "--filter", "metric=deletion[steps=14],deletion[steps=28]", status=2)
    assert "version 1 in first, 2 in second" in told
    assert "sparseness" in table("all", "--filter", "metric=sparseness", "--format", "csv")


def test_filters_keep_labels_and_names(table):
    found = numbers(table("all", "--format", "csv", "--filter", "metric=deletion[steps=14]", "explainer=gradient,random"))
    assert set(found["explainer"]) == {"gradient", "random"}
    assert list(found.columns[3:]) == ["deletion[steps=14]", "deletion[steps=14] low", "deletion[steps=14] high"]
    both = numbers(table("all", "--format", "csv", "--filter", "metric=deletion", "--filter", "family=control"))
    assert set(both["explainer"]) == {"random"}
    assert len(both.columns) == 3 + 2 * 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("third",), ["study=third", "first, second"]),
        (("first", "--filter", "metric=delition"), ["filter=metric=delition", "did you mean 'deletion'"]),
        (("first", "--filter", "metrics=deletion"), ["filter=metrics", "expected one of dataset"]),
        (("first", "--filter", "metric"), ["filter=metric", "NAME=VALUE"]),
        (("first", "--rows", "speed"), ["rows=speed", "expected one or some of dataset"]),
        (("first", "--rows", "metric", "--columns", "explainer", "--cost"), ["rows=metric", "explainer among the rows"]),
        (("first", "--score", "none"), ["score='none'", "value"]),
        (("all", "--filter", "metric=sparseness", "dataset=digits", "model=conv16_conv32_gap", "--score", "tied"), ["score='tied'"]),
    ],
    ids=lambda value: " ".join(value[:3]),
)
def test_mistakes_are_told_in_one_line(table, given, told):
    error = table(*given, status=2)
    assert len(error.splitlines()) == 1
    assert all(text in error for text in told), error


def test_costs_are_those_of_one_image(table):
    found = numbers(table("first", "--cost", "--format", "csv")).set_index("explainer")
    assert found.loc["gradient", ["forward / image", "backward / image"]].tolist() == [1, 1]
    assert found.loc["random", ["forward / image", "backward / image"]].tolist() == [0, 0]
    spent = pd.read_csv(table.folder / "first" / "cost.csv")
    spent = spent[(spent["stage"] == "explain") & (spent["explainer"] == "gradient")]
    assert found.loc["gradient", "seconds / image"] == pytest.approx(spent["seconds"].mean() / 20, rel=1e-6)


def test_pairwise_tests_in_the_folder_are_shown(table):
    names = {"dataset": "digits", "model": "conv16_conv32_gap", "trainer": "auto", "metric": "deletion"}
    names |= {"first": "gradient", "second": "saliency"}
    pd.DataFrame([names | {"difference": 0.1, "p": 0.3, "p_holm": 0.3, "differs": False}]).to_parquet(
        table.folder / "second" / "comparison.parquet", index=False
    )
    alone, together = table("second", "--format", "md"), table("all", "--format", "md", "--filter", "metric=deletion[steps=28]")
    for text in (alone, together):
        assert text.count("<sup>†</sup>") == 2  # at the score and in the notes
        assert "not significantly different from the best" in text


@pytest.mark.parametrize(("suffix", "begins"), [("md", "Mean over"), ("tex", "% Needs"), ("html", "<!DOCTYPE"), ("csv", "dataset,")])
def test_a_file_has_the_format_of_its_name_and_the_folder_stays_as_it_is(table, tmp_path, suffix, begins):
    before = {path: path.read_bytes() for path in table.folder.rglob("*") if path.is_file()}
    made = tmp_path / "new" / f"table.{suffix}"
    assert table("first", "--out", str(made)) == f"written to {made}\n"
    text = (tmp_path / "new" / f"table.{suffix}").read_text()
    assert text.startswith(begins)
    assert text == table("first", "--format", suffix)
    assert {path: path.read_bytes() for path in table.folder.rglob("*") if path.is_file()} == before
    assert table("first", "--out", str(tmp_path / "table.txt")).startswith("written to ")
    assert "expected a name that ends with .csv" in table("first", "--out", str(tmp_path / "table.xyz"), status=2)
    assert "gradient" in (tmp_path / "table.txt").read_text()


def test_a_study_is_drawn_again_with_its_own_figures(table):
    before = {path.name: path.read_bytes() for path in (table.folder / "first").iterdir()}
    table("first")
    assert {path.name: path.read_bytes() for path in (table.folder / "first").iterdir()} == before
