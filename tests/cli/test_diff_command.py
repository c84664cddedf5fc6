"""`xaibench diff`: folders, studies and commits of a repository, with its exit status."""

import io
import subprocess

import pandas as pd
import pytest
from cli_cases import Bench, isolated

from xaibench.cli.main import main


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A repository with a study, then the same study after its scores went up."""
    bench = Bench(tmp_path_factory.mktemp("diff"))
    assert bench.run("explainer=gradient,random", "metric=deletion", "-m").status == 0
    git(bench.results, "init", "-q")
    commit(bench.results, "first")
    path = bench.results / "sweep" / "table.csv"
    table = pd.read_csv(path)
    here = (table["explainer"] == "gradient") & (table["score"] == "value")
    table.loc[here, ["mean", "low", "high"]] += 2.0
    table.to_csv(path, index=False)
    commit(bench.results, "second")
    return bench.results


def git(folder, *arguments):
    names = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *names, *arguments], check=True, capture_output=True)


def commit(results, message):
    git(results, "add", "sweep")
    git(results, "commit", "-qm", message)


def diff(capsys, results, *given):
    with isolated():
        status = main(["diff", *given, "--results", str(results)])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_commits_are_compared_with_each_other_and_with_the_folder(results, capsys):
    status, told, _ = diff(capsys, results, "sweep@HEAD~1", "sweep@HEAD")
    assert status == 1
    assert "1 moved, 0 vanished, 0 appeared" in told
    assert "gradient / deletion / value" in told
    assert "random" not in told
    assert diff(capsys, results, "sweep@HEAD", "sweep")[0] == 0
    assert diff(capsys, results, str(results / "sweep"), "sweep@HEAD~1")[0] == 1


def test_formats(results, capsys):
    found = pd.read_csv(io.StringIO(diff(capsys, results, "sweep@HEAD~1", "sweep", "--format", "csv")[1]))
    assert len(found) == 5  # two explainers x two scores, and the classifier's accuracy
    moved = found[found["state"] == "moved"].iloc[0]
    assert moved["after"] - moved["before"] == pytest.approx(2.0)
    markdown = diff(capsys, results, "sweep@HEAD~1", "sweep", "--format", "md")[1]
    assert "| moved |" in markdown
    assert "random" not in markdown
    assert "random" in diff(capsys, results, "sweep@HEAD~1", "sweep", "--format", "md", "--all")[1]
    assert "random" in diff(capsys, results, "sweep@HEAD~1", "sweep", "--all")[1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nothing", "expected a folder, STUDY@COMMIT, or a study"),
        ("sweep@nowhere", "expected a commit after the @"),
        ("other@HEAD", "expected a commit that has"),
        ("sweep@--output=x", "expected a commit after the @"),
    ],
)
def test_mistakes(results, capsys, given, told):
    status, _, error = diff(capsys, results, given, "sweep")
    assert status == 2
    assert given in error
    assert told in error
    assert len(error.splitlines()) == 1
