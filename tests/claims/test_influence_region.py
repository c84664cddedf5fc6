"""Areas that raise a class: by hand, over seeds, and with pixels that cannot be saturated."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xaibench.claims.influence_region import InfluenceRegion
from xaibench.component import ConfigurationError

CLASSES = ("a", "b", "c")
NOISE = np.random.default_rng(0).normal(0, 0.01, (500, 3, 4, 4)).astype(np.float32)


def tensors(inside, moved=None):
    """Influence of `inside` on class b in the top left quarter, of 0 elsewhere, with replicates around it."""
    contrast = torch.zeros(3, 4, 4, dtype=torch.float64)
    contrast[1, :2, :2] = inside
    flags = torch.ones(2, 4, 4, dtype=torch.bool) if moved is None else moved
    replicates = (contrast + torch.from_numpy(NOISE)).to(torch.float32)
    return {"probability_contrast": contrast, "probability_contrasts": replicates, "moved": flags}


def results(*members, dataset="mnist", influence="quantiles"):
    facts = {"dataset": dataset, "model": "m", "trainer": "t", "influence": influence}
    training = SimpleNamespace(dataset=SimpleNamespace(classes=CLASSES))
    found = [(facts | {"seed": seed}, training, SimpleNamespace(tensors=one)) for seed, one in enumerate(members)]
    return SimpleNamespace(influences=lambda: iter(found), prediction=lambda training: (np.zeros(77),) * 3)


def claim(**fields):
    return InfluenceRegion(**({"topic": "t", "influence": "quantiles", "classes": (1,), "rectangle": (0, 2, 0, 2)} | fields))


def test_the_excess_of_an_area_with_the_interval_of_the_bootstrap():
    (row,) = claim()(results(tensors(0.3))).to_dict("records")
    assert row["value"] == pytest.approx(0.3)
    half = 1.96 * 0.01 * np.sqrt(1 / 4 + 1 / 12)
    assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.15)
    assert (row["holds"], row["images"], row["seeds"], row["note"]) == (True, 77, 1, "this classifier only")
    (other,) = claim(classes=(0,))(results(tensors(0.3))).to_dict("records")
    assert other["holds"] is None
    (negative,) = claim()(results(tensors(-0.3))).to_dict("records")
    assert negative["holds"] is False


def test_seeds_that_differ_widen_the_interval_and_seeds_that_do_not_leave_it():
    one, three, apart = (
        claim()(results(*(tensors(value) for value in values))).to_dict("records")[0] for values in ((0.3,), (0.3,) * 3, (0.1, 0.3, 0.5))
    )
    assert three["high"] - three["low"] == pytest.approx(one["high"] - one["low"])
    assert apart["value"] == pytest.approx(0.3)
    assert apart["high"] - apart["value"] == pytest.approx(4.3027 * 0.2 / np.sqrt(3), rel=0.01)


def test_pixels_that_cannot_be_saturated_or_reached_in_a_replicate_do_not_count():
    moved = torch.ones(2, 4, 4, dtype=torch.bool)
    moved[1, 0, 0] = False
    given = tensors(0.3, moved)
    given["probability_contrast"][1, 0, 0] = 50
    given["probability_contrast"][1, 1, 1] = -50
    given["probability_contrasts"][3, :, 1, 1] = torch.nan
    (row,) = claim()(results(given)).to_dict("records")
    assert row["value"] == pytest.approx(0.3)


def test_other_data_sets_and_analyses_are_left_out():
    given = results(tensors(0.3))
    assert list(claim(datasets=("fashion_mnist",))(given)["claim"]) == ["nothing to check it on"]
    assert list(claim(influence="other")(given)["claim"]) == ["nothing to check it on"]


@pytest.mark.parametrize("rectangle", [(2, 2, 0, 1), (0, 1, 3, 2)])
def test_an_empty_area_is_refused(rectangle):
    with pytest.raises(ConfigurationError, match=r"InfluenceRegion\.rectangle"):
        claim(rectangle=rectangle)
