"""What both libraries are given: two trained networks, test images with their targets, and settings that mean the same to both."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xaibench import autoencoders
from xaibench.autoencoders import ConvAutoencoder
from xaibench.datasets.mnist import Mnist
from xaibench.explainers.gradient import Gradient
from xaibench.identity import Explaining, train_key
from xaibench.models.conv64_conv32_dense256 import Conv64Conv32Dense256
from xaibench.problem import Problem, Training
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.store import Store
from xaibench.training import Trainer

TRAINING = Training(Mnist(), Conv64Conv32Dense256(), Trainer(), seed=0)
"""Study C's network."""

AUTOENCODER = autoencoders.training(TRAINING, ConvAutoencoder())

FISTA = {"kappa": 0.0, "beta": 0.1, "learning_rate_init": 1e-2, "clip": [-1000.0, 1000.0]}

SETTINGS: dict[str, dict[str, Any]] = {
    "wachter": {"distance_fn": "l1", "target_proba": 1.0, "tol": 0.05, "lam_init": 0.1, "max_lam_steps": 10, "max_iter": 1000}
    | {"early_stop": 50, "learning_rate_init": 0.1, "decay": True},
    "guided_by_prototypes": FISTA | {"gamma": 100.0, "theta": 100.0, "k": 5, "c_init": 1.0, "c_steps": 5, "max_iterations": 400},
    "prototypes_alone": FISTA | {"gamma": 0.0, "theta": 200.0, "k": 5, "c_init": 1.0, "c_steps": 5, "max_iterations": 400},
    "pertinent_negative": FISTA | {"gamma": 0.0, "c_init": 10.0, "c_steps": 10, "max_iterations": 200, "no_info_val": 0.0},
    "pertinent_positive": FISTA | {"gamma": 0.0, "c_init": 10.0, "c_steps": 10, "max_iterations": 200, "no_info_val": 0.0},
}
"""alibi's arguments; all that are not named here have its defaults, and images are in [0, 1]."""

FEW = {
    "wachter.black_box": SETTINGS["wachter"] | {"max_lam_steps": 1, "max_iter": 10},
    "guided_by_prototypes.black_box": SETTINGS["guided_by_prototypes"] | {"c_steps": 1, "max_iterations": 10},
}
"""The same with few iterations, to time one: as a black box, each takes seconds."""


def load(images: int) -> Problem:
    """Test images of all classes, rightly classified, each for the most and the least likely other class, with the autoencoder."""
    stages = Stages(Store(Path("results/store")), Runtime(device="cpu", threads=torch.get_num_threads()))
    explain_on = ExplainOn(count=images, per_class=-(-images // 10), correct=True, targets="all")
    problem = stages.problem(Explaining(TRAINING, explain_on, Gradient()), {"autoencoder": AUTOENCODER})
    with torch.inference_mode():
        order = problem.classifier(problem.images).argsort(dim=1, descending=True)
    return dataclasses.replace(problem, targets=order[:, [1, -1]].contiguous())


def export(problem: Problem, folder: Path) -> None:
    """Write networks.npz (weights), problem.npz (images, classes, training images, what the networks give) and settings.json."""
    folder.mkdir(parents=True, exist_ok=True)
    networks = {"classifier": problem.classifier, "autoencoder": problem.helpers["autoencoder"]}
    weights = {f"{name}.{key}": value.numpy() for name, network in networks.items() for key, value in network.state_dict().items()}
    np.savez_compressed(folder / "networks.npz", **weights)
    assert problem.training_data is not None
    with torch.inference_mode():
        logits, reconstructed = problem.classifier(problem.images), networks["autoencoder"](problem.images)
    tensors = {"images": problem.images[:, 0], "training": problem.training_data.images[:, 0], "reconstructed": reconstructed[:, 0]}
    tensors |= {"logits": logits, "predicted": logits.argmax(1), "targets": problem.targets, "labels": problem.labels}
    np.savez(folder / "problem.npz", **{name: tensor.numpy() for name, tensor in (tensors | {"index": problem.index}).items()})
    (folder / "settings.json").write_text(json.dumps(SETTINGS | FEW, indent=1) + "\n")


def keys() -> dict[str, str]:
    """The keys of both networks."""
    return {"classifier": train_key(TRAINING)[0], "autoencoder": train_key(AUTOENCODER)[0]}
