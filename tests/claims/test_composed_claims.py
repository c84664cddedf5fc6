"""Claims and pictures of a study are built when it is composed: a mistake is reported before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from xaibench.claims.base import Claim
from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.component import ConfigurationError
from xaibench.configuration import conf_folder
from xaibench.pictures import Picture

STUDIES = sorted(
    path.stem
    for path in (conf_folder() / "experiment").glob("*.yaml")
    if {"claims", "pictures"} & set(yaml.safe_load(path.read_text(encoding="utf-8")))
)


@pytest.mark.parametrize("study", STUDIES)
def test_claims_and_pictures_of_every_study(study):
    _, settings = composed(Request([f"experiment={study}"]))
    assert all(isinstance(claim, Claim) and claim.topic for claim in settings.claims)
    assert len({claim.topic for claim in settings.claims}) == len(settings.claims)
    assert all(isinstance(picture, Picture) for picture in settings.pictures.values())
    assert settings.claims or settings.pictures


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("claims: [{_target_: xaibench.claims.accuracy.Accuracy, refrence: 0.9}]", r"claims\[0\]\.refrence=0.9.*did you mean 'reference'"),
        ("claims: [{_target_: xaibench.claims.accuracy.Accuracy, reference: 91}]", r"Accuracy\.reference=91: expected a number and >= 0"),
        ("claims: [{_target_: xaibench.claims.accuracy.Acuracy}]", r"claims\[0\]\._target_"),
        ("pictures: {ten: {indexes: [1]}}", r"pictures\.ten\.indexes=\[1\].*did you mean 'indices'"),
    ],
)
def test_a_mistake_names_the_field(content, message, tmp_path):
    (tmp_path / "experiment").mkdir()
    Path(tmp_path / "experiment" / "wrong.yaml").write_text(f"# @package _global_\nstudy: wrong\n{content}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        composed(Request(["--config-dir", str(tmp_path), "experiment=wrong"]))
