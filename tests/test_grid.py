"""Plan and run agree: the jobs that a command line becomes have just the cells that were planned; labels, checks and states."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hydra.types import RunMode

from xaibench.cli.compose import composed, of_job
from xaibench.cli.launch import overrides
from xaibench.cli.request import Request
from xaibench.component import ConfigurationError
from xaibench.configuration import conf_folder
from xaibench.datasets.digits import Digits
from xaibench.execution import missing, retry, run
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.random import Random
from xaibench.grid import Cell, Entry, Grid
from xaibench.jobs import batches
from xaibench.metrics.completeness_error import CompletenessError
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.models.linear import Linear
from xaibench.planning import check, plan
from xaibench.problem import Passes
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Store
from xaibench.training import Trainer

STUDIES = sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml"))
LINES = [
    ["explainer=integrated_gradients"],
    ["-m", "explainer=integrated_gradients", "explainer.steps=5,10", "explainer.output=logit,probability"],
    ["-m", "metric=deletion,insertion", "metric.steps=3,4", "metric.removal.value=0.5", "seed=0,1"],
    ["-m", "metric=glob(*curacy*)", "metric=deletion", "draw=range(0,3)"],
    ["-m", "explain_on.count=20,30", "explain_on.targets=label,all"],
    ["explain_on.indices=[3,1]", "explain_on.true_class=null"],
    ["-m", "trainer.epochs=1,2", "trainer=auto,cpu", "model=linear,mlp"],
    ["-m", "explainer=glob(*gr*,exclude=grad*)", "dataset=digits,mnist"],
    ["~explainer", "seed=0,1"],
    ["explainer=null", "seed=1"],
    ["metric=[deletion,sparseness]", "metric.pooling=max"],
]


def cells_of_jobs(request: Request, folder: Path, passes: int) -> dict[str, list[list[str]]]:
    """By phase: what each job has to do, composed as Hydra's launchers compose it."""
    (grid, settings), store = composed(request), Store(folder)
    master = request.loader.load_configuration("config", request.fixed(), run_mode=RunMode.MULTIRUN)
    found: dict[str, list[list[str]]] = {}
    for job in (job for batch in batches(grid, plan(grid, store), store, passes) for job in batch):
        config = request.loader.load_sweep_config(master, overrides(request, grid, settings, job))
        part, of_part = of_job(config, dict(config.hydra.runtime.choices))
        assert part == job.grid
        assert of_part.until == job.phase
        found.setdefault(job.phase, []).append(identities(part, store))
    return found


def identities(grid: Grid, store: Store) -> list[str]:
    """Names and fields of what there is to do: cells, or, without explainers, classifiers."""
    if not grid.explainers:
        return [f"{d.name} {d.component} {m.name} {m.component} {t.name} {t.component} {seed}" for d, m, t, seed in grid.classifiers()]
    return [f"{it.cell} {it.cell.trainer.name} {it.cell.explain_on.component} {it.key}" for it in plan(grid, store) if it.status == "to do"]


@pytest.mark.parametrize("line", LINES, ids=" ".join)
@pytest.mark.parametrize("passes", [1, 200_000])
def test_the_jobs_of_a_line_have_the_planned_cells(line, passes, tmp_path):
    check_jobs(line, tmp_path, passes)


def check_jobs(line: list[str], folder: Path, passes: int) -> None:
    request = Request(line)
    planned, jobs = identities(composed(request)[0], Store(folder)), cells_of_jobs(request, folder, passes)
    assert planned
    assert len(set(planned)) == len(planned)
    last = jobs["evaluate" if "evaluate" in jobs else "train"]
    assert sorted(key for job in last for key in job) == sorted(planned)
    assert all(last)


@pytest.mark.parametrize("name", STUDIES)
def test_the_jobs_of_a_study_have_the_planned_cells(name, tmp_path):
    seeds = composed(Request([f"experiment={name}"]))[0].seeds
    assert seeds
    check_jobs([f"experiment={name}", f"seed={seeds[-1]}"], tmp_path, 10**12)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_a_title_a_folder_of_its_own_and_a_grid(name):
    grid, settings = composed(Request([f"experiment={name}"]))
    assert settings.study == name
    assert settings.title != name
    assert list(grid.cells()) if grid.explainers else list(grid.classifiers())
    # Every network takes the images of some dataset of the study.
    assert {model for _, model, _, _ in grid.classifiers()} == set(grid.models)


def test_the_users_overrides_replace_those_of_the_study():
    grid = composed(Request(["experiment=quickstart", "explainer=random", "seed=7", "explain_on.count=3"]))[0]
    assert [entry.name for entry in grid.explainers] == ["random"]
    assert grid.seeds == (7,)
    assert grid.explain_on[0].component.count == 3


GRADIENT, SPARSENESS, LINEAR = (Gradient(),), (Sparseness(),), (Linear(),)


def small(explainers=GRADIENT, metrics=SPARSENESS, models=LINEAR, **more) -> Grid:
    names = {Conv10Conv20Dense50: "conv10_conv20_dense50"}
    fields = {"trainers": (Entry("auto", Trainer(epochs=1)),), "explain_on": (Entry("explain_on", ExplainOn(count=4)),), "seeds": (0,)}
    return Grid(
        datasets=(Entry("digits", Digits()),),
        models=tuple(Entry(names.get(type(item), type(item).__name__.lower()), item) for item in models),
        explainers=tuple(Entry(type(item).__name__.lower(), item) for item in explainers),
        metrics=tuple(Entry(type(item).__name__.lower(), item) for item in metrics),
        **(fields | more),
    )


def test_a_grid_is_the_product_of_its_axes_with_each_explanation_together():
    grid = small((Gradient(), Random()), (Sparseness(), Deletion()), seeds=(0, 1), draws=(0, 1, 2))
    cells = list(grid.cells())
    assert len(cells) == len(set(cells)) == 2 * 2 * 2 * 3
    explanations = [cell.explaining for cell in cells]
    assert [one == other for one, other in zip(explanations[::2], explanations[1::2], strict=True)] == [True] * 12
    assert len({cell.key for cell in cells}) == 24
    assert str(cells[-1]) == "digits linear seed 1 random draw 2 deletion"
    assert isinstance(cells[0], Cell)


def test_the_plan_skips_with_a_reason_and_counts_passes(tmp_path):
    grid = small((GradCam(), Gradient(), Random()), (Deletion(steps=3), CompletenessError()), (Linear(), Conv10Conv20Dense50()))
    found = {(item.cell.model.name, item.cell.explainer.name, item.cell.metric.name): item for item in plan(grid, Store(tmp_path))}
    assert found["linear", "gradcam", "deletion"].reason == "the model has no 2D convolution"
    assert "16x16" in found["conv10_conv20_dense50", "gradient", "deletion"].reason
    assert found["linear", "gradient", "completenesserror"].status == "skipped"
    assert all((item.status == "skipped") == bool(item.reason) for item in found.values())
    assert found["linear", "gradient", "deletion"].passes == Passes(4 + 4 * 4, 4)
    assert found["linear", "random", "deletion"].passes == Passes(4 * 4)
    assert not list(tmp_path.iterdir())


def test_the_check_refuses_what_cannot_work():
    check(small())
    with pytest.raises(ConfigurationError, match="below 540"):
        check(small(explain_on=(Entry("explain_on", ExplainOn(indices=(1, 540))),)))
    with pytest.raises(ConfigurationError, match="model=conv10_conv20_dense50 with dataset=digits"):
        check(small(models=(Conv10Conv20Dense50(),)))
    check(small(models=(Linear(), Conv10Conv20Dense50())))


@dataclasses.dataclass(frozen=True)
class Short(Linear):
    """Gives a class less than asked for."""

    def build(self, image_shape, classes):
        return super().build(image_shape, classes - 1)


def test_the_check_refuses_logits_of_another_shape():
    with pytest.raises(ConfigurationError, match=r"model=short: expected finite logits of 10 classes, got shape \(2, 9\)"):
        check(small(models=(Short(),)))


@dataclasses.dataclass(frozen=True)
class Falling(Gradient):
    """Fails, and counts how often."""

    def __call__(self, problem, rng):
        CALLS.append(1)
        raise RuntimeError("fell")


CALLS: list[int] = []


def test_a_failing_explanation_is_tried_once_for_all_its_metrics(tmp_path):
    CALLS.clear()
    grid, stages = small((Falling(), Random()), (Sparseness(), Deletion(steps=3))), Stages(Store(tmp_path / "store"), Runtime("cpu"))
    for _ in range(2):
        run(grid, stages)
        assert CALLS == [1]
        assert [item.status for item in plan(grid, stages.store)] == ["failed", "failed", "cached", "cached"]
    assert len(missing(grid, plan(grid, stages.store), stages.store)) == 2  # the classifier is there, and its key is for a failure
    retry(grid, plan(grid, stages.store), stages.store)
    assert [item.status for item in plan(grid, stages.store)] == ["to do", "to do", "cached", "cached"]
    run(grid, stages)
    assert CALLS == [1, 1]


def test_a_run_is_the_same_in_any_order_and_beside_any_other_cells(tmp_path):
    metrics = (Sparseness(), Deletion(steps=3))
    whole, alone = Stages(Store(tmp_path / "whole"), Runtime("cpu")), Stages(Store(tmp_path / "alone"), Runtime("cpu"))
    grid = small((Gradient(), Random()), metrics)
    run(grid, whole)
    run(small((Random(),), metrics[1:]), alone)
    key = list(grid.cells())[-1].key
    one, other = (stages.store.read("evaluate", key).tensors for stages in (whole, alone))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
