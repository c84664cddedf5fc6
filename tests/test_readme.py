"""The README shows what the committed results hold, and points to what exists."""

import re
from pathlib import Path

import xaibench

ROOT = Path(xaibench.__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_standings_are_the_committed_ones():
    shown = TEXT.partition("<!-- grand standings -->")[2].partition("<!-- end of grand standings -->")[0]
    assert shown.strip() == (ROOT / "results" / "grand" / "standings.md").read_text(encoding="utf-8").strip()


def test_every_link_and_picture_exists():
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if not target.startswith("http")]
    assert len(targets) > 5
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_python_example_runs(capsys):
    code = re.search(r"<!-- example: evaluate -->\n```python\n(.*?)```", TEXT, re.DOTALL).group(1)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["gradient", "integrated_gradients", "random"]
    deletion = {line.split()[0]: float(line.split()[1]) for line in lines[-3:]}
    assert deletion["integrated_gradients"] < deletion["random"]
