"""The study of Shapley estimators: ratios at equal evaluations, references, table and figure."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
from torch import nn

from xaibench import shapley_error as study
from xaibench.explainers.coalitions import Group
from xaibench.explainers.exact_shapley import ExactShapley, all_coalitions
from xaibench.problem import Problem
from xaibench.seeding import Rng
from xaibench.superpixels import Superpixels


def table(case="16 superpixels"):
    """Ours errs 1 / budget, of which it uses half; the peer 3 / evaluations, which are not its budget."""
    rows = [(case, study.BEST, n, r, n / 2, 1 / n) for n in (64, 256, 1024) for r in range(2)]
    peer = "shap KernelExplainer"
    rows += [(case, peer, n, r, n * 1.5, 3 / (n * 1.5)) for n in (16, 24, 64, 256, 1024) for r in range(2)]
    frame = pd.DataFrame(rows, columns=["case", "estimator", "budget", "repetition", "evaluations", "rmse"])
    return frame.assign(images=3, rms_value=1.0, reference_error=0.0, changed=9.0, commit="")


def test_ratios_are_taken_at_equal_evaluations():
    found = study.at_equal_evaluations(table()).set_index(["estimator", "budget"]).ratio
    theirs = found["shap KernelExplainer"]
    assert theirs[64] == pytest.approx(3)
    assert theirs[256] == pytest.approx(3)
    assert theirs[24] == pytest.approx(3 / 36 * 64)  # at 36 evaluations, against ours at 64
    assert math.isnan(theirs[16])
    assert math.isnan(theirs[1024])  # 1,536 evaluations: ours has none near


def test_repetitions_are_averaged_as_squares():
    frame = table()
    frame.loc[(frame.estimator == study.BEST) & (frame.budget == 64), "rmse"] = [0.03, 0.04]
    found = study.at_equal_evaluations(frame).set_index(["estimator", "budget"]).rmse
    assert found[study.BEST][64] == pytest.approx(math.sqrt((0.03**2 + 0.04**2) / 2))


def test_table_and_figure(tmp_path):
    frame = pd.concat([table(), table("784 pixels").query("budget == 64")])
    text = study.markdown(frame)
    assert "| shap KernelExplainer | 0.1250 | 0.0833 (5.3) | 0.0312 (3.0) | 0.0078 (3.0) | 0.0020 |" in text
    assert "## 784 pixels" in text
    study.draw(frame, tmp_path / "errors.png")
    assert (tmp_path / "errors.png").stat().st_size > 10_000


def test_references_are_exact_or_unbiased_with_their_standard_error():
    players, count = torch.tensor([1, 2, 4, 5, 7]), 9
    worth = torch.randn(32, generator=torch.Generator().manual_seed(0))

    def value(present):
        assert not present[:, [0, 3, 6, 8]].any()
        return worth[(present[:, players].long() << torch.arange(5)).sum(1)]

    design = all_coalitions(5)
    expected = worth[(design.coalitions.long() << torch.arange(5)).sum(1)].double() @ design.weights
    assert torch.allclose(study._exact(value, players, count), expected)
    found, variance = study._long_run(value, players, count, 2**14)
    # the variance is a mean over all nine superpixels
    error = (found - expected).square().sum() / count
    assert variance / 5 < error < variance * 5
    assert variance**0.5 < 0.05 * expected.square().mean().sqrt()


def superpixel_problem() -> Problem:
    """Two images, one of them black in a corner, of four by three superpixels of a network that is not additive."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3)).eval().requires_grad_(False)
    images = torch.rand(2, 1, 8, 6)
    images[1, :, :2, :2] = 0.0
    targets = torch.tensor([[0], [2]])
    return Problem(model, images, targets, targets[:, 0], torch.tensor([4, 9]), torch.zeros(1, 1, 8, 6))


@pytest.mark.filterwarnings("ignore:The set_(bad|over|under) function:PendingDeprecationWarning")
@pytest.mark.parametrize("name", study.EVERY)
def test_estimators_are_repeatable_leave_out_what_does_not_change_and_tend_to_the_exact_values(name):
    problem = superpixel_problem()
    group = Group(problem, torch.arange(2), Blocks()(problem.images), 12)
    case = dataclasses.replace(study.SIXTEEN, superpixels=Blocks())
    exact = study.gathered(ExactShapley(superpixels=Blocks())(problem, Rng(0, 0, "test")).values[:, 0, 0].flatten(1).double(), group)

    def error(budget: int, seed: int) -> float:
        return float((study.estimates(name, case, group, budget, seed) - exact).abs().max())

    few = study.estimates(name, case, group, 60, 3)
    assert torch.equal(study.estimates(name, case, group, 60, 3), few)
    assert not torch.equal(study.estimates(name, case, group, 60, 4), few)
    assert few[1, 0].abs() < 1e-2 * exact.abs().max() or name == "captum KernelShap"
    assert error(4000, 3) < 0.15 * float(exact.abs().max())
    assert error(4000, 3) < error(60, 3)


@dataclasses.dataclass(frozen=True)
class Blocks(Superpixels):
    """Four rows of three blocks of 2 x 2 pixels."""

    def count(self, height: int, width: int) -> int:
        return 12

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.arange(8)[None, :, None] // 2 * 3 + torch.arange(6) // 2
