"""Descent in an autoencoder's code against a closed form with linear networks, and what it is told apart by."""

from dataclasses import replace

import pytest
import torch
from counterfactual_cases import RNG, constant_problem, conv_pair_problem, counted, linear_pair_problem, weights_of
from scipy.optimize import brentq
from torch import nn

from xaibench import cost
from xaibench.autoencoders import Autoencoder, ConvAutoencoder
from xaibench.counterfactuals import descent, latent_gradient
from xaibench.counterfactuals.latent_gradient import LatentGradient
from xaibench.datasets.digits import Digits
from xaibench.models.mlp import Mlp
from xaibench.problem import Training
from xaibench.training import Trainer

CODES = 8


def linear_autoencoder(problem, seed=3):
    """x' = Q S z + c, with orthonormal Q, scales S and middle grey c; the encoder is its least-squares inverse, a little beside it."""
    shape = problem.images.shape[1:]
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(problem.images[0].numel(), CODES, generator=draw)).Q
    scale = torch.linspace(0.5, 2.0, CODES)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(len(basis), CODES))
    encoder[1].weight.data = basis.T / scale[:, None]
    encoder[1].bias.data = 0.05 - basis.sum(0) / 2 / scale
    decoder = nn.Sequential(nn.Linear(CODES, len(basis)), nn.Unflatten(1, shape))
    decoder[0].weight.data, decoder[0].bias.data = basis * scale, torch.full((len(basis),), 0.5)
    return Autoencoder(encoder, decoder).eval().requires_grad_(False), basis.double()


def coded_problem():
    """A linear classifier whose w lies half in the decoder's range, so that the boundary is near in it."""
    problem = linear_pair_problem()
    network, basis = linear_autoencoder(problem)
    w, b = weights_of(problem)
    images = problem.images.flatten(1).double()
    layer = problem.model[1]
    layer.weight[1] = layer.weight[0] + (w / w.norm() + basis @ torch.ones(CODES, dtype=torch.float64)).float()
    decoded = 0.5 + (images - 0.5) @ basis @ basis.T
    w, b = weights_of(problem)
    layer.bias[1] -= float(torch.cat([images @ w + b, decoded @ w + b]).max()) + 1.0
    return replace(problem, helpers={"autoencoder": network}), basis


def closest_decoded(problem, basis, weight):
    """In u = S z, where decoded images have their distances: u0 + a Q^T w, with u0 = Q^T (x - c) and p (1 - p)^2 = weight a."""
    w, b = weights_of(problem)
    inner, found = basis.T @ w, []
    for x in problem.images.flatten(1).double():
        start = 0.5 + basis @ (basis.T @ (x - 0.5))
        margin, norm = float(start @ w + b), float(inner @ inner)

        def derivative(a, margin=margin, norm=norm):
            p = 1 / (1 + 2.718281828459045 ** -(margin + a * norm))
            return weight * a - p * (1 - p) ** 2

        found.append(start + brentq(derivative, -margin / norm, 100 / norm) * basis @ inner)
    return torch.stack(found)


def check_closed_form(**fields):
    problem, basis = coded_problem()
    method = LatentGradient(**{"distance": "l2", "weight": 0.1, "bisections": 0, "iterations": 400, **fields})
    found = method(problem, RNG)
    assert found.found.all()
    assert torch.allclose(found.images[:, 0].flatten(1).double(), closest_decoded(problem, basis, 0.1), atol=5e-4)


@pytest.fixture
def precise(monkeypatch):
    monkeypatch.setattr(descent, "SETTLED", 1e-4)


def test_with_linear_networks_the_decoded_image_moves_along_w_within_the_decoders_range(precise):
    check_closed_form()


def of_codes(self, variables, origin, amount):
    """Mutant: the distance is one of codes."""
    return variables / (1 + 2 * amount)


FAULTS = {
    "codes too close to 0": [(latent_gradient.Codes, "high", 0.02)],
    "no distance": [(latent_gradient.Codes, "proximal", True)],
    "distance of codes": [(latent_gradient.Codes, "proximal", True), (latent_gradient.Codes, "shrunk", of_codes)],
    "a round that ends too early": [(descent, "SETTLED", 1.0)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_closed_form_rejects_mutants(fault, precise, monkeypatch):
    for change in FAULTS[fault]:
        monkeypatch.setattr(*change)
    with pytest.raises(AssertionError):
        check_closed_form()


@pytest.mark.parametrize("fields", [{"distance": "l1"}, {"output": "logit"}, {"weight": 0.15}, {"aim": 0.9}, {"iterations": 3}])
def test_the_closed_form_rejects_other_objectives(fields, precise):
    with pytest.raises(AssertionError):
        check_closed_form(**fields)


def test_bisection_comes_to_lie_at_the_boundary_within_the_decoders_range(precise, monkeypatch):
    monkeypatch.setattr(descent, "CLOSE", 1.01)
    monkeypatch.setattr(descent, "STRAYED", 100)
    problem, basis = coded_problem()
    w, b = weights_of(problem)
    inner = basis.T @ w
    found = LatentGradient(distance="l2", bisections=30, iterations=200)(problem, RNG)
    assert found.found.all()
    for x, image in zip(problem.images.flatten(1).double(), found.images[:, 0].flatten(1).double(), strict=True):
        start = 0.5 + basis @ (basis.T @ (x - 0.5))
        closest = start - float(start @ w + b) / float(inner @ inner) * basis @ inner
        assert 0 <= float(image @ w + b) < 0.03
        assert torch.allclose(image, closest, atol=5e-3)
        assert float((image - x).square().sum()) == pytest.approx(float((closest - x).square().sum()), rel=1e-3)


# --- with networks as they are


def with_autoencoder(problem):
    torch.manual_seed(0)
    network = ConvAutoencoder(latent=12, width=6).build(tuple(problem.images.shape[1:]), 4)
    network.decoder[-2].weight.data *= 4
    return replace(problem, helpers={"autoencoder": network.eval().requires_grad_(False)})


@pytest.mark.parametrize("chunk", [2, 50])
def test_what_is_found_is_decoded_and_passes_are_those_of_the_classifier_alone(chunk):
    problem = with_autoencoder(replace(conv_pair_problem(batch=6), chunk=chunk))
    method = LatentGradient(iterations=30, bisections=4, learning_rate=0.3)
    with cost.measure(problem.helpers["autoencoder"].decoder) as decoded:
        found, passes = counted(method, problem)
    assert found.found.sum() >= 3
    assert passes.forward == int(found.forward.sum())
    assert passes.backward == int(found.backward.sum())
    assert decoded.forward == passes.forward + int(found.asked.sum())  # each pass has its image decoded, and each proposal once more
    assert found.forward.max() <= method.most_passes(problem).forward
    changed = (found.images != problem.images[:, None]).flatten(2).double().mean(2)
    assert (changed[found.found] > 0.99).all()


def test_chunk_and_order_do_not_matter():
    problem = with_autoencoder(conv_pair_problem())
    method = LatentGradient(iterations=20, bisections=3, learning_rate=0.3, distance="l2")
    expected = method(problem, RNG)
    order = torch.tensor([2, 0, 3, 1])
    assert expected.found.any()
    for other, rows in ((replace(problem, chunk=1), slice(None)), (problem.take(order), order)):
        again = method(other, RNG)
        assert torch.equal(again.found, expected.found[rows])
        assert torch.allclose(again.images, expected.images[rows], atol=1e-4)


@pytest.mark.parametrize("logits", [(1.0, 0.0, 0.0), (float("nan"), 0.0, 1.0)])
def test_a_classifier_that_does_not_look_at_the_image_has_no_counterfactual(logits):
    found = LatentGradient()(with_autoencoder(constant_problem(logits)), RNG)
    assert not found.found.any()
    assert found.images.isfinite().all()
    assert found.forward.max() <= 3


def test_an_autoencoder_that_loses_the_class_is_refused_with_the_reason():
    problem = with_autoencoder(conv_pair_problem())
    assert "not good enough" in LatentGradient(least_agreement=1.0).unsupported(problem)
    assert LatentGradient(least_agreement=0.0).unsupported(problem) is None
    assert set(LatentGradient().needs(Training(Digits(), Mlp(), Trainer(), 0))) == {"autoencoder"}
