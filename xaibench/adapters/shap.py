"""shap: import and conversion only."""

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
VERSION = 1

RULES = frozenset(
    {"ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "Sigmoid", "Tanh", "Softplus", "Softmax", "MaxPool1d", "MaxPool2d", "MaxPool3d"}
)
"""Names of the nonlinear modules that DeepExplainer has rules for. Written out, so that planning a grid need not import shap."""


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


def without_background(problem: Problem) -> str | None:
    """Why an explainer that compares with background images cannot explain this problem, or None."""
    return None if len(problem.background) else "needs background images, and there are none"


def expected_gradients(problem: Problem, output: Output, samples: int, seeds: list[int]) -> Tensor:
    """GradientExplainer: (B, T, C, H, W); `seeds`, below 2**32, one for each image."""
    from shap import GradientExplainer

    wrapper = Selected(problem.classifier, output, problem.targets[0])
    found = []
    with torch.enable_grad(), global_seed(0):
        explainer = GradientExplainer(wrapper, problem.background, batch_size=problem.chunk)
        for row, seed in enumerate(seeds):
            wrapper.targets = problem.targets[row]
            found.append(explainer.shap_values(problem.images[row : row + 1], nsamples=samples, rseed=seed))
    return _targets_second(np.concatenate(found)).to(problem.images.device)


def deep_shap(problem: Problem, output: Output) -> Tensor:
    """DeepExplainer: (B, T, C, H, W), averaged over the background."""
    from shap import DeepExplainer

    images, background = problem.images, problem.background
    wrapper = Selected(problem.classifier, output, problem.targets[0])
    # One explainer takes its whole background in one batch, each image of it beside a copy of the explained one.
    parts = background.split(max(problem.chunk // 2, 1))
    total: Any = 0.0
    with torch.enable_grad(), _restored(problem.classifier), warnings.catch_warnings():
        # Modules without a rule pass the gradient on, which is right where they are linear; callers check that (`reason_against`).
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


def kernel_shap(value: Callable[[Tensor], Tensor], features: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """KernelExplainer without regularization.

    Parameters
    ----------
    value
        Takes coalitions (n, M), bool, and gives the outputs (n, T) when only their features are present.
    features
        M.
    samples
        Coalitions besides the empty and the full one.
    seed
        Of the drawn coalitions, below 2**32.

    Returns
    -------
    tuple[Tensor, Tensor]
        (T, M) Shapley values, and (T,) the value of the full coalition minus that of the empty one; float64.
    """
    from shap import KernelExplainer

    def predict(coalitions: Any) -> Any:
        return value(torch.from_numpy(coalitions > 0)).double().cpu().numpy()

    with global_seed(seed):
        explainer = KernelExplainer(predict, np.zeros((1, features)))
        values = explainer.shap_values(np.ones((1, features)), nsamples=samples, l1_reg=False, silent=True)
    return torch.from_numpy(values[0].T.copy()), torch.from_numpy(explainer.fx - explainer.fnull)


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
