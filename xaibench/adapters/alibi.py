"""alibi: import and conversion only."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.seeding import global_seed

LIBRARY = "alibi"
VERSION = 1


def missing() -> str | None:
    """What to do if alibi is not installed, or None."""
    return None if importlib.util.find_spec("alibi") else "needs alibi: pip install 'xaibench[alibi]'"


def anchor(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    regions: Tensor,
    background: Tensor,
    seed: int,
    *,
    threshold: float,
    delta: float,
    tau: float,
    p_sample: float,
    beam_size: int,
    batch_size: int,
) -> list[int]:
    """AnchorImage: the superpixels of an image's anchor.

    Parameters
    ----------
    predict
        Takes images (n, C, H, W), gives their predicted classes (n,). It is called once with zeros, and once with the image.
    image, regions
        (C, H, W), and (H, W), int64: each pixel's superpixel, numbered without gaps.
    background
        (M, C, H, W): what absent superpixels are taken from.
    seed
        Of the samples, below 2**32.
    threshold, delta, tau, p_sample, beam_size, batch_size
        alibi's.
    """
    with warnings.catch_warnings():
        # Its import sets off other libraries' announcements.
        warnings.simplefilter("ignore")
        from alibi.explainers.anchors.anchor_image import AnchorImage

    def classes(images: Any) -> Any:
        return predict(torch.from_numpy(images).permute(0, 3, 1, 2).to(background.device)).cpu().numpy()

    height, width = regions.shape
    # alibi scales images for display by their range, which may be 0.
    with global_seed(seed), _quiet(), np.errstate(invalid="ignore", divide="ignore"):
        explainer = AnchorImage(
            classes,
            (height, width, len(image)),
            segmentation_fn=lambda _: regions.cpu().numpy(),
            images_background=background.permute(0, 2, 3, 1).cpu().numpy(),
            seed=seed,
        )
        found = explainer.explain(
            image.permute(1, 2, 0).cpu().numpy(),
            threshold=threshold,
            delta=delta,
            tau=tau,
            p_sample=p_sample,
            beam_size=beam_size,
            batch_size=batch_size,
            min_samples_start=batch_size,
            n_covered_ex=0,
        )
    return [int(number) for number in found.raw["feature"]]


def reinforcement(
    predict: Callable[[Tensor], Tensor],
    encoder: nn.Module,
    decoder: nn.Module,
    images: Tensor,
    seed: int,
    *,
    steps: int,
    batch_size: int,
    sparsity: float,
    consistency: float,
    noise: float,
    buffer: int,
    warm_up: int,
) -> Callable[[Tensor, Tensor], Tensor]:
    """CounterfactualRL with its torch backend: trained on images, it gives counterfactuals (n, C, H, W) of images and targets (n,).

    Parameters
    ----------
    predict
        Takes images (n, C, H, W), gives logits (n, K).
    encoder, decoder
        Between images and codes in [-1, 1]. Copies are used: alibi moves them to a GPU wherever there is one.
    images
        (N, C, H, W) to train with, at least `batch_size`.
    seed
        Of weights and draws, below 2**32.
    steps, batch_size, sparsity, consistency, noise, buffer, warm_up
        As those of `counterfactuals.ddpg.Settings`. Learning rates are .001, and hidden layers 256 wide, whatever is asked for.

    Raises
    ------
    ValueError
        If there are fewer images than a batch holds.
    """
    if len(images) < batch_size:
        raise ValueError(f"images: expected at least batch_size={batch_size}, got {len(images)}")
    given = {"coeff_sparsity": sparsity, "coeff_consistency": consistency, "consistency_loss": _squared_error, "num_workers": 0}
    given |= {
        "train_steps": steps,
        "batch_size": batch_size,
        "act_noise": noise,
        "replay_buffer_size": buffer,
        "exploration_steps": warm_up,
    }
    with warnings.catch_warnings():
        # Its import sets off other libraries' announcements.
        warnings.simplefilter("ignore")
        from alibi.explainers import CounterfactualRL

    def logits(batch: Any) -> Any:
        with torch.inference_mode():
            return predict(torch.from_numpy(batch).to(images.device)).cpu().numpy()

    with torch.inference_mode():
        latent = encoder(images[:1]).shape[1]
    with _contained(seed):
        coders = copy.deepcopy(encoder), copy.deepcopy(decoder)
        explainer = CounterfactualRL(logits, *coders, latent_dim=latent, backend="pytorch", seed=seed, **given)
        explainer.fit(images.cpu().numpy())

    def explain(originals: Tensor, targets: Tensor) -> Tensor:
        with _contained(seed):
            found = explainer.explain(originals.cpu().numpy(), targets.cpu().numpy())
        return torch.from_numpy(found.data["cf"]["X"]).to(originals.device)

    return explain


def _squared_error(Z_cf_pred: Tensor, Z_cf_tgt: Tensor) -> dict[str, Tensor]:  # noqa: N803 - alibi's names
    """Its own consistency loss is 0."""
    return {"consistency_loss": (Z_cf_pred - Z_cf_tgt).square().mean()}


@contextlib.contextmanager
def _contained(seed: int) -> Iterator[None]:
    """alibi seeds all generators, sets cuDNN's flags, uses torch's lazy layers, which warn, and shows progress bars."""
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        with global_seed(seed), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.filterwarnings("ignore", message="Lazy modules are a new feature")
            yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """alibi reports on every image whose anchor misses the threshold."""
    logger = logging.getLogger("alibi")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
