"""Averages over noisy copies against closed forms, statistics and captum; every check must reject mutants."""

import dataclasses

import pytest
import torch
from explainer_cases import RNG, Explain, conv_problem, frozen, linear_problem, negated, next_target, quadratic_problem, rejects
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench import cost
from xaibench.baselines import UniformNoise
from xaibench.explainers.expected_gradients import ExpectedGradients
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.guided_integrated_gradients import GuidedIntegratedGradients
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.saliency import Saliency
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.explainers.smoothgrad_squared import SmoothgradSquared
from xaibench.explainers.vargrad import Vargrad
from xaibench.problem import Attributions, Problem
from xaibench.seeding import Rng


def noisy_copies(problem: Problem, samples: int, noise: float) -> Tensor:
    """(samples, B, 1, C, H, W)."""
    images = problem.images
    deviation = noise * (images.flatten(1).amax(1) - images.flatten(1).amin(1))
    normal = torch.stack([RNG.each(problem.index, sample).normal(*images.shape[1:]) for sample in range(samples)])
    return (images + deviation[:, None, None, None] * normal)[:, :, None]


SQUARES = {
    "mean of path integrals": (Smoothgrad(of=IntegratedGradients(steps=1, quadrature="midpoint")), lambda w, x: (w * x**2).mean(0)),
    "mean of squares": (SmoothgradSquared(), lambda w, x: (2 * w * x).square().mean(0)),
    "mean of squared path integrals": (SmoothgradSquared(of=IntegratedGradients(steps=2)), lambda w, x: (w * x**2).square().mean(0)),
    "variance": (Vargrad(), lambda w, x: (2 * w * x).var(0, correction=0)),
    "variance of path integrals": (Vargrad(of=IntegratedGradients(steps=2)), lambda w, x: (w * x**2).var(0, correction=0)),
    "variance of magnitudes": (Vargrad(of=Saliency()), lambda w, x: (2 * w * x).abs().var(0, correction=0)),
}


@pytest.mark.parametrize("name", SQUARES)
@pytest.mark.parametrize("chunk", [3, 7, 256])
def test_noise_samples_of_a_quadratic_classifier(name, chunk):
    explainer, expected = SQUARES[name]
    explainer = dataclasses.replace(explainer, samples=7, noise=0.2)
    problem, weights = quadratic_problem()
    problem = dataclasses.replace(problem, chunk=chunk)

    def check(explain: Explain) -> None:
        values = expected(weights.double(), noisy_copies(problem, 7, 0.2).double())
        assert_close(explain(problem, RNG).values, values.float(), rtol=1e-4, atol=1e-6)

    check(explainer)
    others = [dataclasses.replace(other, samples=7, noise=0.2) for other, _ in SQUARES.values() if other != SQUARES[name][0]]
    if name.startswith("variance"):  # the magnitude varies as the gradient does where no sign changes
        others = [other for other in others if {type(other.of), type(explainer.of)} != {Saliency, Gradient}]
    changed = [dataclasses.replace(explainer, samples=8), dataclasses.replace(explainer, noise=0.21)]
    for mutant in (next_target(explainer), negated(explainer), *others, *changed):
        rejects(check, mutant)


def test_the_variance_is_exact_where_it_is_far_below_the_squared_mean():
    problem, weights = quadratic_problem()
    samples = 20

    class Steep(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return problem.classifier(images) + 3000 * images.sum((1, 2, 3))[:, None]

    steep = dataclasses.replace(problem, model=frozen(Steep()))
    expected = (2 * weights * noisy_copies(problem, samples, 0.15)).var(0, correction=0)

    def check(explain: Explain) -> None:
        assert (explain(steep, RNG).values - expected).abs().max() < 1e-2 * expected.max()

    def difference_of_means(problem: Problem, rng: Rng) -> Attributions:
        mean = Smoothgrad(samples=samples)(problem, rng).values
        return Attributions(SmoothgradSquared(samples=samples)(problem, rng).values - mean**2)

    check(Vargrad(samples=samples))
    rejects(check, difference_of_means)


def test_the_variance_of_a_constant_gradient_is_zero():
    problem, weights = linear_problem()
    found = Vargrad(samples=6)(dataclasses.replace(problem, chunk=5), RNG).values
    assert (found >= 0).all()
    assert found.max() < 1e-10 * weights.abs().max()


INNER = [
    Gradient(),
    IntegratedGradients(steps=3),
    IntegratedGradients(steps=2, baseline=UniformNoise(2)),
    ExpectedGradients(samples=3),
    GuidedIntegratedGradients(steps=2),
    Smoothgrad(samples=2),
]


@pytest.mark.parametrize("of", INNER, ids=repr)
@pytest.mark.parametrize("chunk", [4, 16, 256])
def test_passes_of_noise_samples_are_as_many_as_counted(of, chunk):
    problem = dataclasses.replace(conv_problem(targets=2, batch=3), chunk=chunk)
    for explainer in (Smoothgrad(of=of, samples=5), Vargrad(of=of, samples=4)):
        with cost.measure(problem.model) as counted:
            explainer(problem, RNG)
        assert counted.passes == explainer.passes(problem)


@pytest.mark.parametrize("of", INNER, ids=repr)
def test_noise_samples_do_not_depend_on_batches_and_chunks(of):
    problem = conv_problem(batch=3)
    explainer = Smoothgrad(of=of, samples=3)
    whole = explainer(problem, RNG).values
    parts = torch.cat([explainer(problem.take(slice(row, row + 1)), RNG).values for row in range(3)])
    for other in (parts, explainer(dataclasses.replace(problem, chunk=4), RNG).values):
        assert_close(other, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))


def test_the_wrapped_explainer_draws_anew_for_each_copy():
    """Uniform baselines have a mean square of 1/3: only independent draws average to it."""
    problem, weights = quadratic_problem()

    def check(explain: Explain) -> None:
        expected = weights * (problem.images**2 - 1 / 3)[:, None]
        assert (explain(problem, RNG).values - expected).abs().max() < 5 * weights.abs().max() * (4 / 45) ** 0.5 / 20

    of = IntegratedGradients(steps=1, quadrature="midpoint", baseline=UniformNoise())
    check(Smoothgrad(of=of, samples=400, noise=1e-6))
    rejects(check, of)


def test_the_outer_output_is_what_is_explained():
    problem = conv_problem()
    for output in ("logit", "probability"):
        outer, both = Smoothgrad(output=output, samples=3), Smoothgrad(output=output, of=Gradient(output=output), samples=3)
        assert torch.equal(outer(problem, RNG).values, both(problem, RNG).values)
    inner = Smoothgrad(of=Gradient(output="probability"), samples=3)
    assert torch.equal(inner(problem, RNG).values, Smoothgrad(samples=3)(problem, RNG).values)
    assert not torch.allclose(Smoothgrad(output="probability", samples=3)(problem, RNG).values, inner(problem, RNG).values)


def test_noise_samples_cannot_explain_what_the_wrapped_explainer_cannot():
    problem = dataclasses.replace(conv_problem(), background=torch.zeros(0, 3, 9, 11))
    for kind in (Smoothgrad, SmoothgradSquared, Vargrad):
        assert "background" in kind(of=ExpectedGradients()).unsupported(problem)
        assert kind().unsupported(problem) is None
        assert kind().unsupported(dataclasses.replace(problem, model=None)) is not None


@pytest.mark.parametrize(("kind", "name"), [(Smoothgrad, "smoothgrad"), (SmoothgradSquared, "smoothgrad_sq"), (Vargrad, "vargrad")])
def test_captums_noise_tunnel_has_the_same_expectation(kind, name):
    from captum.attr import NoiseTunnel
    from captum.attr import Saliency as Reference

    problem = conv_problem((1, 8, 8), batch=1, targets=1)
    image = problem.images
    deviation = 0.15 * (image.max() - image.min()).item()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tunnel = NoiseTunnel(Reference(problem.model))
        settings = {"nt_type": name, "nt_samples": 3000, "nt_samples_batch_size": 500, "stdevs": deviation, "abs": False}
        expected = tunnel.attribute(image.clone().requires_grad_(), target=problem.targets[0, 0].item(), **settings)

    def check(explain: Explain) -> None:
        found = explain(problem, RNG).values[:, 0]
        assert (found - expected).abs().max() < 0.1 * expected.abs().max()

    check(kind(samples=3000))
    others = [other(samples=500) for other in (Smoothgrad, SmoothgradSquared, Vargrad) if other is not kind]
    for mutant in (*others, kind(samples=500, noise=0.6)):
        rejects(check, mutant)
