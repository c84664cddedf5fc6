"""The analysis of a data set: what it holds, for which pixels, and in the stages, from the command line as well."""

import dataclasses

import numpy as np
import pytest
import torch

from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.identity import influence_key
from xaibench.influence.analysis import Influence
from xaibench.influence.reads import performance
from xaibench.influence.reweighting import reweighted
from xaibench.influence.targets import RangeTargets
from xaibench.models.linear import Linear
from xaibench.problem import Training
from xaibench.stages import Runtime, Stages, arrays_of
from xaibench.store import Store
from xaibench.superpixels import Slic, Squares
from xaibench.training import Trainer

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(50, 1, 4, 5, generator=GENERATOR)
PROBABILITIES = torch.rand(50, 3, generator=GENERATOR).softmax(1)
LABELS = torch.randint(0, 3, (50,), generator=GENERATOR)
CLASSES = ("a", "b", "c")


def test_every_number_stands_where_its_pixel_is():
    found = Influence(taus=(-1.0, 0.5, 1.0), resamples=20)(IMAGES, PROBABILITIES, LABELS, CLASSES, seed=3)
    read = performance(PROBABILITIES.numpy(), LABELS.numpy(), CLASSES)
    values = np.column_stack([PROBABILITIES.numpy(), read.values])
    per = np.column_stack([np.ones((50, 3)), read.per])
    for row in range(4):
        for column in range(5):
            one = reweighted(IMAGES[:, 0, row, column, None].numpy(), values, (-1.0, 0.5, 1.0), per=per, resamples=20, seed=3)
            for end, means in (("", one.means), ("_low", one.means_low), ("_high", one.means_high)):
                assert np.allclose(found[f"probability{end}"][:, :, row, column], means[0, :, :3])
                assert np.allclose(found[f"performance{end}"][:, :, row, column], means[0, :, 3:])
            for end, contrast in (("", one.contrast), ("_low", one.contrast_low), ("_high", one.contrast_high)):
                assert np.allclose(found[f"probability_contrast{end}"][:, row, column], contrast[0, :3])
                assert np.allclose(found[f"performance_contrast{end}"][:, row, column], contrast[0, 3:])
            for name in ("targets", "multiplier", "effective", "divergence", "moved", "boundary", "residual", "unreachable"):
                assert np.allclose(found[name][:, row, column], getattr(one, name)[0]), name
    assert np.allclose(found["mean_probability"], PROBABILITIES.mean(0))
    assert found["mean_performance"][0] == (PROBABILITIES.argmax(1) == LABELS).double().mean()
    assert np.allclose(found["probability"].sum(1), 1)


def test_regions_are_moved_by_their_mean_and_channels_by_theirs():
    method = Influence(superpixels=Squares(2), resamples=0)
    color = torch.rand(30, 3, 4, 6, generator=GENERATOR)
    found = method(color, PROBABILITIES[:30], LABELS[:30], CLASSES)
    assert "probability_low" not in found
    region = color[:, :, :2, 3:].double().mean((1, 2, 3))
    alone = reweighted(region[:, None].numpy(), PROBABILITIES[:30].double().numpy())
    assert np.allclose(found["probability"][:, :, 1, 4], alone.means[0], atol=1e-6)
    assert (found["targets"][:, :2, 3:] == found["targets"][:, :1, 3:4]).all()


def test_the_recall_of_a_class_without_images_is_nan():
    found = Influence(resamples=0)(IMAGES, PROBABILITIES, LABELS.clamp(max=1), CLASSES)
    assert found["mean_performance"][-1].isnan()
    assert found["performance"][:, -1].isnan().all()
    assert found["performance"][:, :-1].isfinite().all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"taus": ()}, "at least one"),
        ({"taus": (1.0, -1.0)}, "ascending"),
        ({"taus": (-2.0,)}, r"Influence\.taus"),
        ({"superpixels": Slic()}, "regions that all images share"),
        ({"resamples": -1}, r"Influence\.resamples"),
        ({"level": 1.0}, r"Influence\.level"),
    ],
)
def test_fields_are_checked(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        Influence(**fields)


@pytest.mark.parametrize(
    ("images", "probabilities", "labels", "message"),
    [
        (IMAGES[:40], PROBABILITIES, LABELS, "features of shape"),
        (IMAGES, PROBABILITIES[:40], LABELS, r"labels of shape \(50,\): expected \(40,\)"),
        (IMAGES.clone().index_fill(0, torch.tensor([3]), torch.nan), PROBABILITIES, LABELS, "features: expected finite numbers"),
        (IMAGES, PROBABILITIES * 2, LABELS, "sum of 1; 50 rows are not"),
    ],
)
def test_bad_input_is_told(images, probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        Influence(resamples=0)(images, probabilities, labels, CLASSES)


def test_constant_pixels_have_no_influence_and_are_flagged():
    images = IMAGES.clone()
    images[:, 0, 0, 0] = 0.25
    found = Influence(resamples=5)(images, PROBABILITIES, LABELS, CLASSES)
    assert not found["moved"][:, 0, 0].any()
    assert np.allclose(found["probability"][1, :, 0, 0] - found["probability"][0, :, 0, 0], 0)
    assert found["moved"][:, 1:].all()


def test_the_stage_stores_it_by_predictions_and_settings(tmp_path):
    training, stages = Training(Digits(), Linear(), Trainer(epochs=2), 0), Stages(Store(tmp_path), Runtime("cpu"))
    method = Influence(resamples=3)
    found = stages.influence(training, method)
    test, logits = arrays_of(Digits()).test, stages.predict(training).tensors["logits"]
    expected = method(test.images, logits.softmax(1), test.labels, Digits().classes, seed=0)
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(found.tensors[name].nan_to_num(-1), value.nan_to_num(-1)) for name, value in expected.items())
    keys = {influence_key(training, method)[0]}
    others = [dataclasses.replace(method, resamples=4), dataclasses.replace(method, targets=RangeTargets())]
    keys |= {influence_key(training, other)[0] for other in others}
    keys |= {influence_key(dataclasses.replace(training, seed=1), method)[0]}
    assert len(keys) == 4
    assert stages.store.keys("influence") == [influence_key(training, method)[0]]
