"""What a network of the user's must do before it is explained: take the images, give logits, the same ones twice, also when rewritten."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xaibench.component import ConfigurationError

VERSION = 1

PART = 64
"""Images that go through the network at once."""

CLOSE = 1e-4
"""How far logits of the rewritten network may be from the given one's, in shares of the largest: rounding."""


def logits(network: nn.Module, images: Tensor, told: str) -> Tensor:
    """What a network gives for images (N, C, H, W), where these are finite logits (N, K) of two classes or more.

    `told` begins the message of the ConfigurationError that is raised otherwise.
    """
    try:
        with torch.inference_mode():
            parts = [network(part.clone()) for part in images.split(PART)]
    except Exception as error:  # whatever a foreign network raises
        wanted = f"expected a network for images of shape {tuple(images.shape[1:])} and type {images.dtype}"
        raise ConfigurationError(f"{told}: {wanted}{_hint(network, images)} ({type(error).__name__}: {error})") from error
    wrong = next((part for part in parts if not isinstance(part, Tensor) or part.dim() != 2), None)
    if wrong is not None:
        got = f"shape {tuple(wrong.shape)}" if isinstance(wrong, Tensor) else type(wrong).__name__
        raise ConfigurationError(f"{told}: expected logits (N, K), one tensor, got {got}")
    found = torch.cat(parts)
    if found.shape[1] == 1:
        advice = "give the two logits [0, z] in place of one logit z"
        raise ConfigurationError(f"{told}: expected logits of two classes or more, got one output, which softmax makes 1; {advice}")
    if not found.isfinite().all():
        raise ConfigurationError(f"{told}: expected finite logits of {found.shape[1]} classes, got NaN or infinite values")
    return found


def steady(network: nn.Module, images: Tensor, told: str) -> Tensor:
    """`logits`, where a second call gives the same ones."""
    found = logits(network, images, told)
    if not torch.equal(found, logits(network, images, told)):
        raise ConfigurationError(f"{told}: expected the same logits for the same images; is there a random layer that ignores eval mode?")
    return found


def same(given: Tensor, rewritten: nn.Module, images: Tensor, told: str, advice: str) -> None:
    """Raise a ConfigurationError unless what was made of a network gives the logits that the network itself has given."""
    apart = float((given - logits(rewritten, images, told)).abs().max())
    if apart > CLOSE * float(given.abs().max()):
        why = "what cannot be seen when it is traced is lost, such as a hook on the whole network or a `forward` that was replaced"
        raise ConfigurationError(f"{told} rewritten gives other logits than itself, by up to {apart:.3g}: {why}; {advice}")


def _hint(network: nn.Module, images: Tensor) -> str:
    types = {value.dtype for value in network.parameters()} - {images.dtype}
    return f"; its weights are {', '.join(map(str, types))}: give model.float()" if types else ""
