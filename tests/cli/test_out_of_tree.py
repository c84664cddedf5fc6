"""Components outside the package: found by --config-dir, and computed again when, and only when, their code changes."""

import pandas as pd
import pytest
from cli_cases import OutOfTree

CODE = '''"""An explainer of somebody else."""

from dataclasses import dataclass
from typing import ClassVar

from xaibench import gradients
from xaibench.component import PositiveFloat
from xaibench.problem import Attributions, Explainer, Family, Passes, Problem
from xaibench.seeding import Rng


@dataclass(frozen=True)
class MyExplainer(Explainer):
    """Scaled gradient."""

    family: ClassVar = Family.GRADIENT

    factor: PositiveFloat = 2.0

    def passes(self, problem: Problem) -> Passes:
        """As the gradient."""
        return gradients.gradient_passes(problem, 1)

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        """Explain."""
        return Attributions(self.factor * gradients.gradient(problem, self.output))
'''
METRIC = '''"""A metric of somebody else."""

from dataclasses import dataclass
from typing import ClassVar

from xaibench.problem import Explainer, Family, Passes, Problem
from xaibench.scoring import Metric, Scores
from xaibench.seeding import Rng


@dataclass(frozen=True)
class MyMetric(Metric):
    """Largest absolute value."""

    family: ClassVar = Family.COMPLEXITY
    higher_is_better: ClassVar = None
    version: ClassVar = 1

    def __call__(self, problem: Problem, explanation, rng: Rng) -> Scores:
        """Score."""
        return Scores({"value": explanation.values.abs().flatten(2).amax(2)})
'''
CACHED, AGAIN = (1, 0, 0), (0, 1, 0)


def add(out_of_tree: OutOfTree, code: str = CODE, metric: str = METRIC) -> tuple[str, ...]:
    out_of_tree.add("explainer", "my_explainer", "my_explainer.MyExplainer", code)
    out_of_tree.add("metric", "my_metric", "my_metric.MyMetric", metric)
    return (*out_of_tree.flags, "explainer=my_explainer", "metric=my_metric")


def test_out_of_tree_components_run_beside_the_packages_own(bench, out_of_tree):
    add(out_of_tree)
    given = (*out_of_tree.flags, "-m", "explainer=my_explainer,gradient", "metric=my_metric,sparseness")
    assert bench.run(*given).status == 0
    table = pd.read_csv(bench.results / "sweep" / "table.csv").set_index(["explainer", "metric"])["mean"]
    assert table["my_explainer", "my_metric"] == pytest.approx(2 * table["gradient", "my_metric"], rel=1e-6)
    assert table["my_explainer", "sparseness"] == pytest.approx(table["gradient", "sparseness"], rel=1e-5)


def test_their_fields_are_checked_and_swept(bench, out_of_tree):
    given = add(out_of_tree)
    assert bench.run("-m", *given, "explainer.factor=1,4").status == 0
    table = pd.read_csv(bench.results / "sweep" / "table.csv").set_index("explainer")["mean"]
    assert table["my_explainer[factor=4]"] == pytest.approx(4 * table["my_explainer[factor=1]"], rel=1e-6)
    outcome = bench.run(*given, "explainer.factor=-1")
    assert outcome.status == 2
    assert "MyExplainer.factor=-1" in outcome.err
    assert bench.made()["explain"] == 2


def test_they_are_unknown_without_the_folder(bench, out_of_tree):
    add(out_of_tree)
    outcome = bench.run("explainer=my_explainer")
    assert outcome.status == 2
    assert "explainer=my_explainer" in outcome.err


def test_a_module_that_cannot_be_imported(bench, out_of_tree):
    out_of_tree.add("explainer", "lost", "no_such_module.Lost", "")
    (out_of_tree.modules / "no_such_module.py").unlink()
    outcome = bench.run(*out_of_tree.flags, "explainer=lost")
    assert outcome.status == 2
    assert len(outcome.err.splitlines()) == 1
    assert "no_such_module.Lost" in outcome.err


def test_changed_code_recomputes_its_component_and_what_depends_on_it(bench, out_of_tree):
    given = add(out_of_tree)
    assert bench.counts(*given)["train"] == (0, 1)
    assert bench.run(*given).status == 0

    def counts(explain: tuple[int, ...], evaluate: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return {"train": (1, 0), "predict": (1, 0), "explain": explain, "evaluate": evaluate}

    assert bench.counts(*given) == counts(CACHED, CACHED)
    remarks = CODE.replace('"""Scaled gradient."""', '"""Other words."""\n\n    # a remark').replace("factor: Pos", "factor:   Pos")
    assert remarks != CODE
    add(out_of_tree, remarks)
    assert bench.counts(*given) == counts(CACHED, CACHED)
    add(out_of_tree, CODE.replace("self.factor *", "3 * self.factor *"))
    assert bench.counts(*given) == counts(AGAIN, AGAIN)
    add(out_of_tree, CODE, METRIC.replace("amax", "amin"))
    assert bench.counts(*given) == counts(CACHED, AGAIN)
    add(out_of_tree, CODE, METRIC.replace("version: ClassVar = 1", "version: ClassVar = 2"))
    assert bench.counts(*given) == counts(CACHED, AGAIN)
    add(out_of_tree)
    assert bench.counts(*given) == counts(CACHED, CACHED)


def test_changed_code_gives_other_numbers(bench, out_of_tree):
    given = add(out_of_tree)
    assert bench.run(*given).status == 0
    first = pd.read_csv(bench.results / "sweep" / "table.csv")["mean"][0]
    add(out_of_tree, CODE.replace("self.factor *", "3 * self.factor *"))
    assert bench.run(*given).status == 0
    assert pd.read_csv(bench.results / "sweep" / "table.csv")["mean"][0] == pytest.approx(3 * first, rel=1e-6)
    assert bench.made() == {"train": 1, "predict": 1, "explain": 2, "evaluate": 2}
