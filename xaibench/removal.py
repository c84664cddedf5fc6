"""Removal operators: what a removed pixel becomes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.component import Component, ConfigurationError, Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from xaibench.imputation import linear_imputation, pull_push
from xaibench.problem import Problem
from xaibench.seeding import Each, Rng

VERSION = 1

Remove = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes rows of a problem's images (n,), what is kept (n, 1, H, W) and draws (n,); gives the images without their removed pixels."""


@dataclass(frozen=True)
class Removal(Component):
    """Removes pixels from images. Scores under different operators are not comparable.

    Attributes
    ----------
    local, uses_background
        Of the class: whether what a removed pixel becomes does not depend on which others are removed, and whether on the background.
    """

    local: ClassVar[bool] = True
    uses_background: ClassVar[bool] = False

    @property
    def random(self) -> bool:
        """Whether what a removed pixel becomes is drawn: then it is called only through `prepared`."""
        return False

    def draws(self, problem: Problem) -> int:
        """How many versions of a removed pixel there are, whose outputs are to be averaged."""
        return 1

    def unsupported(self, problem: Problem) -> str | None:
        """Why pixels cannot be removed from these images, or None."""
        missing = self.uses_background and not len(problem.background)
        return f"{type(self).__name__} needs background images, and there are none" if missing else None

    def prepared(self, problem: Problem, rng: Rng) -> Remove:
        """Removes pixels from images of this problem; an image's pixels become the same in all its copies, if they are drawn."""
        return lambda rows, kept, draw: self(problem.images.index_select(0, rows), kept, problem, draw)

    @abstractmethod
    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """The images without their removed pixels, as a new tensor.

        Parameters
        ----------
        images
            (n, C, H, W), in [0, 1]; any images, not necessarily those of `problem`.
        kept
            (n, 1, H, W), bool: True where the pixel stays, in all channels.
        problem
            Gives the background.
        draw
            (n,), int64, below `draws`: the version for each image; not needed where there is one.

        Returns
        -------
        Tensor
            (n, C, H, W); kept pixels have exactly their old values.
        """


@dataclass(frozen=True)
class Constant(Removal):
    """A removed pixel takes the same value in every channel.

    Parameters
    ----------
    value
        In [0, 1]: 0 is the darkest, 1 the brightest.
    """

    value: Fraction = 0.0

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        return _mixed(images, kept, images.new_tensor(self.value))


@dataclass(frozen=True)
class Inversion(Removal):
    """A removed pixel is flipped: it takes 1 minus its value, in each channel."""

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        return _mixed(images, kept, 1 - images)


@dataclass(frozen=True)
class DatasetMean(Removal):
    """A removed pixel takes the mean of the background over all images and positions, channel by channel."""

    uses_background: ClassVar[bool] = True

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        return _mixed(images, kept, problem.background.mean(dim=(0, 2, 3))[:, None, None])


@dataclass(frozen=True)
class TrainingMean(Removal):
    """A removed pixel takes the mean of the background at its position, channel by channel."""

    uses_background: ClassVar[bool] = True

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        return _mixed(images, kept, problem.background.mean(dim=0))


@dataclass(frozen=True)
class Blur(Removal):
    """A removed pixel takes its value in the Gaussian-blurred image.

    What lies beyond the border has no weight (the others' weights are scaled to sum to 1), so a constant image stays constant. The
    image is blurred before anything is removed: what a removed pixel becomes does not depend on which others are removed.

    Parameters
    ----------
    sigma
        Standard deviation in pixels.
    """

    sigma: PositiveFloat = 3.0

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        blurred = self._weights(images.shape[2], images) @ images @ self._weights(images.shape[3], images).T
        return _mixed(images, kept, blurred)

    def _weights(self, size: int, like: Tensor) -> Tensor:
        """(size, size): row i holds the weights that make the blurred pixel i of a line."""
        place = torch.arange(size, device=like.device, dtype=like.dtype)
        # a softmax, as it divides by the largest weight first: a tiny sigma must not give 0 / 0
        return torch.softmax(-0.5 * ((place[:, None] - place) / self.sigma) ** 2, dim=1)


@dataclass(frozen=True)
class Marginal(Removal):
    """A removed pixel takes its value in a background image; outputs are averaged over several of them (the marginal expectation).

    Parameters
    ----------
    samples
        Background images, the first of the problem's; all of them if there are fewer.

    Raises
    ------
    ConfigurationError
        If it is called without `draw` though there are several.
    """

    uses_background: ClassVar[bool] = True

    samples: PositiveInt = 10

    def draws(self, problem: Problem) -> int:
        """See `Removal`."""
        return min(self.samples, len(problem.background))

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        if draw is None and (reason := several_draws(self, problem)):
            raise ConfigurationError(reason)
        return _mixed(images, kept, problem.background[0] if draw is None else problem.background.index_select(0, draw))


@dataclass(frozen=True)
class Drawn(Removal):
    """What a removed pixel becomes is drawn, for each image: the same for all targets, and however many pixels are removed.

    Parameters
    ----------
    samples
        Draws for each image, whose outputs are averaged.
    """

    samples: PositiveInt = 1

    @property
    def random(self) -> bool:
        """See `Removal`."""
        return True

    def draws(self, problem: Problem) -> int:
        """See `Removal`."""
        return self.samples

    @abstractmethod
    def noise(self, each: Each, shape: torch.Size) -> Tensor:
        """(B, C, H, W): what is drawn once for each image."""

    @abstractmethod
    def filled(self, images: Tensor, kept: Tensor, noise: Tensor, problem: Problem) -> Tensor:
        """The images without their removed pixels, as a new tensor."""

    def prepared(self, problem: Problem, rng: Rng) -> Remove:
        """See `Removal`."""
        shape, count = problem.images.shape[1:], len(problem.images)
        noise = torch.cat([self.noise(rng.each(problem.index, draw), shape) for draw in range(self.samples)])

        def remove(rows: Tensor, kept: Tensor, draw: Tensor) -> Tensor:
            return self.filled(problem.images.index_select(0, rows), kept, noise.index_select(0, draw * count + rows), problem)

        return remove

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """Raises: what is drawn needs `prepared`."""
        raise ConfigurationError(f"{self}: expected a removal that draws nothing")


@dataclass(frozen=True)
class UniformNoise(Drawn):
    """A removed pixel takes, in each channel, a value drawn uniformly from [0, 1]."""

    def noise(self, each: Each, shape: torch.Size) -> Tensor:
        """See `Drawn`."""
        return each.uniform(*shape)

    def filled(self, images: Tensor, kept: Tensor, noise: Tensor, problem: Problem) -> Tensor:
        """See `Drawn`."""
        return _mixed(images, kept, noise)


@dataclass(frozen=True)
class NoisyLinear(Drawn):
    """A removed pixel takes the weighted mean of its neighbors, all removed pixels jointly, plus a little normal noise.

    Without the edges of what was removed, a classifier cannot read off its shape. Where nothing is kept, pixels take the background's
    mean at their position. Values are not clipped. See `imputation.solve_linear`.

    Parameters
    ----------
    deviation
        Standard deviation of the noise.

    References
    ----------
    Rong et al., A consistent and efficient evaluation strategy for attribution methods, ICML 2022 (arXiv:2202.00449), section 4.
    """

    local: ClassVar[bool] = False
    uses_background: ClassVar[bool] = True

    deviation: NonNegativeFloat = 0.01

    def noise(self, each: Each, shape: torch.Size) -> Tensor:
        """See `Drawn`."""
        return each.normal(*shape)

    def filled(self, images: Tensor, kept: Tensor, noise: Tensor, problem: Problem) -> Tensor:
        """See `Drawn`."""
        return linear_imputation(images, kept, problem.background.mean(dim=0)).addcmul_(noise, ~kept, value=self.deviation)


@dataclass(frozen=True)
class Inpainting(Removal):
    """A removed pixel is filled in from kept ones, from a pyramid of averages: `imputation.pull_push`.

    Where nothing is kept, pixels take the background's mean at their position.

    References
    ----------
    Gortler et al., The Lumigraph, SIGGRAPH 1996, section 3.4 (pull-push).
    """

    local: ClassVar[bool] = False
    uses_background: ClassVar[bool] = True

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        """See `Removal`."""
        return pull_push(images, kept, problem.background.mean(dim=0))


def several_draws(removal: Removal, problem: Problem) -> str | None:
    """Why what does not average over versions of a removed pixel cannot use this removal, or None."""
    if removal.random:
        return f"{removal} draws what a removed pixel becomes, and only what is not drawn can be used here"
    count = removal.draws(problem)
    return None if count == 1 else f"{removal} gives {count} versions of a removed pixel, and only one can be used here"


def _mixed(images: Tensor, kept: Tensor, removed: Tensor) -> Tensor:
    """`torch.where(kept, images, removed)`, exactly and, on CPUs, several times faster: lerp is exact at both ends."""
    # read as bytes, bools turn into floats seven times faster
    return torch.lerp(removed.expand_as(images), images, kept.view(torch.uint8).to(images.dtype))
