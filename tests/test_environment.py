"""What results are said to have been computed with."""

import subprocess

import pytest

from xaibench.environment import commit


@pytest.fixture
def checkout(tmp_path):
    """A checkout with code and results, and git in it."""

    def git(*command):
        given = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *command]
        return subprocess.run(given, check=True, capture_output=True, text=True).stdout.strip()

    for name in ("xaibench/code.py", "results/table.csv", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "all")
    commit.cache_clear()
    yield tmp_path, git("rev-parse", "HEAD")[:12]
    commit.cache_clear()


@pytest.mark.parametrize("name", ["results/table.csv", "README.md", "results/new.csv"])
def test_results_and_documents_change_no_code(checkout, name):
    root, known = checkout
    (root / name).write_text("2")
    assert commit(root) == known


@pytest.mark.parametrize("name", ["xaibench/code.py", "xaibench/new.py", "pyproject.toml"])
def test_changed_code_is_told(checkout, name):
    root, known = checkout
    (root / name).write_text("2")
    assert commit(root) == f"{known}+"


def test_code_within_somebody_elses_checkout_has_no_commit(checkout):
    root, _ = checkout
    assert commit(root / "xaibench") is None


def test_code_outside_a_checkout_has_no_commit(tmp_path):
    commit.cache_clear()
    assert commit(tmp_path) is None
    commit.cache_clear()
