"""Quantus's metrics on a `Problem`: the peers of ours. Import and conversion only; Quantus is used by tests and comparisons alone.

Quantus scores one class of an image: a problem's first target. It works on float32 arrays, batch by batch.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.problem import Problem
from xaibench.seeding import global_seed

LIBRARY = "quantus"

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Takes a network, images (n, C, H, W) and classes (n,); gives attributions (n, C or 1, H, W)."""


def installed() -> bool:
    """Whether Quantus can be imported."""
    return importlib.util.find_spec(LIBRARY) is not None


def score(
    name: str,
    problem: Problem,
    attributions: Tensor | None,
    settings: Mapping[str, Any] | None = None,
    explain: Explain | None = None,
    masks: Tensor | None = None,
    custom: Any = None,
    softmax: bool = False,
    batch: int | None = None,
    seed: int = 0,
) -> Any:
    """What a metric of Quantus gives.

    Parameters
    ----------
    name
        Its class.
    problem, attributions
        Images, and (B, C or 1, H, W) for their first target; without them it explains.
    settings
        Arguments of its class. `abs` and `normalise` are False unless given, and nothing is aggregated.
    explain
        Explains again, where the metric does.
    masks
        (B, H, W), bool.
    custom
        The `custom_batch` of its call.
    softmax
        Whether it reads probabilities, not logits.
    batch
        Images at once; all of them by default.
    seed
        Of numpy's and torch's global generators, which are put back.

    Returns
    -------
    Any
        Its evaluation scores, untouched: usually a list with one item for each image.
    """
    import quantus

    cls = getattr(quantus, name)
    known = inspect.signature(cls.__init__).parameters
    plain = {"abs": False, "normalise": False, "return_aggregate": False, "disable_warnings": True, "display_progressbar": False}
    metric = cls(**{key: value for key, value in plain.items() if key in known} | dict(settings or {}))
    arrays = {
        "x_batch": _array(problem.images),
        "y_batch": _array(problem.targets[:, 0]),
        "a_batch": None if attributions is None else _array(attributions),
        "s_batch": None if masks is None else _array(masks)[:, None],
    }
    # It changes attributions in place, and the mode of networks.
    with global_seed(seed), _quiet():
        return metric(
            model=problem.model,
            **arrays,
            channel_first=True,
            explain_func=None if explain is None else _explaining(explain),
            softmax=softmax,
            device=str(problem.images.device),
            batch_size=batch or len(problem.images),
            **({} if custom is None else {"custom_batch": custom}),
        )


@contextlib.contextmanager
def replaced(**functions: Callable[..., Any]) -> Iterator[None]:
    """With other functions in the place of Quantus's, by the path below its package, with ``__`` for dots."""
    with contextlib.ExitStack() as stack:
        for path, function in functions.items():
            stack.enter_context(mock.patch(f"{LIBRARY}.{path.replace('__', '.')}", function))
        yield


def _explaining(explain: Explain) -> Callable[..., Any]:
    def call(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> Any:
        images = torch.as_tensor(np.asarray(inputs), dtype=torch.float32)
        return _array(explain(model, images, torch.as_tensor(np.asarray(targets))))

    return call


def _array(values: Tensor) -> Any:
    return values.detach().cpu().numpy().copy()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without its announcements."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
