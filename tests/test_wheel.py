"""The wheel, installed beside its dependencies in an environment of its own, runs from an empty folder."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def done(*command: object, folder: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XAIBENCH"))}
    made = subprocess.run([str(part) for part in command], cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of an environment that has nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    done(sys.executable, *build, folder=folder)
    (wheel,) = folder.glob("xaibench-*.whl")
    done(sys.executable, "-m", "venv", folder / "env", folder=folder)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    done(folder / "env" / "bin" / "pip", "install", "--quiet", "--no-deps", wheel, folder=folder)
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))  # their own .pth files, as of the checkout, are not read
    return folder / "env" / "bin"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_nothing_of_it_comes_from_the_checkout(programs, empty):
    told = done(programs / "python", "-c", "import xaibench, xaibench.configuration as c; print(c.__file__, c.conf_folder())", folder=empty)
    assert all(str(programs.parent) in path for path in told.split())


def test_it_knows_all_components_and_studies(programs, empty):
    for group in ("explainer", "metric", "model", "experiment"):
        told = done(programs / "xaibench", "list", f"{group}s", folder=empty)
        names = [path.stem for path in (ROOT / "conf" / group).glob("*.yaml")]
        assert names
        assert not [name for name in names if name not in told]


def test_it_runs_a_study_from_an_empty_folder(programs, empty):
    small = ("explainer=gradient,random", "metric=deletion", "seed=0", "trainer.epochs=1", "explain_on.count=4", "runtime.threads=1")
    told = done(programs / "xaibench", "run", "experiment=quickstart", *small, folder=empty)
    assert "2 done, 0 cached, 0 skipped, 0 failed of 2 cells" in told
    assert (empty / "results" / "quickstart" / "report.html").is_file()
    assert {path.name for path in empty.iterdir()} == {"results"}
