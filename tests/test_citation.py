"""CITATION.cff: the fields that its format asks for, the same as the package's own."""

import datetime
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import xaibench

ROOT = Path(xaibench.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def check(found: dict) -> None:
    assert found["cff-version"] == "1.2.0"
    assert found["message"]
    assert found["title"] == PROJECT["name"]
    assert found["version"] == PROJECT["version"]
    assert found["license"] == PROJECT["license"]
    assert found["authors"] == PROJECT["authors"]
    assert found["keywords"] == PROJECT["keywords"]
    assert " ".join(found["abstract"].split()) == PROJECT["description"]
    assert isinstance(found["date-released"], datetime.date)
    assert all(re.fullmatch("[a-z-]+", key) for key in found)


def test_citation_is_whole_and_agrees_with_the_package():
    check(yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "field", ["cff-version", "message", "title", "version", "license", "authors", "keywords", "abstract", "date-released"]
)
def test_a_missing_or_other_field_is_noticed(field):
    whole = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    with pytest.raises(KeyError):
        check({key: value for key, value in whole.items() if key != field})
    with pytest.raises(AssertionError):
        check(whole | {field: ""})
