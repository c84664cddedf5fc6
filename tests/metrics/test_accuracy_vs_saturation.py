import math
from dataclasses import replace

import pytest
import torch
from ranking_cases import AREA_FAULTS, RNG, conv_problem, mutants, pixel_orders, random_attributions, without_pixels
from torch import nn

from xaibench.metrics.accuracy_vs_saturation import AccuracyVsSaturation
from xaibench.problem import Attributions, Problem

DIRECTIONS = {"saturate": 1.0, "desaturate": 0.0}


def loop_scores(problem, attributions, steps, b, t):
    """Study G for one (image, target), with loops: values and curves as lists."""
    order, pixels, label = pixel_orders(attributions)[b][t], 36, problem.labels[b].item()
    curves, values = {}, {}
    counts = [round(s * pixels / steps) for s in range(steps + 1)]
    for direction, brightness in DIRECTIONS.items():
        for first, sequence in (("most", order), ("least", order[::-1])):
            for count in counts:
                image = without_pixels(problem.images[b], sequence[:count], brightness)
                with torch.inference_mode():
                    probabilities = problem.model(image[None]).softmax(dim=1)[0].tolist()
                right = float(probabilities.index(max(probabilities)) == label)
                found = {"accuracy": right, "probability": probabilities[label], "log_loss": -math.log(probabilities[label])}
                for name, number in found.items():
                    curves.setdefault(f"{direction}_{name}_{first}_first", []).append(number)
        for name, sign in (("accuracy", 1), ("probability", 1), ("log_loss", -1)):
            least, most = (curves[f"{direction}_{name}_{first}_first"] for first in ("least", "most"))
            gap = [a - b for a, b in zip(least, most, strict=True)]
            area = sum((gap[s] + gap[s + 1]) / 2 * (counts[s + 1] - counts[s]) / pixels for s in range(steps))
            values[direction if name == "accuracy" else f"{direction}_{name}"] = sign * area
    values["value"] = (values["saturate"] + values["desaturate"]) / 2
    return values, curves


def check_loops(problem, attributions, steps=5):
    scores = AccuracyVsSaturation(steps=steps)(problem, attributions, RNG)
    for b in range(len(problem.images)):
        for t in range(problem.targets.shape[1]):
            values, curves = loop_scores(problem, attributions, steps, b, t)
            assert set(scores.values) == {*values, "tied"}
            assert set(scores.curves) == set(curves)
            for name, expected in values.items():
                assert scores.values[name][b, t].item() == pytest.approx(expected, rel=1e-4, abs=1e-6), name
            for name, expected in curves.items():
                assert scores.curves[name][b, t].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6), name


def labeled_problem():
    """Half of the labels are the predicted classes, so that the accuracy falls along the curves and not only rises."""
    problem = conv_problem()
    predicted = problem.model(problem.images).argmax(dim=1)
    return replace(problem, labels=torch.where(torch.arange(4) % 2 == 0, predicted, problem.labels))


def test_scores_equal_loops_over_images_targets_directions_orders_and_steps():
    problem = labeled_problem()
    attributions = random_attributions(problem)
    check_loops(problem, attributions)
    curves = AccuracyVsSaturation(steps=5)(problem, attributions, RNG).curves
    assert all(0 < curve.mean() < 1 for name, curve in curves.items() if "accuracy" in name)


@pytest.mark.parametrize("fault", AREA_FAULTS)
def test_loops_reject_mutants(fault, monkeypatch):
    problem = labeled_problem()
    attributions = random_attributions(problem)
    mutants(monkeypatch)[fault]()
    with pytest.raises(AssertionError):
        check_loops(problem, attributions)


class SumOfPixels(nn.Module):
    """Two classes; the second wins when more than `half` pixels are bright."""

    def __init__(self, half):
        super().__init__()
        self.half = half

    def forward(self, images):
        return torch.stack([torch.zeros(len(images)), images.sum(dim=(1, 2, 3)) - self.half], dim=1)


def digit(label, bright):
    """4 x 4 pixels, the first `bright` of them 1; the classifier's borderline is at 6.5."""
    image = (torch.arange(16) < bright).float().reshape(1, 1, 4, 4)
    one = torch.tensor([label])
    return Problem(SumOfPixels(6.5), image, one[:, None], one, index=one, background=image)


def test_a_perfect_ranking_has_the_area_counted_by_hand():
    problem = digit(label=1, bright=10)
    perfect = Attributions(16.0 - torch.arange(16.0).reshape(1, 1, 1, 4, 4))
    scores = AccuracyVsSaturation(steps=16)(problem, perfect, RNG)
    # most relevant first: right while at most 3 of the 10 bright pixels are gone; least relevant first: the 6 dark ones go before
    assert scores.curves["desaturate_accuracy_most_first"].flatten().tolist() == [1.0] * 4 + [0.0] * 13
    assert scores.curves["desaturate_accuracy_least_first"].flatten().tolist() == [1.0] * 10 + [0.0] * 7
    assert scores.values["desaturate"].item() == pytest.approx(6 / 16)
    assert scores.values["saturate"].item() == 0.0
    assert scores.values["value"].item() == pytest.approx(3 / 16)
    assert scores.values["desaturate_probability"] > 0
    assert scores.values["desaturate_log_loss"] > 0
    upside_down = AccuracyVsSaturation(steps=16)(problem, Attributions(-perfect.values), RNG)
    assert all(torch.allclose(upside_down.values[name], -scores.values[name]) for name in scores.values if name != "tied")


def test_saturating_evidence_against_the_class_counts_as_much():
    problem = digit(label=0, bright=4)
    against = Attributions(torch.arange(16.0).reshape(1, 1, 1, 4, 4))  # the dark pixels are the evidence
    scores = AccuracyVsSaturation(steps=16)(problem, against, RNG)
    # most relevant first: right while at most 2 dark pixels are bright; least relevant first: the 4 bright ones go before
    assert scores.curves["saturate_accuracy_most_first"].flatten().tolist() == [1.0] * 3 + [0.0] * 14
    assert scores.curves["saturate_accuracy_least_first"].flatten().tolist() == [1.0] * 7 + [0.0] * 10
    assert scores.values["saturate"].item() == pytest.approx(4 / 16)
    assert scores.values["desaturate"].item() == 0.0


def test_the_true_class_is_scored_whichever_target_was_explained():
    problem = labeled_problem()
    attributions = Attributions(random_attributions(problem).values[:, :1].expand(4, 2, 3, 6, 6))
    scores = AccuracyVsSaturation(steps=4)(problem, attributions, RNG)
    assert (problem.targets[:, 0] != problem.targets[:, 1]).all()
    assert all(torch.equal(values[:, 0], values[:, 1]) for values in scores.values.values())


def test_a_tie_of_logits_goes_to_the_first_class():
    problem = digit(label=0, bright=10)
    problem.model.half = 10.0
    attributions = random_attributions(problem)
    first = AccuracyVsSaturation(steps=2)(problem, attributions, RNG).curves["desaturate_accuracy_most_first"]
    second = AccuracyVsSaturation(steps=2)(replace(problem, labels=torch.tensor([1])), attributions, RNG)
    assert first[0, 0, 0] == 1
    assert second.curves["desaturate_accuracy_most_first"][0, 0, 0] == 0


def test_one_nan_logit_on_the_way_is_not_a_right_or_wrong_answer():
    class Breaks(SumOfPixels):
        def forward(self, images):
            logits = super().forward(images)
            return torch.where(images.sum(dim=(1, 2, 3))[:, None] < 9, torch.nan, logits)

    problem = digit(label=1, bright=10)
    problem = replace(problem, model=Breaks(6.5))
    scores = AccuracyVsSaturation(steps=16)(problem, random_attributions(problem), RNG)
    assert scores.curves["desaturate_accuracy_least_first"][0, 0, -1].isnan()
    assert scores.values["desaturate"].isnan().all()
    assert scores.values["value"].isnan().all()
    assert not scores.values["saturate"].isnan().any()
