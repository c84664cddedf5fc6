"""Growing spheres: random images, nearer or farther, until one is taken for the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import PositiveFloat, PositiveInt
from xaibench.counterfactuals.black_box import BlackBoxSearch
from xaibench.problem import Passes, Problem
from xaibench.searching import Pairs, Proposals
from xaibench.seeding import Rng

PREFIXES = 16
"""So many coordinates are tried to be put back in one round."""

ROUND = 2**32
"""More than there are targets: keeps the draws of rounds apart."""


@dataclass(frozen=True)
class GrowingSpheres(BlackBoxSearch):
    """The nearest of random images around the original that the classifier takes for the target, with few values changed.

    Images are drawn uniformly from a ball around the original, whose radius is halved as long as one of them is taken for the target;
    then from spherical layers around it, each beyond the last, until one is. Then the values of the nearest are put back to the
    original's, the least changed first, until one more would lose the target.

    Parameters
    ----------
    radius
        Radius of the first ball, and, where no image in it is found, width of the layers: Euclidean, of images in [0, 1].
    samples
        Images drawn from a ball or a layer.
    most_rounds
        Balls and layers at most; a pair without an image by then is not found. In many dimensions a random direction hardly ever leads
        to the target, and not found is the usual outcome.
    sparse
        Whether values are put back.
    confidence
        See `CounterfactualExplainer`.

    Returns
    -------
    Counterfactuals
        The nearest image that was drawn and found, sparse; the original where none was.

    References
    ----------
    Laugel et al., Inverse classification for comparison-based interpretability in machine learning, 2018 (arXiv:1712.08443), algorithms
    1 and 2. Differs: of several classes, a given one is looked for; drawn images are clipped to [0, 1] before the classifier sees them,
    and distances are those of clipped images; the nearest of all images drawn is taken, not only of those in the last layer, so that no
    layer beyond it is searched; rounds are limited. The order in which values are put back is the paper's, and so is the result; several
    prefixes of it are tried at once. The directions of a round are drawn once for all pairs and mirrored for each pair by signs of its
    own: uniform for every pair, and uncorrelated between pairs.
    """

    paper: ClassVar[str] = "Laugel et al., 2018 (arXiv:1712.08443)"

    radius: PositiveFloat = 1.0
    samples: PositiveInt = 50
    most_rounds: PositiveInt = 30
    sparse: bool = True

    def most_passes(self, problem: Problem) -> Passes:
        """All rounds, and one pass for each value but the last that is put back."""
        values = problem.images[0].numel()
        return Passes(self.samples * self.most_rounds + (values - 1 if self.sparse else 0))

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        """See `CounterfactualExplainer`."""
        images, distances, forward = self._nearest(problem, pairs, rng)
        found = distances.isfinite().nonzero()[:, 0]
        if self.sparse and len(found):
            images[found], more = self._put_back(problem, pairs.take(found), images[found])
            forward[found] += more
        return Proposals(images, forward, torch.zeros_like(forward))

    def _nearest(self, problem: Problem, pairs: Pairs, rng: Rng) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest image found for each pair (algorithm 1), its distance, inf where there is none, and the passes taken."""
        images, forward, generator = pairs.images.clone(), torch.zeros_like(pairs.targets), rng.shared()
        distances = images.new_full((len(pairs),), torch.inf)
        inner, outer, step = (torch.full_like(distances, radius) for radius in (0.0, self.radius, self.radius))
        signs = torch.cat([_signs(pairs.take(rows), rng) for rows in torch.arange(len(pairs), device=images.device).split(problem.chunk)])
        active = torch.arange(len(pairs), device=images.device)
        for number in range(self.most_rounds):
            if not len(active):
                break
            directions = unit(torch.randn(self.samples, images[0].numel(), generator=generator)).to(images.device)
            one = pairs.take(active)
            draws = rng.each(one.index, one.targets + (number + 1) * ROUND).uniform(self.samples)
            lengths = radii(draws, inner[active], outer[active], images[0].numel())
            candidates, near = self._round(problem, one, signs[active], directions.view(-1, *images.shape[1:]), lengths)
            forward[active] += self.samples
            near = torch.where(near.isfinite(), near.minimum(outer[active]), near)  # not beyond its layer by a rounding error
            closer = near < distances[active]
            images[active[closer]], distances[active[closer]] = candidates[closer], near[closer]
            shrinks = (inner[active] == 0) & near.isfinite()
            smaller, grown = active[shrinks], active[~shrinks]
            step[smaller] /= 2
            outer[smaller] = step[smaller]
            inner[grown] = outer[grown]
            outer[grown] += step[grown]
            active = active[inner[active] < distances[active]]
        return images, distances, forward

    def _round(self, problem: Problem, pairs: Pairs, signs: Tensor, directions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Of each pair's drawn images the nearest that is accepted, and its distance, inf where none is."""
        distances = lengths.new_empty(lengths.numel())

        def draw(row: Tensor, sample: Tensor) -> Tensor:
            moves = directions[sample].mul_(signs[row]).mul_(lengths[row, sample][:, None, None, None])
            return moves.add_(pairs.images[row]).clamp_(0, 1)

        def make(place: Tensor) -> Tensor:
            row = place // self.samples
            drawn = draw(row, place % self.samples)
            distances[place] = torch.linalg.vector_norm((drawn - pairs.images[row]).flatten(1), dim=1)
            return drawn

        place = torch.arange(len(distances), device=distances.device)
        good = self.accepted(problem, pairs.targets.repeat_interleave(self.samples), make, place)
        near, sample = distances.masked_fill_(~good, torch.inf).view_as(lengths).min(dim=1)
        return torch.cat([draw(rows, sample[rows]) for rows in place[: len(pairs)].split(problem.chunk)]), near

    def _put_back(self, problem: Problem, pairs: Pairs, images: Tensor) -> tuple[Tensor, Tensor]:
        """The images with values put back (algorithm 2), and the passes taken."""
        changes = (images - pairs.images).flatten(1).abs_()
        size = changes.shape[1]
        rank = changes.argsort(dim=1, stable=True).argsort(dim=1).to(torch.int32).view_as(images)
        back, forward = (changes == 0).sum(dim=1), torch.zeros_like(pairs.targets)

        def prefix(rows: Tensor, count: Tensor) -> Tensor:
            return torch.where(rank[rows] < count[:, None, None, None], pairs.images[rows], images[rows])

        active = torch.arange(len(pairs), device=images.device)
        while len(active):
            counts = back[active, None] + torch.arange(1, PREFIXES + 1, device=images.device)
            tried = counts < size  # all of them would be the original
            row, place = tried.nonzero(as_tuple=True)
            rows, flat = active[row], counts[row, place]
            good = torch.zeros_like(tried)
            good[row, place] = self.accepted(problem, pairs.targets[rows], prefix, rows, flat)
            passed = good.cumprod(dim=1).sum(dim=1)
            back[active] += passed
            forward[active] += tried.sum(dim=1)
            active = active[passed == PREFIXES]
        return torch.cat(
            [prefix(rows, back[rows]) for rows in torch.arange(len(pairs), device=images.device).split(problem.chunk)]
        ), forward


def radii(uniform: Tensor, inner: Tensor, outer: Tensor, dimensions: int) -> Tensor:
    """(n, S): distances from the center of points that are uniform in spherical layers, from uniform draws (n, S) and radii (n,)."""
    hollow = ((inner / outer) ** dimensions)[:, None]  # the share of the ball's volume that the layer leaves out
    return (outer[:, None] * (hollow + (1 - hollow) * uniform) ** (1 / dimensions)).clamp(inner[:, None], outer[:, None])


def unit(vectors: Tensor) -> Tensor:
    """(S, D): vectors of length 1."""
    return vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)


def _signs(pairs: Pairs, rng: Rng) -> Tensor:
    """(n, C, H, W): -1 or 1, independent for each pair and value."""
    draws = rng.each(pairs.index, pairs.targets).uniform(pairs.images[0].numel())
    return torch.where(draws < 0.5, -1.0, 1.0).view_as(pairs.images)
