"""shap's explainers on a `Problem`: the peers of ours. Import and conversion only.

Every function gives what shap computes at the given settings, image by image: (B, T, C, H, W), or one channel for superpixels.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.problem import Output, Problem
from xaibench.seeding import global_seed

LIBRARY = "shap"

Predict = Callable[[Any], Any]
"""Takes rows, numpy arrays (n, ...); gives the explained outputs (n, T)."""


class Selected(nn.Module):
    """A classifier that gives the explained outputs only: (n, C, H, W) to (n, T), for the classes in `targets` (T,)."""

    def __init__(self, model: nn.Module, output: Output, targets: Tensor) -> None:
        super().__init__()
        self.model = model
        self.output = {"logit": nn.Identity(), "probability": nn.Softmax(dim=1), "log_probability": nn.LogSoftmax(dim=1)}[output]
        self.targets = targets

    def forward(self, images: Tensor) -> Tensor:
        """The explained outputs."""
        return self.output(self.model(images))[:, self.targets]

    def train(self, mode: bool = True) -> Selected:
        """Nothing: shap's explainers would set the mode of a model that is not theirs."""
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: shap's explainers would clear the gradients of a model that is not theirs."""


def gradient_explainer(problem: Problem, output: Output, samples: int, seed: int) -> Tensor:
    """GradientExplainer, expected gradients over the background: (B, T, C, H, W). Each image has its own seed, from `seed` on."""
    from shap import GradientExplainer

    wrapper = Selected(problem.classifier, output, problem.targets[0])
    found = []
    with torch.enable_grad(), global_seed(seed):
        explainer = GradientExplainer(wrapper, problem.background, batch_size=problem.chunk)
        for row in range(len(problem.images)):
            wrapper.targets = problem.targets[row]
            found.append(explainer.shap_values(problem.images[row : row + 1], nsamples=samples, rseed=seed + row))
    return _targets_second(np.concatenate(found)).to(problem.images.device)


def deep_explainer(problem: Problem, output: Output) -> Tensor:
    """DeepExplainer: (B, T, C, H, W), averaged over the background."""
    from shap import DeepExplainer

    images, background = problem.images, problem.background
    wrapper = Selected(problem.classifier, output, problem.targets[0])
    # One explainer takes its whole background in one batch, each image of it beside a copy of the explained one.
    parts = background.split(max(problem.chunk // 2, 1))
    total: Any = 0.0
    with torch.enable_grad(), _restored(problem.classifier), warnings.catch_warnings():
        # Modules without a rule pass the gradient on, which is right where they are linear.
        warnings.filterwarnings("ignore", message="unrecognized nn.Module")
        for part in parts:
            explainer = DeepExplainer(wrapper, part)
            found = []
            for row in range(len(images)):
                wrapper.targets = problem.targets[row]
                found.append(explainer.shap_values(images[row : row + 1], check_additivity=False))
            wrapper.targets = problem.targets[0]
            total = total + np.concatenate(found) * (len(part) / len(background))
    return _targets_second(total).to(images.device)


def kernel_explainer(problem: Problem, output: Output, superpixels: Tensor, background: Tensor, samples: int, seed: int) -> Tensor:
    """KernelExplainer on pixels in groups, without regularization; `samples` coalitions besides the empty and the full one.

    Here and below: (B, T, 1, H, W), each pixel with the value of its superpixel, which (H, W) numbers from 0. What is absent comes from
    the `background` (M, C, H, W), over which outputs are averaged. `seed` is the first image's; each has its own.
    """
    from shap import KernelExplainer
    from shap.utils._legacy import DenseData

    channels = problem.images.shape[1]
    flat = superpixels.flatten().cpu().repeat(channels).numpy()
    groups = [np.flatnonzero(flat == number) for number in range(flat.max() + 1)]
    data = DenseData(background.flatten(1).cpu().numpy(), [str(number) for number in range(len(groups))], groups)
    found = []
    for row, image in enumerate(problem.images):
        predict = _predictor(problem, output, problem.targets[row])
        with global_seed(seed + row):
            explainer = KernelExplainer(predict, data)
            found.append(explainer.shap_values(image.reshape(1, -1).cpu().numpy(), nsamples=samples, l1_reg=False, silent=True)[0])
    return _on_pixels(np.stack(found), superpixels)


def permutation_explainer(problem: Problem, output: Output, superpixels: Tensor, background: Tensor, samples: int, seed: int) -> Tensor:
    """PermutationExplainer on coalitions of the superpixels that change, with at most `samples` evaluations, or one order."""
    from shap import PermutationExplainer

    def explain(predict: Predict, count: int, row: int) -> Any:
        explainer = PermutationExplainer(predict, np.zeros((1, count)), seed=seed + row)
        return explainer(np.ones((1, count)), max_evals=max(samples, 2 * count + 1), silent=True).values

    return _games(problem, output, superpixels, background, seed, explain)


def sampling_explainer(problem: Problem, output: Output, superpixels: Tensor, background: Tensor, samples: int, seed: int) -> Tensor:
    """SamplingExplainer on coalitions of the superpixels that change, with `samples` evaluations, two for each sample."""
    from shap import SamplingExplainer

    def explain(predict: Predict, count: int, _row: int) -> Any:
        # It asks for no coalitions at all where a superpixel gets no sample.
        explainer = SamplingExplainer(lambda rows: predict(rows) if len(rows) else np.zeros((0, targets)), np.zeros((1, count)))
        return explainer.shap_values(np.ones((1, count)), nsamples=max(samples // 2, 2 * count), silent=True)

    targets = problem.targets.shape[1]
    return _games(problem, output, superpixels, background, seed, explain)


def exact_explainer(problem: Problem, output: Output, superpixels: Tensor, background: Tensor) -> Tensor:
    """ExactExplainer on all coalitions of the superpixels that change."""
    from shap import ExactExplainer

    def explain(predict: Predict, count: int, _row: int) -> Any:
        explainer = ExactExplainer(predict, np.zeros((1, count)))
        return explainer(np.ones((1, count)), max_evals=2**count, silent=True).values

    return _games(problem, output, superpixels, background, 0, explain)


def partition_explainer(problem: Problem, output: Output, superpixels: Tensor, background: Tensor) -> Tensor:
    """PartitionExplainer, evaluated completely, on 2^depth superpixels of which each two neighbors by number join, again and again."""
    from shap import PartitionExplainer
    from shap.maskers import Partition

    count = int(superpixels.max()) + 1
    # As of scipy's linkage: two clusters, their distance, and how many superpixels their union has.
    first, sizes = 2 * np.arange(count - 1), [1] * count
    for left in first:
        sizes.append(2 * sizes[left])
    tree = np.stack([first, first + 1, np.ones(count - 1), sizes[count:]], axis=1).astype(np.float64)

    def explain(predict: Predict, _count: int, _row: int) -> Any:
        explainer = PartitionExplainer(predict, Partition(np.zeros((1, count)), clustering=tree))
        return explainer(np.ones((1, count)), max_evals=2 * count**2, silent=True).values

    return _games(problem, output, superpixels, background, 0, explain, every=True)


def _games(
    problem: Problem,
    output: Output,
    superpixels: Tensor,
    background: Tensor,
    seed: int,
    explain: Callable[[Predict, int, int], Any],
    every: bool = False,
) -> Tensor:
    """Explains an image after the other: `explain` gets a function from coalitions (n, M) to outputs, M, and the row; it gives (1, M, T).

    Superpixels that are as the background get 0 without being evaluated, as in our own, unless `every` one counts.
    """
    count = int(superpixels.max()) + 1
    values = np.zeros((len(problem.images), count, problem.targets.shape[1]))
    for row, image in enumerate(problem.images):
        changes = (image != background).any(0).any(0)
        members = torch.arange(count, device=image.device) if every else superpixels[changes].unique()
        predict = _predictor(problem, output, problem.targets[row])

        def of_coalitions(coalitions: Any, image: Tensor = image, members: Tensor = members, predict: Predict = predict) -> Any:
            present = torch.ones(len(coalitions), count, dtype=torch.bool, device=image.device)
            present[:, members] = torch.from_numpy(np.asarray(coalitions) > 0).to(image.device)
            kept = present[:, None, superpixels]
            altered = [predict(torch.where(kept, image, absent).flatten(1).cpu().numpy()) for absent in background]
            return np.mean(altered, axis=0)

        with global_seed(seed + row):
            if len(members):
                values[row, members.cpu().numpy()] = explain(of_coalitions, len(members), row).reshape(len(members), -1)
    return _on_pixels(values, superpixels)


def _on_pixels(values: Any, superpixels: Tensor) -> Tensor:
    """(B, M, T) to (B, T, 1, H, W)."""
    return torch.from_numpy(values).to(superpixels.device, torch.float32).transpose(1, 2)[:, :, None, superpixels]


def _predictor(problem: Problem, output: Output, targets: Tensor) -> Predict:
    """A function from flat images (n, C H W) to the explained outputs (n, T), as numpy arrays, in chunks."""
    shape, device = problem.images.shape[1:], problem.images.device
    network = Selected(problem.classifier, output, targets)

    def predict(rows: Any) -> Any:
        with torch.inference_mode():
            parts = torch.from_numpy(np.asarray(rows, dtype=np.float32)).split(problem.chunk)
            return torch.cat([network(part.to(device).unflatten(1, shape)) for part in parts]).double().cpu().numpy()

    return predict


def _targets_second(values: Any) -> Tensor:
    """(N, C, H, W, T) float64, as shap gives them, to (N, T, C, H, W) float32."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -1, 1), dtype=np.float32))


@contextlib.contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Put back every attribute and hook of all modules: DeepExplainer leaves tensors behind in nested ones, and, if it fails, its hooks."""
    saved = []
    for module in model.modules():
        attributes = vars(module)
        saved.append((attributes, dict(attributes), {name: dict(value) for name, value in attributes.items() if isinstance(value, dict)}))
    try:
        yield
    finally:
        for attributes, before, contents in saved:
            attributes.clear()
            attributes.update(before)
            for name, content in contents.items():
                # In place: handles of other hooks refer to this very dictionary.
                attributes[name].clear()
                attributes[name].update(content)
