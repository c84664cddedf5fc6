"""What moved between two results of a study: by hand on small tables."""

import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from table_cases import scores

from xaibench.component import ConfigurationError
from xaibench.differences import differences, held, summary, to_markdown, to_rich, versions
from xaibench.tables.aggregate import aggregate, write

EXPLAINERS = {"gradient": 0.0, "lime": 0.5, "random": 1.0}


def folder(path, shift=None, claims=(), **columns):
    """A study's folder with three explainers' insertion, shifted as told (None: not there)."""
    shifts = dict.fromkeys(EXPLAINERS, 0.0) | (shift or {})
    noise = np.array([[-0.01, 0.01], [0.01, 0.02], [0.0, -0.03]])
    kept = {name: mean + shifts[name] for name, mean in EXPLAINERS.items() if shifts[name] is not None}
    write(aggregate(pd.concat([scores(name, mean + noise, "insertion", **columns) for name, mean in kept.items()])), path)
    if claims:
        rows = [
            {"topic": "t, with a comma", "dataset": "digits", "claim": "c", "value": v, "low": lo, "high": hi, "holds": holds}
            for v, lo, hi, holds in claims
        ]
        pd.DataFrame(rows).assign(model="conv_8", explainer="").to_csv(path / "claims.csv", index=False)
    provenance = {"written_by": {"versions": {"torch": str(len(kept))}}, "computed_by_commits": ["abc"]}
    (path / "provenance.json").write_text(json.dumps(provenance))
    return path


def states(found):
    return found.set_index("explainer")["state"].to_dict()


def test_a_folder_is_as_it_is(tmp_path):
    found = differences(folder(tmp_path / "a"), folder(tmp_path / "b"))
    assert set(found["state"]) == {"within"}
    assert found["size"].tolist() == [0, 0, 0]
    assert held(found)
    assert summary(found) == "3 numbers: 0 moved, 0 vanished, 0 appeared, 3 within"
    assert versions(tmp_path / "a", tmp_path / "b") == []


def test_a_number_moved_if_the_intervals_do_not_overlap(tmp_path):
    before = folder(tmp_path / "a")
    half = float(pd.read_csv(before / "table.csv").eval("(high - low) / 2").iloc[0])
    after = folder(tmp_path / "b", {"gradient": 1.99 * half, "lime": -2.01 * half, "random": 5 * half})
    found = differences(before, after)
    assert states(found) == {"gradient": "within", "lime": "moved", "random": "moved"}
    assert found["explainer"].tolist() == ["random", "lime", "gradient"]  # the largest move first
    assert found["size"].tolist() == pytest.approx([2.5, 2.01 / 2, 1.99 / 2])
    assert not held(found)
    assert states(differences(after, before)) == states(found)


@pytest.mark.parametrize(
    ("family", "to", "state"),
    [("axiomatic", 4.6e-7, "within"), ("axiomatic", 8.9e-7 + 2e-6, "moved"), ("faithfulness", 4.6e-7, "moved")],
)
def test_what_float32_leaves_of_a_zero_is_no_move(tmp_path, family, to, state):
    before, after = folder(tmp_path / "a"), folder(tmp_path / "b")
    for path, value in ((before, 8.9e-7), (after, to)):
        table = pd.read_csv(path / "table.csv").assign(metric_family=family)
        table.loc[0, ["mean", "low", "high"]] = value, value - 1e-8, value + 1e-8
        table.to_csv(path / "table.csv", index=False)
    assert states(differences(before, after)) == {"gradient": state, "lime": "within", "random": "within"}


def test_what_appears_is_no_failure_and_what_vanishes_is(tmp_path):
    whole, part = folder(tmp_path / "a"), folder(tmp_path / "b", {"lime": None})
    assert states(differences(part, whole))["lime"] == "appeared"
    assert held(differences(part, whole))
    assert states(differences(whole, part))["lime"] == "vanished"
    assert not held(differences(whole, part))
    assert versions(whole, part) == [("torch", "3", "2")]


def test_a_number_that_becomes_undefined_vanished(tmp_path):
    before, after = folder(tmp_path / "a"), folder(tmp_path / "b", {"lime": math.nan})
    assert states(differences(before, after)) == {"gradient": "within", "lime": "vanished", "random": "within"}
    assert states(differences(after, after))["lime"] == "within"


def test_versions_of_metrics_are_told(tmp_path):
    assert versions(folder(tmp_path / "a"), folder(tmp_path / "b", metric_version=2)) == [("metric insertion", "1", "2")]


@pytest.mark.parametrize(
    ("before", "after", "state", "verdict"),
    [
        ((0.5, 0.4, 0.6, True), (0.7, 0.55, 0.8, None), "within", "yes → undecided"),
        ((0.5, 0.4, 0.6, True), (0.7, 0.65, 0.8, False), "moved", "yes → no"),
        ((0.5, None, None, None), (0.5 + 1e-9, None, None, None), "within", ""),
        ((0.5, None, None, None), (0.51, None, None, None), "moved", ""),
        ((0.5, None, None, None), (0.51, 0.5, 0.52, None), "within", ""),
        ((1e-7, 1e-7, 1e-7, True), (2e-7, 2e-7, 2e-7, True), "moved", ""),
    ],
)
def test_claims(tmp_path, before, after, state, verdict):
    found = differences(folder(tmp_path / "a", claims=[before]), folder(tmp_path / "b", claims=[after]))
    row = found[found["file"] == "claims.csv"].iloc[0]
    assert (row["state"], row["verdict"], row["topic"]) == (state, verdict, "t, with a comma")
    assert ("1 verdicts changed" in summary(found)) == bool(verdict)


def test_claims_of_one_name_are_compared_in_their_order(tmp_path):
    twice = [(0.1, 0.0, 0.2, True), (0.9, 0.8, 1.0, False)]
    found = differences(folder(tmp_path / "a", claims=twice), folder(tmp_path / "b", claims=twice[::-1]))
    assert found[found["file"] == "claims.csv"]["state"].tolist() == ["moved", "moved"]


def test_shown_with_names_and_intervals(tmp_path):
    found = differences(folder(tmp_path / "a"), folder(tmp_path / "b", {"lime": 3.0}))
    console = Console(file=io.StringIO(), width=150)
    console.print(to_rich(found))
    for text in (console.file.getvalue(), to_markdown(found)):
        assert "digits / conv_8 / adam / lime / insertion / value" in text
        assert "3.5 (3.4" in text
        assert "moved" in text


def test_folders_without_numbers_and_of_other_versions_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigurationError, match=r"expected a study's folder, with table\.csv"):
        differences(tmp_path / "a", folder(tmp_path / "b"))
    pd.read_csv(tmp_path / "b" / "table.csv").drop(columns="trainer").to_csv(tmp_path / "a" / "table.csv")
    with pytest.raises(ConfigurationError, match="expected columns trainer"):
        differences(tmp_path / "a", tmp_path / "b")
