"""Our methods with alibi's settings, where they mean the same, on the same pairs."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import torch

from xaibench.counterfactuals.guided_by_prototypes import GuidedByPrototypes
from xaibench.counterfactuals.pertinent_negative import PertinentNegative
from xaibench.counterfactuals.pertinent_positive import PertinentPositive
from xaibench.counterfactuals.wachter import Wachter
from xaibench.problem import Counterfactuals, Output, Problem
from xaibench.searching import CounterfactualExplainer, searched, verdict
from xaibench.seeding import Rng

Array = np.ndarray

DIFFERS = {
    "wachter": "ours accepts a counterfactual whose probability is at least target_proba - tol; alibi's rounds are Adam's with a falling "
    "rate, after a sweep of ten weights; ours take steps of Barzilai and Borwein, at most 100 in a round (1,000, as alibi's at most, gave "
    "the same distances in eight times as many)",
    "guided_by_prototypes": "ours is driven to the target; alibi's to any other class than the predicted one, and takes only images of the "
    "target, whose prototype pulls; ours are prototypes of labels, alibi's of predicted classes",
    "prototypes_alone": "as guided_by_prototypes",
    "pertinent_negative": "alibi's takes any other class; ours is asked for the class that alibi's reached (where it reached none: the "
    "second most likely one)",
    "pertinent_positive": "nothing that is known",
}
"""What does not mean the same."""


RUNS: dict[str, tuple[str, Output]] = {name: (name, "probability") for name in DIFFERS}
RUNS |= {f"{name}, logits": (name, "logit") for name in DIFFERS if name != "wachter"}
"""Our runs: alibi's method, and what the loss is of. alibi's is of probabilities; logits are our default."""


def method(name: str, settings: dict[str, Any], output: Output = "probability") -> CounterfactualExplainer:
    """Our method at alibi's settings; all rounds take all their iterations, as alibi's do, but for Wachter's."""
    if name == "wachter":
        return Wachter(
            output=output,
            distance=settings["distance_fn"],
            aim=settings["target_proba"],
            confidence=settings["target_proba"] - settings["tol"],
            weight=settings["lam_init"],
            bisections=settings["max_lam_steps"],
            learning_rate=settings["learning_rate_init"],
        )
    shared: dict[str, Any] = {
        "output": output,
        "c": settings["c_init"],
        "bisections": settings["c_steps"],
        "iterations": settings["max_iterations"],
    }
    shared |= {"patience": 0, "learning_rate": settings["learning_rate_init"], **{key: settings[key] for key in ("beta", "gamma", "kappa")}}
    if name in ("guided_by_prototypes", "prototypes_alone"):
        return GuidedByPrototypes(**shared, theta=settings["theta"], neighbors=settings["k"], train_images=60_000)
    return {"pertinent_negative": PertinentNegative, "pertinent_positive": PertinentPositive}[name](
        **shared, absent=settings["no_info_val"]
    )


def timed(explainer: CounterfactualExplainer, problem: Problem) -> tuple[Counterfactuals, float]:
    """The counterfactuals of all pairs at once, and the CPU seconds that they took."""
    reason = explainer.unsupported(problem)
    if reason is not None:
        raise ValueError(f"{type(explainer).__name__}: {reason}")
    start = time.process_time()
    found = searched(explainer, problem, Rng(0, 0, type(explainer).__name__))
    return found, time.process_time() - start


def arrays(explainer: CounterfactualExplainer, problem: Problem) -> dict[str, Array]:
    """Images (N, T, H, W), whether the method calls them found, passes, and CPU seconds for all."""
    found, seconds = timed(explainer, problem)
    result = {"images": found.images[:, :, 0].numpy(), "own": found.found.numpy(), "seconds": np.array(seconds)}
    return result | {name: getattr(found, name).numpy() for name in ("forward", "backward")}


def judged(problem: Problem, images: Array, targets: Array) -> tuple[Array, Array]:
    """(N, T) each: whether clipped images (N, T, H, W) are taken for the targets, by the one rule, and which class they have; NaN never."""
    flat = torch.from_numpy(np.clip(images, 0, 1).astype(np.float32)).reshape(-1, 1, *images.shape[2:])
    with torch.inference_mode():
        logits = problem.classifier(flat)
    there = ~np.isnan(images).any((2, 3))
    found = verdict(logits, torch.from_numpy(targets).reshape(-1), 0.0).numpy().reshape(targets.shape)
    return found & there, logits.argmax(1).numpy().reshape(targets.shape)


def targets_of(name: str, problem: Problem, theirs: Array) -> Array:
    """(N, T): the classes that are asked for; of pertinent negatives, which alibi looks for without a target, those that it reached."""
    if name == "pertinent_positive":
        return predicted(problem)[:, None]
    if name == "pertinent_negative":
        second = problem.targets[:, :1].numpy()
        _, reached = judged(problem, theirs, second)
        there = ~np.isnan(theirs).any((2, 3)) & (reached != predicted(problem)[:, None])
        return np.where(there, reached, second)
    return problem.targets.numpy()


def predicted(problem: Problem) -> Array:
    """(N,): the predicted classes."""
    with torch.inference_mode():
        return problem.classifier(problem.images).argmax(1).numpy()


def asking(problem: Problem, targets: Array) -> Problem:
    """The same problem for other targets."""
    return dataclasses.replace(problem, targets=torch.from_numpy(targets))
