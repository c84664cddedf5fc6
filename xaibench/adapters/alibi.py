"""alibi: import and conversion only."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
