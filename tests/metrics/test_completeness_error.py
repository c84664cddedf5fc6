from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from ranking_cases import RNG, conv_problem, linear_problem, random_attributions

from xaibench.metrics.completeness_error import CompletenessError
from xaibench.problem import Attributions, Explainer, Passes


@dataclass(frozen=True)
class Silent(Explainer):
    def passes(self, problem):
        return Passes()

    def __call__(self, problem, rng):
        return random_attributions(problem)


@dataclass(frozen=True)
class Claiming(Silent):
    claims: ClassVar = frozenset({"completeness", "linearity"})


def score(problem, values, total):
    return CompletenessError()(problem, Attributions(values, total), RNG).values


def test_the_effects_of_a_linear_classifier_are_complete():
    problem, effects = linear_problem()
    with torch.inference_mode():
        change = problem.model(problem.images) - problem.model(torch.zeros_like(problem.images))
    total = change.gather(1, problem.targets)
    found = score(problem, effects, total)
    assert (found["value"] < 1e-5).all()
    assert (found["relative"] < 1e-4).all()
    mutants = [effects.abs(), effects[:, :, :1], effects.flip(1), effects / effects.abs().amax()]
    for mutant in mutants:
        assert (score(problem, mutant, total)["value"] > 1e-2).all()


def test_it_is_absolute_and_relative_to_the_total():
    problem = conv_problem(batch=2, targets=2)
    values = random_attributions(problem).values
    total = torch.tensor([[2.0, -3.0], [0.5, -40.0]])
    found = score(problem, values, total)
    for b in range(2):
        for t in range(2):
            expected = abs(sum(values[b, t].flatten().double().tolist()) - total[b, t].item())
            assert found["value"][b, t].item() == pytest.approx(expected, rel=1e-6)
            assert found["relative"][b, t].item() == pytest.approx(expected / abs(total[b, t].item()), rel=1e-6)
    assert (found["value"] > 0.1).all()


def test_a_total_of_zero_has_no_relative_error_and_nan_stays_nan():
    problem = conv_problem(batch=3, targets=1)
    values = random_attributions(problem).values
    values[2, 0, 1, 2, 3] = torch.nan
    found = score(problem, values, torch.tensor([[0.0], [torch.nan], [1.0]]))
    assert found["value"].isnan().flatten().tolist() == [False, True, True]
    assert found["relative"].isnan().all()


def test_it_applies_only_to_explainers_that_claim_completeness():
    problem = conv_problem()
    assert CompletenessError().unsupported(problem, Claiming()) is None
    assert CompletenessError().unsupported(problem, Silent()) == "does not claim completeness"
    assert CompletenessError().passes(problem, Silent()) == Passes(0, 0)


@pytest.mark.parametrize(("total", "named"), [(None, "None"), (torch.zeros(4), r"\(4,\)"), (torch.zeros(4, 1), r"\(4, 1\)")])
def test_a_missing_or_misshapen_total_is_refused(total, named):
    problem = conv_problem()
    with pytest.raises(ValueError, match=rf"Attributions.total .*{named}: expected shape \(4, 2\)"):
        score(problem, random_attributions(problem).values, total)


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 2, 3, 6, 6\).*\(4, 3, 6, 6\)"):
        score(conv_problem(), torch.zeros(3, 2, 3, 6, 6), torch.zeros(4, 2))
