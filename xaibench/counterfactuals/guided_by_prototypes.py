"""Counterfactuals guided by prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench import autoencoders
from xaibench.component import NonNegativeFloat, PositiveInt
from xaibench.counterfactuals.fista import FistaSearch, Goal, State, squares
from xaibench.neighbors import nearest
from xaibench.problem import Problem
from xaibench.searching import Pairs
from xaibench.seeding import Rng


@dataclass(frozen=True)
class GuidedByPrototypes(FistaSearch):
    """An image of the target class, close to the given one and pulled towards that class's prototype.

    Adds theta |ENC(x') - prototype|_2^2 to the loss of `FistaSearch`, for x' in [0, 1].

    Parameters
    ----------
    output, c, bisections, iterations, learning_rate, beta, gamma, kappa, patience
        See `FistaSearch`.
    theta
        Weight of the distance from the prototype. With gamma = theta = 0 there need be no autoencoder.
    prototype
        ``encoder``: the mean code of the target's training images whose codes are nearest to that of the image. ``kdtree``: the
        target's training image that is nearest to the image, and the distance from it is taken in pixels.
    neighbors
        Of how many training images the mean code is taken; null takes all. Only with ``encoder``.
    train_images
        Prototypes come from so many training images, the first of a permutation that all images share.
    confidence, autoencoder, least_agreement
        See `AutoencodedSearch`.

    Returns
    -------
    Counterfactuals
        (B, T, C, H, W), in [0, 1]; the given image where none was found. A target without training images pulls nowhere.

    References
    ----------
    Van Looveren and Klaise, Interpretable counterfactual explanations guided by prototypes, ECML 2021 (arXiv:1907.02584), sections 3 and
    4; FISTA as in Dhurandhar et al. (arXiv:1802.07623), equations 5 to 7. Differs: a target is given, and L asks for it (the paper's asks
    for any other class than the image's, and takes the nearest prototype); training images count by their labels, not by their predicted
    classes; rounds end early; the defaults are for codes in [-1, 1]. The nearest training image is found by comparison with all.
    """

    paper: ClassVar[str] = "Van Looveren and Klaise, 2021 (arXiv:1907.02584)"

    theta: NonNegativeFloat = 10.0
    prototype: Literal["encoder", "kdtree"] = "encoder"
    neighbors: PositiveInt | None = 5
    train_images: PositiveInt = 10_000

    @property
    def encodes(self) -> bool:
        """See `FistaSearch`."""
        return super().encodes or (self.theta > 0 and self.prototype == "encoder")

    def unsupported(self, problem: Problem) -> str | None:
        """Needs training images beside."""
        reason = super().unsupported(problem)
        if reason is None and self.theta and (problem.training_data is None or not len(problem.training_data.labels)):
            return "needs training images for the prototypes, and there are none"
        return reason

    def goal(self, problem: Problem, pairs: Pairs, rng: Rng) -> Goal:
        """See `FistaSearch`."""
        more = self._prototypes(problem, pairs, rng) if self.theta else {}
        images = pairs.images
        return Goal(images, images, torch.zeros_like(images), torch.ones_like(images), more=more)

    def added(self, points: Tensor, codes: Tensor, state: State) -> Tensor | float:
        """See `FistaSearch`."""
        if not self.theta:
            return 0.0
        return state["pull"] * squares((codes if self.prototype == "encoder" else points) - state["prototype"])

    def _prototypes(self, problem: Problem, pairs: Pairs, rng: Rng) -> dict[str, Tensor]:
        """Those of the pairs' targets, and how strongly they pull."""
        if problem.training_data is None:
            raise ValueError("Problem.training_data=None: expected training images for the prototypes")
        data = problem.training_data
        rows = torch.randperm(len(data.labels), generator=rng.shared())[: self.train_images]
        images, labels = data.images[rows], data.labels[rows]
        if self.prototype == "kdtree":
            means = nearest_means(pairs.images, pairs.targets, images, labels, 1)
        else:
            codes, own = self._codes(problem, images), self._codes(problem, pairs.images)
            means = nearest_means(own, pairs.targets, codes, labels.to(codes.device), self.neighbors)
        present = means.isfinite().flatten(1).all(1)
        return {"prototype": means.nan_to_num(0), "pull": self.theta * present.to(means.dtype)}

    def _codes(self, problem: Problem, images: Tensor) -> Tensor:
        """(n, L), on the device, of images on any."""
        encoder, device = problem.helpers["autoencoder"].get_submodule("encoder"), problem.images.device
        return torch.cat([autoencoders.through(problem, encoder, part.to(device)) for part in images.split(problem.chunk)])


def nearest_means(points: Tensor, targets: Tensor, features: Tensor, labels: Tensor, neighbors: int | None) -> Tensor:
    """(n, ...): the mean of the `neighbors` features (N, ...), of those labeled `targets`, that are nearest to each of the points (n, ...).

    Of all of them where there are fewer, or with None; NaN where there is none.
    """
    if neighbors is None:
        classes = torch.arange(int(torch.cat([labels, targets.to(labels.device)]).max()) + 1, device=labels.device)
        member = (labels == classes[:, None]).to(features.dtype)
        means = (member @ features.flatten(1)) / member.sum(1, keepdim=True)
        return means[targets.to(means.device)].reshape(-1, *features.shape[1:]).to(points.device)
    _, rows = nearest(points, features, neighbors, labels, targets)
    rows = rows.to(features.device)
    known = rows >= 0
    total = (features[rows.clamp(min=0)].flatten(2) * known[..., None]).sum(1)
    return (total / known.sum(1, keepdim=True)).reshape(-1, *features.shape[1:]).to(points.device)
