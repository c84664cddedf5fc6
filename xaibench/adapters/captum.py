"""captum's methods on a `Problem`: the peers of our explainers. Import and conversion only.

Every function gives what captum computes at the given settings, image and target by target: (B, T, C, H, W), or one channel where
captum gives all channels of a pixel the same. Batches are as near `problem.chunk` as captum allows, which is where it is fastest.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xaibench.problem import Output, Problem
from xaibench.seeding import global_seed

LIBRARY = "captum"

Baseline = float | Tensor
"""An intensity, or an image (1, C, H, W)."""

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def saliency(problem: Problem, output: Output, absolute: bool = True) -> Tensor:
    """Saliency; without the absolute value, the gradient."""
    from captum.attr import Saliency

    method = Saliency(_network(problem, output))
    return _each(problem, problem.chunk, lambda images, targets: method.attribute(images, targets, abs=absolute))


def input_x_gradient(problem: Problem, output: Output) -> Tensor:
    """InputXGradient."""
    from captum.attr import InputXGradient

    method = InputXGradient(_network(problem, output))
    return _each(problem, problem.chunk, method.attribute)


def guided_backprop(problem: Problem, output: Output) -> Tensor:
    """GuidedBackprop."""
    from captum.attr import GuidedBackprop

    method = GuidedBackprop(_network(problem, output))
    return _each(problem, problem.chunk, method.attribute)


def deconvolution(problem: Problem, output: Output) -> Tensor:
    """Deconvolution."""
    from captum.attr import Deconvolution

    method = Deconvolution(_network(problem, output))
    return _each(problem, problem.chunk, method.attribute)


def integrated_gradients(
    problem: Problem, output: Output, steps: int, baseline: Baseline = 0.0, quadrature: Literal["midpoint", "gauss_legendre"] = "midpoint"
) -> Tensor:
    """IntegratedGradients."""
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(_network(problem, output))
    name = {"midpoint": "riemann_middle", "gauss_legendre": "gausslegendre"}[quadrature]

    def attribute(images: Tensor, targets: Tensor) -> Any:
        return method.attribute(images, baseline, targets, n_steps=steps, method=name, internal_batch_size=max(problem.chunk, len(images)))

    return _each(problem, problem.chunk, attribute)


def gradient_shap(problem: Problem, output: Output, samples: int, seed: int) -> Tensor:
    """GradientShap without noise on the images: expected gradients over the background."""
    from captum.attr import GradientShap

    method = GradientShap(_network(problem, output))
    block = max(problem.chunk // samples, 1)
    with global_seed(seed):
        return _each(problem, block, lambda images, targets: method.attribute(images, problem.background, samples, target=targets))


def noise_tunnel(
    problem: Problem,
    output: Output,
    samples: int,
    deviation: float,
    seed: int,
    kind: Literal["smoothgrad", "smoothgrad_sq", "vargrad"] = "smoothgrad",
) -> Tensor:
    """NoiseTunnel around the gradient; `deviation` is the noise's, in intensity."""
    from captum.attr import NoiseTunnel, Saliency

    method = NoiseTunnel(Saliency(_network(problem, output)))

    def attribute(images: Tensor, targets: Tensor) -> Any:
        together = max(problem.chunk // len(images), 1)
        return method.attribute(
            images, nt_type=kind, nt_samples=samples, nt_samples_batch_size=together, stdevs=deviation, target=targets, abs=False
        )

    with global_seed(seed):
        return _each(problem, problem.chunk, attribute)


def deep_lift(problem: Problem, output: Output, baseline: Baseline = 0.0) -> Tensor:
    """DeepLift: the rescale rule from one baseline."""
    from captum.attr import DeepLift

    method = DeepLift(_network(problem, output))

    def attribute(images: Tensor, targets: Tensor) -> Any:
        return method.attribute(images, torch.zeros_like(images) + baseline, targets)

    return _each(problem, problem.chunk // 2, attribute)


def deep_lift_shap(problem: Problem, output: Output) -> Tensor:
    """DeepLiftShap: the rescale rule, averaged over the background."""
    from captum.attr import DeepLiftShap

    if len(problem.background) < 2:  # captum refuses one baseline
        return deep_lift(problem, output, problem.background)
    method = DeepLiftShap(_network(problem, output))
    block = max(problem.chunk // (2 * len(problem.background)), 1)
    return _each(problem, block, lambda images, targets: method.attribute(images, problem.background, targets))


def lrp(problem: Problem, rule: Callable[[str, nn.Module], Any] | None = None) -> Tensor:
    """LRP of the logit on a copy of the model, which captum changes; `nn.Flatten` passes relevance on, which captum cannot say by itself.

    Parameters
    ----------
    problem
        What is explained.
    rule
        Takes name and module of every linear or convolutional layer and gives its captum rule, a new one for each; None: captum's default.
    """
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule

    def attribute(images: Tensor, targets: Tensor) -> Any:
        # captum takes the rules off again after each call.
        for name, module in model.named_modules():
            if isinstance(module, LINEAR) and rule is not None:
                module.rule = rule(name, module)
            elif isinstance(module, nn.Flatten | nn.Identity | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
                module.rule = EpsilonRule()  # type: ignore[assignment]
        return LRP(model).attribute(images, targets)

    model = copy.deepcopy(problem.classifier)
    return _each(problem, problem.chunk, attribute)


def lrp_rules(epsilon: float = 1e-9, gamma: float = 0.25) -> Mapping[str, Callable[[], Any]]:
    """captum's rules by name, each a maker of new ones."""
    from captum.attr._utils import lrp_rules as rules

    return {
        "epsilon": lambda: rules.EpsilonRule(epsilon),
        "gamma": lambda: rules.GammaRule(gamma),
        "alpha1_beta0": lambda: rules.Alpha1_Beta0_Rule(),
        "alpha1_beta0_without_bias": lambda: rules.Alpha1_Beta0_Rule(set_bias_to_zero=True),
        "gamma_without_bias": lambda: rules.GammaRule(gamma, set_bias_to_zero=True),
    }


def grad_cam(problem: Problem, output: Output, layer: nn.Module) -> Tensor:
    """LayerGradCam, negative parts cut, upsampled bilinearly to the images."""
    from captum.attr import LayerGradCam

    method = LayerGradCam(_network(problem, output), layer)
    size = problem.images.shape[-2:]

    def attribute(images: Tensor, targets: Tensor) -> Any:
        coarse = method.attribute(images, targets, relu_attributions=True)
        return nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)

    return _each(problem, problem.chunk, attribute)


def guided_grad_cam(problem: Problem, output: Output, layer: nn.Module) -> Tensor:
    """GuidedGradCam, with bilinear upsampling."""
    from captum.attr import GuidedGradCam

    method = GuidedGradCam(_network(problem, output), layer)
    return _each(problem, problem.chunk, lambda images, targets: method.attribute(images, targets, interpolate_mode="bilinear"))


def occlusion(problem: Problem, output: Output, patch: int, stride: int, baseline: Baseline = 0.0) -> Tensor:
    """Occlusion by square windows over all channels; where the stride does not divide the image, captum's last windows are cut off."""
    from captum.attr import Occlusion

    method = Occlusion(_network(problem, output))
    channels = problem.images.shape[1]

    def attribute(images: Tensor, targets: Tensor) -> Any:
        shapes, together = (channels, patch, patch), max(problem.chunk // len(images), 1)
        found = method.attribute(images, shapes, (channels, stride, stride), baseline, targets, perturbations_per_eval=together)
        return found[:, :1]  # captum gives a window's drop to each channel

    with torch.inference_mode():
        return _each(problem, problem.chunk, attribute, leaf=False)


def feature_ablation(problem: Problem, output: Output, superpixels: Tensor, baseline: Baseline = 0.0) -> Tensor:
    """FeatureAblation of the superpixels that (H, W) numbers: each pixel gets its superpixel's drop."""
    from captum.attr import FeatureAblation

    return _by_superpixel(problem, FeatureAblation(_network(problem, output)), superpixels, baseline)


def shapley_value_sampling(
    problem: Problem, output: Output, superpixels: Tensor, permutations: int, seed: int, baseline: Baseline = 0.0
) -> Tensor:
    """ShapleyValueSampling over superpixels: each pixel gets its superpixel's value. A call's images share the permutations."""
    from captum.attr import ShapleyValueSampling

    with global_seed(seed):
        method = ShapleyValueSampling(_network(problem, output))
        return _by_superpixel(problem, method, superpixels, baseline, n_samples=permutations)


def kernel_shap(problem: Problem, output: Output, superpixels: Tensor, samples: int, seed: int, baseline: Baseline = 0.0) -> Tensor:
    """KernelShap over superpixels, image by image: each pixel gets its superpixel's value; `samples` counts the two end points."""
    from captum.attr import KernelShap

    with global_seed(seed):
        return _by_superpixel(problem, KernelShap(_network(problem, output)), superpixels, baseline, block=1, n_samples=samples)


def lime(
    problem: Problem,
    output: Output,
    superpixels: Tensor,
    samples: int,
    seed: int,
    similarity: Callable[[Tensor], Tensor],
    penalty: float,
    baseline: Baseline = 0.0,
) -> Tensor:
    """Lime with a ridge regression, image by image: each pixel gets its superpixel's coefficient.

    A sample keeps each superpixel with probability 1/2; `similarity` gives its weight from its (1, M) mask. `penalty` is that of the
    squared coefficients (scikit-learn's `alpha`).
    """
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    def weight(_original: Any, _perturbed: Any, mask: Tensor, **_others: Any) -> Tensor:
        return similarity(mask)

    method = Lime(_network(problem, output), SkLearnRidge(alpha=penalty), similarity_func=weight)
    with global_seed(seed):
        return _by_superpixel(problem, method, superpixels, baseline, block=1, n_samples=samples)


def _by_superpixel(problem: Problem, method: Any, superpixels: Tensor, baseline: Baseline, block: int | None = None, **more: Any) -> Tensor:
    """(B, T, 1, H, W): a method that alters superpixels, `block` images at once."""
    grid = superpixels.expand(1, *problem.images.shape[1:])

    def attribute(images: Tensor, targets: Tensor) -> Any:
        together = max(problem.chunk // len(images), 1)
        return method.attribute(images, baseline, target=targets, feature_mask=grid, perturbations_per_eval=together, **more)[:, :1]

    with torch.inference_mode():
        return _each(problem, block or problem.chunk, attribute, leaf=False)


def _network(problem: Problem, output: Output) -> nn.Module:
    """The model up to the explained outputs of all classes."""
    ends: dict[str, nn.Module] = {"probability": nn.Softmax(dim=1), "log_probability": nn.LogSoftmax(dim=1)}
    return problem.classifier if output == "logit" else nn.Sequential(problem.classifier, ends[output])


def _each(problem: Problem, block: int, attribute: Callable[[Tensor, Tensor], Any], leaf: bool = True) -> Tensor:
    """(B, T, ...): what `attribute` gives for blocks of images and one target each."""

    def one(rows: Tensor, target: int) -> Tensor:
        images = problem.images[rows].requires_grad_() if leaf else problem.images[rows]
        found: Tensor = attribute(images, problem.targets[rows, target]).detach()
        return found.to(torch.float32)

    blocks = torch.arange(len(problem.images), device=problem.images.device).split(max(block, 1))
    with _quiet(), torch.enable_grad() if leaf else contextlib.nullcontext():
        columns = [torch.cat([one(rows, target) for rows in blocks]) for target in range(problem.targets.shape[1])]
    return torch.stack(columns, dim=1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without captum's announcements of what it sets on modules and inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
