"""Claims about classifiers, on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from claim_cases import Classifiers
from torch import nn

from xaibench.claims.accuracy import Accuracy
from xaibench.claims.class_report import ClassReport
from xaibench.claims.errors_among import ErrorsAmong
from xaibench.claims.sum_of_softmax import largest
from xaibench.component import ConfigurationError

LABELS = [0] * 4 + [1] * 4 + [2] * 2
FIRST = [0, 0, 0, 1, 1, 1, 0, 2, 2, 2]  # errors: 0 as 1, 1 as 0, 1 as 2
SECOND = [0, 0, 0, 0, 1, 1, 1, 2, 2, 0]  # errors: 1 as 2, 2 as 0


def test_accuracy_is_the_mean_over_images_and_seeds_and_must_reach_the_reference():
    found = Accuracy(reference=0.75)(Classifiers(LABELS, FIRST, SECOND)).iloc[0]
    assert found["value"] == pytest.approx(0.75)
    assert (found["expected"], found["holds"], found["images"], found["seeds"]) == (">= 0.75", None, 10, 2)
    perfect = Classifiers(LABELS, LABELS, LABELS)
    assert Accuracy(reference=1.0)(perfect)["holds"].tolist() == [True]
    assert Accuracy(reference=0.99)(Classifiers(LABELS, [0] * 10, [0] * 10))["holds"].tolist() == [False]


def test_share_of_errors_is_pooled_over_seeds():
    found = ErrorsAmong(named=[1])(Classifiers(LABELS, FIRST, SECOND))
    assert found["value"].tolist() == pytest.approx([3 / 5, 0])  # true class 1: three of five errors; none within class 1 alone
    within = ErrorsAmong(named=[0, 1])(Classifiers(LABELS, FIRST, SECOND))
    assert within["value"].tolist() == pytest.approx([4 / 5, 2 / 5])
    assert within["expected"].tolist() == ["> 0.5", ""]


def test_interval_of_the_share_of_errors_covers_it():
    rng, covered = np.random.default_rng(0), 0
    labels = np.repeat([0, 1], 150)
    for _ in range(200):  # errors of class 1 are twice as frequent: true share 2/3
        predicted = [np.where(rng.uniform(size=300) < np.where(labels == 1, 0.2, 0.1), 2, labels) for _ in range(3)]
        found = ErrorsAmong(named=[1], more_than=0.0)(Classifiers(labels, *predicted)).iloc[0]
        covered += found["low"] <= 2 / 3 <= found["high"]
    assert 0.9 <= covered / 200 <= 0.995


def test_share_of_no_errors_is_undefined():
    found = ErrorsAmong(named=[1])(Classifiers(LABELS, LABELS, LABELS))
    assert found["value"].isna().all()
    assert found["holds"].tolist() == [None, None]


def test_class_report_beside_the_reference():
    # Class 1: first seed precision 2/3, recall 1/2, F1 4/7; second 1, 3/4, 6/7.
    found = ClassReport(reference=[["dog", 0.83, 0.63, 0.71]])(Classifiers(LABELS, FIRST, SECOND))
    assert found["claim"].tolist() == ["dog: precision", "dog: recall", "dog: f1"]
    assert found["value"].tolist() == pytest.approx([5 / 6, 5 / 8, 5 / 7])
    # Prediction interval of two values: half-width t(1) |a - b| / sqrt(2) sqrt(1 + 1/2).
    half = 12.7062 * (1 / 3) / np.sqrt(2) * np.sqrt(1.5)
    assert found["value"].iloc[0] + half > 1
    assert (found["low"].iloc[0], found["high"].iloc[0]) == (0, 1)  # cut
    assert found["holds"].tolist() == [None] * 3
    narrow = Classifiers(LABELS * 20, FIRST * 20, [*FIRST * 19, *SECOND])
    one = ClassReport(reference=[["dog", 0.67, 0.5, 0.57]])(narrow).iloc[1]  # recall 40/80 and 41/80
    assert one["high"] - one["value"] == pytest.approx(12.7062 / 80 / np.sqrt(2) * np.sqrt(1.5), rel=1e-4)
    assert (found["expected"].iloc[1], found["images"].iloc[1], found["seeds"].iloc[1]) == ("0.63", 4, 2)


def test_class_report_holds_up_to_the_rounding_of_the_reference():
    same = Classifiers(LABELS, FIRST, FIRST)  # no spread: precision of class 1 is 2/3 exactly
    for reference, verdict in ((0.67, None), (0.66, False), (0.68, False)):
        assert ClassReport(reference=[["dog", reference, 0.5, 0.57]], margin=1e-3)(same)["holds"].tolist()[:2] == [verdict, True]
        assert ClassReport(reference=[["dog", reference, 0.5, 0.57]], margin=0.02)(same)["holds"].tolist() == [True] * 3
    assert ClassReport(reference=[["dog", 0.1, 0.5, 0.57]])(Classifiers(LABELS, FIRST))["holds"].tolist() == [None] * 3


def test_class_report_names_an_unknown_class():
    with pytest.raises(ConfigurationError, match="'bird': expected one of cat, dog, cow, macro avg"):
        ClassReport(reference=[["bird", 0.5, 0.5, 0.5]])(Classifiers(LABELS, FIRST))


def test_gradients_of_softmax_of_a_linear_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).requires_grad_(False)
    images = torch.rand(150, 1, 2, 2)
    weight, probabilities = network[1].weight, network(images).softmax(1)
    chosen = probabilities.argmax(1)
    of_probability = probabilities.gather(1, chosen[:, None]) * (weight[chosen] - probabilities @ weight)
    single, double, probability, logit = largest(network, images)
    assert probability == pytest.approx(of_probability.abs().max().item(), rel=1e-5)
    assert logit == pytest.approx(weight[chosen].abs().max().item())
    assert single < 1e-6
    assert 0 < double < 1e-14
    assert network[1].weight.dtype == torch.float32
