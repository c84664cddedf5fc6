"""The page: what a study lacks is left out, everything is escaped, nothing is loaded from elsewhere, and it stays small."""

import json
import re
import shutil

import pytest
from report_cases import CONF, EXPLAINERS, HOSTILE, METRICS, big, make, scores, study

from xaibench.cli.main import main
from xaibench.component import ConfigurationError
from xaibench.report.page import LIMIT, render, write


def data(page: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    return json.loads(found)


def sections(page: str) -> set[str]:
    return set(re.findall(r'<section id="([a-z]+)"', page))


EVERYTHING = {
    "summary",
    "standings",
    "leaderboard",
    "curves",
    "cost",
    "agreement",
    "comparison",
    "gallery",
    "classifiers",
    "claims",
    "methods",
    "provenance",
}


def test_every_part_is_there(tmp_path):
    page = render(study(make(tmp_path / "study")))
    assert sections(page) == EVERYTHING
    assert set(re.findall(r'href="#([a-z]+)"', page)) == EVERYTHING


@pytest.mark.parametrize(
    ("files", "gone"),
    [
        (["curves.parquet"], {"curves"}),
        (["claims.csv"], {"claims"}),
        (["gallery.safetensors"], {"gallery"}),
        (["cost.csv"], {"cost"}),
        (["comparison.parquet"], {"comparison"}),
        (["standings.csv"], {"standings"}),
        (["scores.parquet", "table.csv", "comparison.parquet"], {"leaderboard", "curves", "cost", "agreement", "comparison", "methods"}),
        (["classifiers.csv"], {"classifiers"}),
    ],
)
def test_what_a_study_lacks_is_left_out(tmp_path, files, gone):
    folder = make(tmp_path / "study")
    for file in files:
        (folder / file).unlink()
    assert sections(render(study(folder))) == EVERYTHING - gone


def test_one_explainer_and_one_metric(tmp_path):
    explainers = {"lime": "perturbation"}
    page = render(study(make(tmp_path / "study", scores(explainers, {"deletion": METRICS["deletion"]}), explainers)))
    assert "There is no control in this study" in page
    assert sections(page) == EVERYTHING - {"agreement", "comparison", "standings"}


def test_hostile_names_are_text(tmp_path):
    page = render(study(make(tmp_path / "study", scores(HOSTILE, METRICS), HOSTILE)))
    assert page.count("</script>") == page.count("<script") == 2
    assert "<img src=x" not in page.replace("<wbr>", "")
    assert "<i>" not in page
    assert "<topic>" not in page
    assert "A &lt;topic&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert "\u2028" not in page.partition('id="data"')[2]
    assert {name for name, _ in data(page)["explainers"]} == set(HOSTILE)
    assert data(page)["gallery"][0]["classes"][1] == "</script><b>"


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = render(study(make(tmp_path / "study")))
    outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<]*", page)
    assert outside
    assert all(address.startswith("https://arxiv.org/abs/") for address in outside if not address.startswith("http://www.w3.org/2000/svg"))
    sources = re.findall(r'\b(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("#", "data:", "https://arxiv.org/abs/")) for source in sources)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|<link(?! rel=\"icon\" href=\"data:)", page.replace("url(#${id})", ""))
    assert "default-src 'none'" in page


def test_the_same_data_give_the_same_bytes(tmp_path):
    folder = make(tmp_path / "study")
    again = tmp_path / "elsewhere" / "study"
    shutil.copytree(folder, again)
    assert write(folder, CONF).read_bytes() == write(again, CONF).read_bytes()
    assert write(folder, CONF).read_bytes() == (folder / "report.html").read_bytes()  # the page itself is no part of its data


def test_a_folder_that_is_no_study_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match=r"expected a study's folder, with provenance.json"):
        write(tmp_path, CONF)


def test_a_big_study_stays_below_its_limit(tmp_path):
    page = render(study(big(tmp_path / "big")))
    assert len(page.encode()) < LIMIT < 15_000_000
    content = data(page)
    assert [len(content[name]) for name in ("boards", "gallery", "agreement", "explainers", "metrics")] == [6, 6, 6, 43, 55]
    assert sum(len(one["rows"]) for one in content["comparisons"]) <= 30_000
    assert re.search(r"Shown with (63|31|15|7) levels of color", page)
    assert all(len(one["maps"]) == 43 for one in content["gallery"])


def test_the_command_writes_where_it_is_told(tmp_path, capsys):
    make(tmp_path / "study")
    assert main(["report", "study", "--results", str(tmp_path), "--out", str(tmp_path / "sub" / "page.html")]) == 0
    assert "report in" in capsys.readouterr().out
    assert (tmp_path / "sub" / "page.html").read_text(encoding="utf-8") == render(study(tmp_path / "study"))
    assert main(["report", "stduy", "--results", str(tmp_path)]) == 2
    assert "study=stduy: expected a study's folder in" in capsys.readouterr().err


def test_controls_are_marked(tmp_path):
    content = data(render(study(make(tmp_path / "study"))))
    assert [name for name, family in content["explainers"] if family == "control"] == [
        name for name, family in EXPLAINERS.items() if family == "control"
    ]
