"""Quantus's metrics that explain again, at the settings of ours and, where they are replayed, with our copies, networks and classes.

Every function takes one of our metrics and a case, and gives an array with one row for each image.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from xaibench.adapters import quantus
from xaibench.metric_parity.calls import PeerCall
from xaibench.metric_parity.replay import Case


def perturbed(name: str, **more: Any) -> PeerCall:
    """One of Quantus's metrics that explain perturbed copies, with our copies where they are replayed."""

    def call(metric: Any, case: Case) -> Any:
        settings = {"nr_samples": metric.samples, "return_nan_when_prediction_changes": False}
        settings |= {key: value(metric) if callable(value) else value for key, value in more.items()}
        if case.replayed is not None:
            settings["perturb_func"] = case.replayed.next_inputs()
        return np.array(case.quantus(name, settings, again=True))

    return call


def stable(name: str, **more: Any) -> PeerCall:
    """One of Quantus's relative stabilities; it gives NaN where a copy changes the predicted class."""
    return perturbed(name, eps_min=lambda metric: metric.eps, return_nan_when_prediction_changes=True, **more)


def continuity(metric: Any, case: Case) -> Any:
    """(B,): the largest ratio over our shifts; its own cannot be set, only how many."""
    with contextlib.ExitStack() as stack:
        if case.replayed is not None:
            copies = case.replayed.next_inputs()
            shifted: Callable[..., Any] = lambda arr, *_, **__: copies(arr).reshape(arr.shape)  # noqa: E731
            stack.enter_context(quantus.replaced(metrics__robustness__continuity__batched_translation=shifted))
        return np.array(case.quantus("Continuity", {"nr_steps": metric.copies}, again=True))


def model_randomization(metric: Any, case: Case) -> Any:
    """(B, L): the similarity after each layer, with our random networks where they are replayed."""
    with _random_networks(case):
        found = case.quantus("MPRT", {"layer_order": metric.order, "abs": metric.absolute}, again=True)
    return np.array([scores for name, scores in found.items() if name != "original"]).T


def smooth_model_randomization(metric: Any, case: Case) -> Any:
    """(B, L): the same of mean maps; it explains with the function `explain` of its own, which is replaced by our explainer."""
    calls = itertools.count()
    copies = None if case.replayed is None else case.replayed.inputs[:, : metric.samples]

    def explain(model: Any, inputs: Any, targets: Any, **_: Any) -> Any:
        images = torch.as_tensor(inputs, dtype=torch.float32) if copies is None else copies[:, next(calls) % metric.samples]
        return case.explain(model, images, torch.as_tensor(targets)).numpy().copy()

    settings = {"layer_order": metric.order, "abs": metric.absolute, "nr_samples": metric.samples, "noise_magnitude": metric.noise}
    with _random_networks(case), quantus.replaced(explain=explain):
        found = case.quantus("SmoothMPRT", settings, again=True, maps=None)
    return np.array([scores for name, scores in found.items() if name != "original"]).T


def efficient_model_randomization(metric: Any, case: Case) -> Any:
    """(B,): the relative rise of the histogram's entropy; of logits it cannot take the entropy that it then does not use."""
    settings = {"abs": metric.absolute, "complexity_func_kwargs": {"n_bins": metric.bins}}
    with _random_networks(case):
        return np.array(case.quantus("EfficientMPRT", settings, again=True, softmax=True))


@contextlib.contextmanager
def _random_networks(case: Case) -> Iterator[None]:
    """With our random networks in the place of Quantus's."""
    if case.replayed is None:
        yield
        return
    networks = [(str(place), network) for place, network in enumerate(case.replayed.models)]
    path = "helpers__model__pytorch_model__PyTorchModel__"
    functions: dict[str, Any] = {
        f"{path}get_random_layer_generator": lambda *_, **__: iter(networks),
        f"{path}random_layer_generator_length": property(lambda _: len(networks)),
    }
    with quantus.replaced(**functions):
        yield


def random_logit(metric: Any, case: Case) -> Any:
    """(B,): with our other classes where they are replayed."""
    classes = case.problem.probabilities.shape[1] if case.problem.probabilities is not None else 10
    with contextlib.ExitStack() as stack:
        if case.replayed is not None and case.replayed.classes is not None:
            own, other = case.problem.targets[:, 0], case.replayed.classes
            path = "metrics__randomisation__random_logit__np__random__randint"
            places = (other - (other > own).long()).numpy()
            stack.enter_context(quantus.replaced(**{path: lambda *_, **__: places}))
        settings = {"num_classes": classes, "abs": metric.absolute, "similarity_func": _spearman}
        return np.array(case.quantus("RandomLogit", settings, again=True))


def _spearman(one: Any, other: Any, **_: Any) -> Any:
    from scipy.stats import spearmanr

    return np.array([spearmanr(first, second)[0] for first, second in zip(one, other, strict=True)])


def input_invariance(metric: Any, case: Case) -> Any:
    """(B,): 1 where it finds the map unchanged."""
    return np.array(case.quantus("InputInvariance", {"input_shift": metric.shift}, again=True), dtype=np.float64)
