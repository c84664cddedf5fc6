from __future__ import annotations

import pytest
import torch

from xaibench.component import ConfigurationError
from xaibench.problem import Arrays, Split
from xaibench.selection import ExplainOn, background

GOLDEN_ROWS = [44, 71, 111, 120, 139, 270]
GOLDEN_BACKGROUND = [37, 44, 675, 775, 947]
SIZE, CLASSES = 300, 5
_GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(CLASSES, (SIZE,), generator=_GENERATOR)
WRONG = torch.rand(2, SIZE, generator=_GENERATOR) < 0.15
PREDICTED, OTHERS = (torch.where(wrong, (LABELS + 1) % CLASSES, LABELS) for wrong in WRONG)


def rows(seed: int = 0, predicted: torch.Tensor = PREDICTED, **fields) -> torch.Tensor:
    return ExplainOn(**fields).rows(LABELS, predicted, seed)


def test_the_random_order_is_the_same_for_every_model_and_other_for_another_subset_seed():
    first = rows(count=40)
    assert torch.equal(rows(count=40, predicted=OTHERS), first)
    assert not torch.equal(rows(seed=1, count=40), first)
    assert len(first.unique()) == 40
    assert torch.equal(first.sort().values, first)
    assert set(rows(count=20).tolist()) < set(first.tolist())  # more images are these and more
    assert not torch.equal(first, torch.arange(40))


def test_first_takes_them_as_they_stand_and_null_all():
    assert torch.equal(rows(count=40, order="first"), torch.arange(40))
    assert torch.equal(rows(count=None), torch.arange(SIZE))
    assert torch.equal(rows(count=1000), torch.arange(SIZE))


def test_indices_are_taken_as_they_are():
    assert rows(indices=[7, 3, 299, 3], count=2).tolist() == [3, 7, 299]
    assert rows(indices=[0]).dtype == torch.int64


@pytest.mark.parametrize("indices", [[300], [3, 1000], []])
def test_indices_outside_the_test_set_are_refused(indices):
    with pytest.raises(ConfigurationError, match=r"explain_on\.indices=\(.*\): expected positions below 300"):
        rows(indices=indices)


def test_per_class_takes_the_first_in_order_of_each_class():
    found = rows(count=None, per_class=4)
    assert torch.bincount(LABELS[found], minlength=CLASSES).tolist() == [4] * CLASSES
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(0)).tolist()
    expected = [[row for row in order if LABELS[row] == k][:4] for k in range(CLASSES)]
    assert found.tolist() == sorted(row for rows_of_class in expected for row in rows_of_class)
    assert len(rows(count=7, per_class=4)) == 7


def test_classes_and_correctness_are_conditions():
    assert rows(count=None, true_class=[1, 3]).tolist() == [i for i in range(SIZE) if LABELS[i] in (1, 3)]
    assert rows(count=None, predicted_class=[2]).tolist() == [i for i in range(SIZE) if PREDICTED[i] == 2]
    assert rows(count=None, correct=True).tolist() == [i for i in range(SIZE) if PREDICTED[i] == LABELS[i]]
    assert rows(count=None, correct=False).tolist() == [i for i in range(SIZE) if PREDICTED[i] != LABELS[i]]
    together = rows(count=None, correct=False, true_class=[1], predicted_class=[2, 4])
    assert together.tolist() == [i for i in range(SIZE) if PREDICTED[i] == 2 and LABELS[i] == 1]


def test_count_holds_after_all_conditions():
    found = rows(count=15, correct=False)
    assert len(found) == 15
    assert (PREDICTED[found] != LABELS[found]).all()


def test_images_that_two_models_share_are_those_both_meet_the_condition_for():
    mine, theirs = (set(rows(count=None, correct=True, predicted=predicted).tolist()) for predicted in (PREDICTED, OTHERS))
    assert mine & theirs == {i for i in range(SIZE) if PREDICTED[i] == LABELS[i] == OTHERS[i]}
    # with a limit both walk along the same order, so that little is lost: independent choices would share 8 or 9
    mine, theirs = (set(rows(count=50, correct=True, predicted=predicted).tolist()) for predicted in (PREDICTED, OTHERS))
    assert len(mine & theirs) > 35


@pytest.mark.parametrize("fields", [{"true_class": [9]}, {"true_class": [9], "per_class": 2}, {"predicted_class": [9], "count": None}])
def test_conditions_that_no_image_meets_are_refused(fields):
    with pytest.raises(ConfigurationError, match="expected conditions that at least one test image meets") as caught:
        rows(**fields)
    assert "\n" not in str(caught.value)


LOGITS = torch.tensor([[0.0, 3, 2, -1, 1], [-5, -4, -9, -3, -2], [7, 0, 0, 7, -1]])
"""Predicted: 1, 4 and, the first of equals, 0."""

TARGETS = [
    ("predicted", [[1], [4], [0]]),
    ("label", [[2], [4], [3]]),
    ("second", [[2], [3], [3]]),
    ("all", [[0, 1, 2, 3, 4]] * 3),
    ("others", [[0, 2, 3, 4], [0, 1, 2, 3], [1, 2, 3, 4]]),
    ([3, 0], [[3, 0]] * 3),
]


def check_targets(classes, targets, expected):
    found = classes(ExplainOn(targets=targets), torch.tensor([2, 4, 3]), LOGITS)
    assert found.tolist() == expected
    assert found.dtype == torch.int64


@pytest.mark.parametrize(("targets", "expected"), TARGETS)
def test_targets(targets, expected):
    check_targets(ExplainOn.classes, targets, expected)


@pytest.mark.parametrize(
    ("targets", "wrong"),
    [
        ("second", lambda on, labels, logits: logits.scatter(1, logits.argmax(1)[:, None], 0.0).argmax(1, keepdim=True)),
        ("second", lambda on, labels, logits: logits.kthvalue(2).indices[:, None]),
        ("second", lambda on, labels, logits: logits.argmax(1, keepdim=True)),
        ("others", lambda on, labels, logits: torch.arange(5).repeat(3, 1)[:, 1:]),
        ("others", lambda on, labels, logits: torch.stack([torch.arange(5)[torch.arange(5) != label] for label in labels])),
        ("others", lambda on, labels, logits: logits.argsort(dim=1, descending=True)[:, 1:]),
    ],
)
def test_wrong_targets_are_noticed(targets, wrong):
    with pytest.raises(AssertionError):
        check_targets(wrong, targets, dict(TARGETS[:-1])[targets])


@pytest.mark.parametrize("targets", ["second", "others"])
def test_the_predicted_class_is_never_asked_for_by_these(targets):
    logits = torch.randn(200, 7, generator=torch.Generator().manual_seed(0)).mul(2).round()  # with ties
    found = ExplainOn(targets=targets).classes(torch.zeros(200, dtype=torch.int64), logits)
    assert (found != logits.argmax(1)[:, None]).all()
    assert all(len(row.unique()) == found.shape[1] == (1 if targets == "second" else 6) for row in found)


@pytest.mark.parametrize("targets", [[5], [0, 7], []])
def test_targets_that_are_no_classes_are_refused(targets):
    with pytest.raises(ConfigurationError, match=r"explain_on\.targets=\(.*\): expected classes below 5"):
        ExplainOn(targets=targets).classes(LABELS, torch.zeros(len(LABELS), CLASSES))


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 0},
        {"indices": [-1]},
        {"per_class": 0},
        {"order": "last"},
        {"true_class": 3},
        {"predicted_class": [-1]},
        {"correct": "yes"},
        {"targets": "mine"},
        {"background": 0},
    ],
)
def test_every_field_is_checked(fields):
    (name,) = fields
    with pytest.raises(ConfigurationError, match=rf"ExplainOn\.{name}=.*: expected"):
        ExplainOn(**fields)


def test_the_background_is_fixed_by_the_subset_seed_and_is_of_training_images():
    train = Split(torch.arange(90.0)[:, None, None, None], torch.zeros(90, dtype=torch.int64))
    arrays = Arrays(train, Split(-train.images, train.labels), Split(-train.images, train.labels))
    found = background(arrays, ExplainOn(background=30), 0)
    assert found.shape == (30, 1, 1, 1)
    assert torch.equal(background(arrays, ExplainOn(background=30, count=3, targets="all"), 0), found)
    assert not torch.equal(background(arrays, ExplainOn(background=30), 1), found)
    values = found.flatten().tolist()
    assert values == sorted(set(values))
    assert min(values) >= 0
    assert values != list(range(30))


def test_golden_choice():
    """Part of every explanation's key: if it changes on purpose, raise `selection.VERSION`."""
    assert rows(count=6).tolist() == GOLDEN_ROWS
    assert ExplainOn(background=5).background_rows(1000, 0).tolist() == GOLDEN_BACKGROUND
