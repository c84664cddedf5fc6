"""What is planned from the sizes that a dataset declares, in the memory of one image."""

import pytest
import torch

from xaibench.budget import Budget
from xaibench.datasets.declared import Declared
from xaibench.datasets.digits import Digits
from xaibench.datasets.mnist import Mnist
from xaibench.datasets.mnist_grid import MnistGrid
from xaibench.datasets.xai_tris import XaiTris
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.kernel_shap import KernelShap
from xaibench.explaining import declared_passes
from xaibench.grid import Entry, Grid
from xaibench.metrics.consistency import Consistency
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.max_sensitivity import MaxSensitivity
from xaibench.models.conv16_conv32_gap import Conv16Conv32Gap
from xaibench.planning import blank, plan, size_of_test
from xaibench.selection import ExplainOn
from xaibench.store import Store
from xaibench.training import Trainer

SMALL = Declared(height=16, width=16, class_count=4, train_images=300, test_images=1100)


def grid(dataset, explainer, metric, on, **more) -> Grid:
    entries = {"datasets": dataset, "models": Conv16Conv32Gap(), "trainers": Trainer(), "explainers": explainer, "metrics": metric}
    named = {name: (Entry(name, component),) for name, component in entries.items()}
    return Grid(**named, explain_on=(Entry("explain_on", on),), seeds=(0,), **more)


def test_sizes_are_the_datasets_own_where_they_are_known():
    assert [size_of_test(dataset) for dataset in (Mnist(), MnistGrid(), SMALL, Digits())] == [10_000, 2_500, 1100, 540]
    assert [dataset.train_images for dataset in (Mnist(), Mnist(validation=10), MnistGrid(), Digits())] == [55_000, 59_990, 12_000, 1077]
    for dataset in (Digits(), Digits(test_share=0.2), XaiTris(images=45)):
        arrays = dataset.load()
        assert (dataset.train_images, size_of_test(dataset)) == (len(arrays.train.labels), len(arrays.test.labels))


def test_the_size_of_a_grid_is_its_own(real_data):
    dataset = MnistGrid(train_images=10, validation_images=10, test_images=3)
    assert size_of_test(dataset) == len(dataset.load().test.labels)


def test_a_blank_problem_takes_the_memory_of_one_image():
    problem = blank(Declared(), Conv16Conv32Gap(), ExplainOn(count=None))
    assert problem.images.shape == (50_000, 3, 224, 224)
    assert problem.images.untyped_storage().nbytes() == 4 * 3 * 224 * 224
    assert problem.training_data.images.shape[0] == 1_281_167
    assert problem.probabilities.untyped_storage().nbytes() == 4000
    assert blank(Digits(), Conv16Conv32Gap(), ExplainOn(count=5)).training_data.labels.shape == (1077,)


@pytest.mark.parametrize("explainer", [IntegratedGradients(), KernelShap()], ids=repr)
@pytest.mark.parametrize("metric", [Deletion(), MaxSensitivity(), Consistency()], ids=repr)
def test_blocks_that_are_alike_are_counted_once(explainer, metric, tmp_path):
    (item,) = plan(grid(SMALL, explainer, metric, ExplainOn(count=None)), Store(tmp_path))
    problem = blank(SMALL, Conv16Conv32Gap(), ExplainOn(count=None))
    assert len(problem.images) == 1100
    assert item.explaining == declared_passes(explainer, problem)
    (half,) = plan(grid(SMALL, explainer, metric, ExplainOn(count=550)), Store(tmp_path))
    if not metric.set_level:
        assert (half.scoring.forward * 2, half.scoring.backward * 2) == (item.scoring.forward, item.scoring.backward)


def test_a_budget_knows_the_number_of_images(tmp_path):
    given = grid(SMALL, IntegratedGradients(), Deletion(), ExplainOn(count=None), budget=Budget(scoring=20, images=100))
    (item,) = plan(given, Store(tmp_path))
    assert item.cell.score_on == ExplainOn(count=100)
    assert item.scoring.forward == 2900
    assert torch.equal(torch.tensor(item.explaining.backward), torch.tensor(1100 * 50))
