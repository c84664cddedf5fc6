"""Which explainers other libraries have too, and how to ask them for the same at equal settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaibench.adapters import captum
from xaibench.adapters import shap as shap_adapter
from xaibench.baselines import Baseline
from xaibench.explainers.exact_shapley import ExactShapley
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.owen_shapley import OwenShapley
from xaibench.explainers.permutation_shapley import PermutationShapley
from xaibench.explaining import explained
from xaibench.problem import Explainer, Problem
from xaibench.removal import Blur, Marginal, Removal
from xaibench.seeding import Rng
from xaibench.superpixels import Halves

PeerCall = Callable[[Any, Problem, int], Tensor]
"""Takes an explainer, whose settings are used, a problem and a seed; gives (B, T, C or 1, H, W)."""

Reference = Callable[[Any, Problem], Tensor]
"""Takes an explainer and a problem; gives what the explainer estimates, (B, T, C or 1, H, W)."""


@dataclass(frozen=True)
class Peer:
    """Another library's implementation of an explainer.

    Attributes
    ----------
    name
        Library and class.
    call
        Computes it at an explainer's settings.
    reference
        What both estimate, where they are stochastic; None where they should agree.
    images
        How many images are enough to time it: it may be slow.
    differs
        Why it does not give the same though it is deterministic; empty where it does.
    """

    name: str
    call: PeerCall
    reference: Reference | None = None
    images: int = 64
    differs: str = ""

    def unsupported(self, explainer: Explainer, problem: Problem) -> str | None:
        """Why the library cannot do what this explainer's settings ask for, or None."""
        superpixels, removal, of = (getattr(explainer, name, None) for name in ("superpixels", "removal", "of"))
        baseline = getattr(explainer, "baseline", None)
        if superpixels is not None and not superpixels.shared:
            return "superpixels of each image's own are not compared"
        if of is not None and not isinstance(of, Gradient):
            return f"only the noise around the gradient is compared, not around {type(of).__name__}"
        if isinstance(baseline, Baseline) and not (baseline.shared and baseline.draws(problem) == 1):
            return "only one baseline, the same for all images, is compared"
        if isinstance(removal, Blur) or (removal is not None and self.name.startswith("captum") and removal.draws(problem) > 1):
            return f"{removal} is not compared"
        return None


def long_run(**factors: int) -> Reference:
    """Our own explainer with fields multiplied by these factors, in another draw."""

    def reference(explainer: Explainer, problem: Problem) -> Tensor:
        more = {name: getattr(explainer, name) * factor for name, factor in factors.items()}
        return explained(dataclasses.replace(explainer, **more), problem, Rng(0, 1, "reference")).values

    return reference


def noise(explainer: Any, problem: Problem) -> float:
    """The standard deviation of the noise in intensity, of the image with the widest range: captum takes one for all images."""
    spread = problem.images.amax((1, 2, 3)) - problem.images.amin((1, 2, 3))
    return float(explainer.noise * spread.max())


def feature_layer(explainer: Any, problem: Problem) -> torch.nn.Module:
    """The module whose feature maps our own takes."""
    return GradCam(layer=explainer.layer).located(problem).module


def start(explainer: Any, problem: Problem) -> float | Tensor:
    """The baseline of all images: an intensity, or (1, C, H, W)."""
    if not isinstance(explainer.baseline, Baseline):
        return float(explainer.baseline)
    zero = torch.zeros(1, dtype=torch.int64, device=problem.images.device)
    return explainer.baseline(problem, Rng(0, 0, type(explainer).__name__), zero, zero)


def removed(explainer: Any, problem: Problem) -> Tensor:
    """(M, C, H, W): what removed pixels become."""
    removal: Removal = explainer.removal
    if isinstance(removal, Marginal):
        return problem.background[: removal.samples]
    nothing = torch.zeros(1, 1, *problem.images.shape[-2:], dtype=torch.bool, device=problem.images.device)
    return removal(problem.images[:1], nothing, problem)


def shapley_values(factor: int) -> Reference:
    """The exact values of at most 16 superpixels, else an unbiased estimate from so many times the samples."""

    def reference(explainer: Any, problem: Problem) -> Tensor:
        settings = {name: getattr(explainer, name) for name in ("output", "superpixels", "removal")}
        exact = ExactShapley(**settings)
        found = exact if exact.unsupported(problem) is None else PermutationShapley(samples=factor * explainer.samples, **settings)
        return explained(found, problem, Rng(0, 1, "reference")).values

    return reference


def shares(values: Tensor, superpixels: Tensor) -> Tensor:
    """Each pixel's equal share of its superpixel's value."""
    return values / superpixels.flatten().bincount()[superpixels]


def by_shap(method: Callable[..., Tensor], sampled: bool = True) -> PeerCall:
    """One of shap's methods for superpixels, at as many coalitions."""

    def call(explainer: Any, problem: Problem, seed: int) -> Tensor:
        grid = regions(explainer, problem)
        settings = (explainer.samples, seed) if sampled else ()
        return shares(method(problem, explainer.output, grid, removed(explainer, problem), *settings), grid)

    return call


def by_captum(method: Callable[..., Tensor], evaluations: Callable[[int], int] = lambda count: 1) -> PeerCall:
    """One of captum's methods for superpixels, at as many coalitions; a sample of it takes `evaluations` of M superpixels."""

    def call(explainer: Any, problem: Problem, seed: int) -> Tensor:
        grid = regions(explainer, problem)
        samples = max(explainer.samples // evaluations(int(grid.max()) + 1), 1)
        return shares(method(problem, explainer.output, grid, samples, seed, removed(explainer, problem)), grid)

    return call


def regions(explainer: Any, problem: Problem) -> Tensor:
    """(H, W): each pixel's superpixel, in all images."""
    superpixels = Halves(explainer.depth) if isinstance(explainer, OwenShapley) else explainer.superpixels
    found: Tensor = superpixels(problem.images[:1])[0]
    return found


def lime(explainer: Any, problem: Problem, seed: int) -> Tensor:
    """captum's Lime with our kernel and penalty."""

    def similarity(mask: Tensor) -> Tensor:
        distance = 1 - mask.to(torch.float64).mean().sqrt()
        return torch.exp(-0.5 * (distance / explainer.width) ** 2)

    baseline, grid = removed(explainer, problem), regions(explainer, problem)
    return captum.lime(problem, explainer.output, grid, explainer.samples, seed, similarity, explainer.ridge, baseline)


def lrp(convolution: str) -> PeerCall:
    """captum's LRP with one of its rules for convolutions, and the epsilon rule for dense layers."""

    def call(explainer: Any, problem: Problem, seed: int) -> Tensor:
        rules = captum.lrp_rules(explainer.epsilon, getattr(explainer, "gamma", 0.25))
        return captum.lrp(problem, lambda _, module: rules["epsilon" if isinstance(module, torch.nn.Linear) else convolution]())

    return call


def noisy(kind: Any) -> PeerCall:
    """captum's NoiseTunnel around the gradient."""
    return lambda e, p, seed: captum.noise_tunnel(p, e.output, e.samples, noise(e, p), seed, kind)


POOLING = "captum's is incomplete with max-pooling"
BIASES = "captum keeps biases as they are where weights are altered"

PEERS: Mapping[str, tuple[Peer, ...]] = {
    "Gradient": (Peer("captum Saliency", lambda e, p, seed: captum.saliency(p, e.output, absolute=False)),),
    "Saliency": (Peer("captum Saliency", lambda e, p, seed: captum.saliency(p, e.output)),),
    "InputXGradient": (Peer("captum InputXGradient", lambda e, p, seed: captum.input_x_gradient(p, e.output)),),
    "IntegratedGradients": (
        Peer(
            "captum IntegratedGradients",
            lambda e, p, seed: captum.integrated_gradients(p, e.output, e.steps, start(e, p), e.quadrature),
        ),
    ),
    "GuidedBackpropagation": (Peer("captum GuidedBackprop", lambda e, p, seed: captum.guided_backprop(p, e.output)),),
    "Deconvolution": (Peer("captum Deconvolution", lambda e, p, seed: captum.deconvolution(p, e.output)),),
    "Smoothgrad": (Peer("captum NoiseTunnel", noisy("smoothgrad"), long_run(samples=50), 16),),
    "SmoothgradSquared": (Peer("captum NoiseTunnel", noisy("smoothgrad_sq"), long_run(samples=50), 16),),
    "Vargrad": (Peer("captum NoiseTunnel", noisy("vargrad"), long_run(samples=50), 16),),
    "ExpectedGradients": (
        Peer(
            "shap GradientExplainer",
            lambda e, p, seed: shap_adapter.gradient_explainer(p, e.output, e.samples, seed),
            long_run(samples=50),
            16,
        ),
        Peer("captum GradientShap", lambda e, p, seed: captum.gradient_shap(p, e.output, e.samples, seed), long_run(samples=50), 16),
    ),
    "DeepLift": (
        Peer(
            "captum DeepLift",
            lambda e, p, seed: captum.deep_lift(p, e.output, start(e, p)),
            differs=POOLING,
        ),
    ),
    "DeepShap": (
        Peer("shap DeepExplainer", lambda e, p, seed: shap_adapter.deep_explainer(p, e.output), images=8),
        Peer(
            "captum DeepLiftShap",
            lambda e, p, seed: captum.deep_lift_shap(p, e.output),
            images=16,
            differs=POOLING,
        ),
    ),
    "LrpEpsilonPlus": (Peer("captum LRP", lrp("alpha1_beta0"), differs=BIASES),),
    "LrpGamma": (Peer("captum LRP", lrp("gamma"), differs=BIASES),),
    "GradCam": (Peer("captum LayerGradCam", lambda e, p, seed: captum.grad_cam(p, e.output, feature_layer(e, p))),),
    "GuidedGradCam": (Peer("captum GuidedGradCam", lambda e, p, seed: captum.guided_grad_cam(p, e.output, feature_layer(e, p))),),
    "Occlusion": (Peer("captum Occlusion", lambda e, p, seed: captum.occlusion(p, e.output, e.patch, e.stride, removed(e, p))),),
    "SuperpixelAblation": (
        Peer("captum FeatureAblation", lambda e, p, seed: captum.feature_ablation(p, e.output, regions(e, p), removed(e, p))),
    ),
    "KernelShap": (
        Peer("shap KernelExplainer", by_shap(shap_adapter.kernel_explainer), shapley_values(20), 4),
        Peer("captum KernelShap", by_captum(captum.kernel_shap), shapley_values(20), 4),
    ),
    "PermutationShapley": (
        Peer("shap PermutationExplainer", by_shap(shap_adapter.permutation_explainer), shapley_values(20), 4),
        Peer("shap SamplingExplainer", by_shap(shap_adapter.sampling_explainer), shapley_values(20), 4),
        Peer("captum ShapleyValueSampling", by_captum(captum.shapley_value_sampling, lambda count: count), shapley_values(20), 4),
    ),
    "ExactShapley": (Peer("shap ExactExplainer", by_shap(shap_adapter.exact_explainer, sampled=False), images=2),),
    "OwenShapley": (Peer("shap PartitionExplainer", by_shap(shap_adapter.partition_explainer, sampled=False), images=4),),
    "Lime": (Peer("captum Lime", lime, long_run(samples=50), 4),),
}
"""By the name of the explainer's class."""
