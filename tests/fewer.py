"""The explainers of conf/explainer with fewer samples than by default, so that a test of all of them takes seconds."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import yaml

from xaibench import component
from xaibench.problem import Explainer
from xaibench.superpixels import Squares

FILES = sorted((Path(__file__).parents[1] / "conf" / "explainer").glob("*.yaml"))

EXTRAS = {"anchors": "alibi"}
"""Explainers that need a package which is not always installed."""

FEWER: dict[str, dict[str, Any]] = {
    "anchors": {"superpixels": Squares(side=2), "batch_size": 20},
    "blur_integrated_gradients": {"steps": 20},
    "exact_shapley": {"superpixels": Squares(side=3)},
    "expected_gradients": {"samples": 20},
    "extremal_perturbation": {"iterations": 4, "areas": (0.2,)},
    "guided_integrated_gradients": {"steps": 16},
    "integrated_gradients": {"steps": 6},
    "kernel_shap": {"samples": 200},
    "lime": {"samples": 100},
    "meaningful_perturbation": {"iterations": 6},
    "occlusion": {"patch": 6, "stride": 3},
    "owen_shapley": {"depth": 3},
    "permutation_shapley": {"samples": 200},
    "rise": {"masks": 100},
    "smoothgrad": {"samples": 6},
    "smoothgrad_squared": {"samples": 6},
    "vargrad": {"samples": 6},
}
"""Explainer -> fields that make it cheap."""


def names() -> list[str]:
    """All that can run here."""
    return [path.stem for path in FILES if path.stem not in EXTRAS or importlib.util.find_spec(EXTRAS[path.stem])]


def fewer(name: str, explainer: Explainer) -> Explainer:
    """The explainer of this name with fewer samples."""
    return dataclasses.replace(explainer, **FEWER.get(name, {}))


def load(name: str) -> Explainer:
    """As configured, but with fewer samples."""
    file = next(path for path in FILES if path.stem == name)
    return fewer(name, component.build(yaml.safe_load(file.read_text()), name))
