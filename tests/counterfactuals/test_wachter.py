"""Wachter's counterfactuals against closed forms on linear classifiers, and what must not change them."""

from dataclasses import replace

import pytest
import torch
from counterfactual_cases import RNG, constant_problem, conv_pair_problem, counted, linear_pair_problem, pairs_of, weights_of
from scipy.optimize import brentq
from torch import nn

from xaibench.counterfactuals import descent, wachter
from xaibench.counterfactuals.wachter import Wachter


@pytest.fixture
def precise(monkeypatch):
    """Rounds that settle, and a bisection that goes on, until little can change."""
    monkeypatch.setattr(descent, "SETTLED", 1e-4)
    monkeypatch.setattr(descent, "CLOSE", 1.01)
    monkeypatch.setattr(descent, "STRAYED", 100)


def originals(problem):
    return problem.images.flatten(1).double()


def sigmoid(value):
    return float(torch.tensor(value, dtype=torch.float64).sigmoid())


# --- squared L2, at a fixed weight: x + a w, where a is a root of p (1 - p)^2 = weight a


def along_the_weights(problem, weight):
    """The minimum beyond the boundary: there the derivative of (p - 1)^2 + weight a^2 |w|^2 in a vanishes."""
    w, b = weights_of(problem)
    found = []
    for x in originals(problem):
        margin, norm = float(x @ w + b), float(w @ w)

        def derivative(a, margin=margin, norm=norm):
            p = sigmoid(margin + a * norm)
            return weight * a - p * (1 - p) ** 2

        found.append(x + brentq(derivative, -margin / norm, 100 / norm) * w)
    return torch.stack(found)


def check_fixed_weight(**fields):
    problem = linear_pair_problem()
    method = Wachter(**{"distance": "l2", "weight": 0.5, "bisections": 0, "iterations": 300, **fields})
    found = method(problem, RNG)
    assert found.found.all()
    assert torch.allclose(found.images[:, 0].flatten(1).double(), along_the_weights(problem, 0.5), atol=3e-4)


def test_squared_l2_at_a_fixed_weight_moves_along_w_to_the_root_of_a_scalar_equation(precise):
    check_fixed_weight()


def shrink(factor):
    """Mutant: the proximal operator with another weight."""
    shrunk = wachter.Pixels.shrunk
    return wachter.Pixels, "shrunk", lambda self, variables, origin, amount: shrunk(self, variables, origin, factor * amount)


FAULTS = {
    "half the weight": shrink(0.5),
    "twice the weight": shrink(2.0),
    "a box too small": (wachter.Pixels, "high", 0.55),
    "a round that ends too early": (descent, "SETTLED", 0.3),
}
FIELDS = [{"distance": "l1"}, {"output": "logit"}, {"output": "log_probability"}, {"aim": 0.9}, {"weight": 0.6}, {"bisections": 8}]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_scalar_equation_rejects_mutants(fault, precise, monkeypatch):
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises(AssertionError):
        check_fixed_weight()


@pytest.mark.parametrize("fields", FIELDS)
def test_the_scalar_equation_rejects_other_objectives(fields, precise):
    with pytest.raises(AssertionError):
        check_fixed_weight(**fields)


# --- L1 at a fixed target logit: pixels are filled in decreasing |w|, the last one partly


def filled(x, w, gap, price):
    """Fill pixels of x in decreasing |w| while 2 gap |w| > price, where `gap` is what is missing; up to where the two are equal."""
    x = x.clone()
    for pixel in w.abs().argsort(descending=True).tolist():
        size, room = abs(float(w[pixel])), float(1 - x[pixel] if w[pixel] > 0 else x[pixel])
        change = min((gap - price / (2 * size)) / size, room)
        if change <= 0:
            break
        x[pixel] += change * torch.sign(w[pixel])
        gap -= change * size
    return x


def check_filling(**fields):
    problem = linear_pair_problem(batch=3)
    layer, aim = problem.model[1], 6.0
    rank = layer.weight[1].abs().argsort(descending=True).argsort()
    layer.weight[1] = layer.weight[1].sign() * 2 * 0.9**rank  # no two are nearly the same: those would take long to change places
    w, b = layer.weight[1].double(), float(layer.bias[1])
    method = Wachter(**{"output": "logit", "aim": aim, "weight": 0.2, "bisections": 0, "iterations": 400, **fields})
    found = method(problem, RNG)
    expected = torch.stack([filled(x, w, aim - float(x @ w) - b, 0.2) for x in originals(problem)])
    images = found.images[:, 0].flatten(1)
    assert found.found.all()
    assert torch.allclose(images.double(), expected, atol=2e-3)
    same = images == problem.images.flatten(1)
    partly = ~same & (images > 0) & (images < 1)
    assert torch.equal(same, expected == originals(problem))  # not nearly as they were, but exactly
    assert (partly.sum(1) <= 1).all()
    assert (~same).sum(1).min() >= 5


def test_l1_at_a_fixed_logit_fills_pixels_in_decreasing_weight_the_last_one_partly(precise):
    check_filling()


@pytest.mark.parametrize("fault", FAULTS)
def test_filling_rejects_mutants(fault, precise, monkeypatch):
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises(AssertionError):
        check_filling()


@pytest.mark.parametrize("fields", [{"distance": "l2"}, {"aim": 5.5}, {"weight": 0.5}, {"iterations": 10}])
def test_filling_rejects_other_objectives(fields, precise):
    with pytest.raises(AssertionError):
        check_filling(**fields)


# --- the largest weight at which the pair is found


def cheapest(x, w, gap):
    """The least L1 that raises w x by `gap` within the box: by pixel in decreasing |w|, each up to its room."""
    return float((filled(x, w, gap, 0.0) - x).abs().sum())


def check_boundary(distance, confidence=0.5, **fields):
    """With the largest feasible weight the pair lies where p is just what is asked for, as close as that can be."""
    problem = linear_pair_problem(batch=3)
    w, b = weights_of(problem)
    found = Wachter(**{"distance": distance, "confidence": confidence, "bisections": 20, "iterations": 200, **fields})(problem, RNG)
    changes = found.images[:, 0].flatten(1).double() - originals(problem)
    gaps = [float(torch.logit(torch.tensor(confidence)) - x @ w - b) for x in originals(problem)]
    assert found.found.all()
    for x, gap, change in zip(originals(problem), gaps, changes, strict=True):
        if distance == "l2":
            assert torch.allclose(change, gap / (w @ w) * w, rtol=0.01, atol=1e-3)
        else:
            assert cheapest(x, w, gap) * 0.9999 <= float(change.abs().sum()) <= 1.01 * cheapest(x, w, gap)
        assert float(change @ w) == pytest.approx(gap, rel=0.01)


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize(("confidence", "weight"), [(0.5, 0.1), (0.5, 100.0), (0.8, 1e-4)])
def test_bisection_tends_to_the_closest_point_of_the_boundary(distance, confidence, weight, precise):
    check_boundary(distance, confidence, weight=weight)


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("fields", [{"bisections": 0, "weight": 1e-3}, {"output": "logit", "aim": 30.0, "bisections": 0}])
def test_the_boundary_rejects_a_fixed_weight(distance, fields, precise):
    with pytest.raises(AssertionError):
        check_boundary(distance, **fields)


@pytest.mark.parametrize(("distance", "fault"), [("l1", (descent, "CLOSE", 1e9)), ("l2", (descent, "FACTOR", 0.1)), ("l1", shrink(0.0))])
def test_the_boundary_rejects_mutants_of_the_bisection(distance, fault, precise, monkeypatch):
    monkeypatch.setattr(*fault)
    with pytest.raises(AssertionError):
        check_boundary(distance, weight=1e-3)


# --- what must not change a result, and passes


def every(problem, method):
    found = method(problem, RNG)
    return found.images, found.found, found.forward


@pytest.mark.parametrize("make", [linear_pair_problem, conv_pair_problem])
@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_neither_chunk_nor_order_nor_neighbors_matter(make, distance):
    problem, method = make(), Wachter(distance=distance, iterations=40, bisections=4)
    images, found, _ = every(problem, method)
    assert found.sum() >= len(problem.images)
    order = torch.arange(len(images)).flip(0)
    for other, rows in (
        (replace(problem, chunk=1), slice(None)),
        (replace(problem, chunk=3), slice(None)),
        (replace(problem, chunk=100), slice(None)),
        (problem.take(order), order),
        (problem.take(slice(1, 2)), slice(1, 2)),
    ):
        again, found_again, _ = every(other, method)
        apart = (again - images[rows]).abs().flatten(2).amax(2)
        sizes, sizes_again = ((part - other.images[:, None]).flatten(2).norm(p=1, dim=2) for part in (images[rows], again))
        assert torch.equal(found_again, found[rows])
        # Rounding may decide when a round settles, and on which side of a kink of the network a pair comes to lie.
        assert torch.allclose(sizes_again, sizes, rtol=3e-4 if make is linear_pair_problem else 1e-2)
        assert apart.max() < (5e-5 if make is linear_pair_problem else 1e-2)
        assert (apart < 1e-5).double().mean() >= 0.7


@pytest.mark.parametrize("make", [linear_pair_problem, conv_pair_problem, constant_problem])
@pytest.mark.parametrize("chunk", [2, 50])
def test_reported_passes_are_those_that_were_made(make, chunk):
    problem, method = replace(make(), chunk=chunk), Wachter(iterations=40, bisections=4)
    found, passes = counted(method, problem)
    assert passes.forward == int(found.forward.sum())
    assert passes.backward == int(found.backward.sum())
    most = method.most_passes(problem)
    assert found.forward.max() <= most.forward
    assert not found.forward[~found.asked].any()
    assert found.forward[found.asked].min() > 0


def test_finished_pairs_make_room_for_others_in_full_chunks_and_leave_the_given_pairs_alone():
    problem = conv_pair_problem(batch=8, chunk=4)
    pairs, sizes = pairs_of(problem), []
    kept = [value.clone() for value in vars(pairs).values()]
    handle = problem.model.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    proposals = Wachter(iterations=40, bisections=4).search(problem, pairs, RNG)
    handle.remove()
    assert all(torch.equal(one, other) for one, other in zip(kept, vars(pairs).values(), strict=True))
    assert sum(sizes) == int(proposals.forward.sum())
    assert sizes == sorted(sizes, reverse=True)  # 4 as long as pairs are waiting, then fewer and fewer
    assert sizes.count(4) > 0.7 * len(sizes)
    assert len(proposals.forward.unique()) > 4


# --- pairs that cannot be found


@pytest.mark.parametrize("logits", [(1.0, 0.0, 0.0), (float("nan"), 0.0, 1.0), (200.0, 0.0, 0.0), (float("inf"), 0.0, 0.0)])
@pytest.mark.parametrize("output", ["probability", "logit", "log_probability"])
def test_a_classifier_that_does_not_look_at_the_image_has_no_counterfactual(logits, output):
    problem = constant_problem(logits)
    found = Wachter(output=output)(problem, RNG)
    assert not found.found.any()
    assert torch.equal(found.images, problem.images[:, None].expand_as(found.images))
    assert found.forward.max() <= 3  # nothing is gained by trying on


def test_a_confidence_that_no_image_reaches_is_not_found_and_a_lower_one_is():
    problem = linear_pair_problem(scale=0.1)
    sure = Wachter(confidence=1.0, iterations=50)(problem, RNG)
    assert sure.asked.all()
    assert not sure.found.any()
    assert sure.images.isfinite().all()
    assert Wachter(confidence=0.6, iterations=50)(problem, RNG).found.all()


def test_a_logit_of_nan_on_the_way_stops_the_way_there():
    class Broken(nn.Module):
        """NaN where the mean is above .55; class 1 is beyond."""

        def forward(self, images):
            mean = images.flatten(1).mean(1, keepdim=True)
            return torch.cat([torch.zeros_like(mean), 20 * (mean - 0.7)], 1) + torch.where(mean > 0.55, torch.nan, 0.0)

    problem = linear_pair_problem()
    problem = replace(problem, model=Broken(), images=problem.images * 0.8)
    found = Wachter(iterations=30)(problem, RNG)
    assert found.asked.all()
    assert not found.found.any()
    assert found.images.isfinite().all()


def test_a_classifier_without_a_gradient_is_refused():
    class BlackBox(nn.Module):
        def forward(self, images):
            return torch.eye(2)[(images.detach().flatten(1).mean(1) > 0.5).long()]

    assert "gradient" in Wachter().unsupported(replace(linear_pair_problem(), model=BlackBox()))
    assert Wachter().unsupported(linear_pair_problem()) is None
