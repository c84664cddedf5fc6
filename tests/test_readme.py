"""The README shows what the committed results hold, and points to what exists."""

import re
from pathlib import Path

import xaibench

ROOT = Path(xaibench.__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_the_committed_one():
    shown = TEXT.partition("<!-- quickstart table -->")[2].partition("<!-- end of quickstart table -->")[0]
    assert shown.strip() == (ROOT / "results" / "quickstart" / "table.md").read_text(encoding="utf-8").strip()


def test_every_link_and_picture_exists():
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if not target.startswith("http")]
    assert len(targets) > 5
    assert [target for target in targets if not (ROOT / target).exists()] == []
