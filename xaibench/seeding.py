"""Random numbers that depend on nothing but (seed, draw, component, image).

Draws of one image come from a counter-based generator: a hash of (seed, draw, component, index, call, position). So an image's draws
are the same in any batch, in any order, beside any other images, and on any device.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

VERSION = 2

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


@dataclass(frozen=True)
class Rng:
    """The only source of randomness of a component.

    Parameters
    ----------
    seed
        The classifier's training seed.
    draw
        Repetition of the explanation or the metric.
    component
        Name of the component's class: two components draw independently.
    """

    seed: int
    draw: int = 0
    component: str = ""

    @property
    def key(self) -> int:
        """64 bits that identify (seed, draw, component)."""
        text = f"{self.seed}/{self.draw}/{self.component}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "little", signed=True)

    def shared(self) -> torch.Generator:
        """A CPU generator for draws common to all images, freshly seeded: the same at every call."""
        return torch.Generator().manual_seed(self.key & (2**63 - 1))

    def each(self, index: Tensor, sample: Tensor | int = 0) -> Each:
        """Draws of their own for the images at these (B,) test positions; `sample`, a number or (B,), separates repeated draws."""
        return Each(self.key, index.to(torch.int64), sample)


@dataclass
class Each:
    """Independent streams, one for each image; successive calls give new draws."""

    key: int
    index: Tensor
    sample: Tensor | int = 0
    _calls: int = field(default=0, init=False)

    def bits(self, *shape: int) -> Tensor:
        """(B, *shape) int64 with 64 random bits (splitmix64 of the stream's state and the position)."""
        size = int(np.prod(shape, dtype=np.int64)) if shape else 1
        image = _mix_(self.index * _GOLDEN + _wrap(self.key + self._calls * _MIX1))
        stream = _mix_(image + (self.sample * _MIX2 if isinstance(self.sample, Tensor) else _wrap(self.sample * _MIX2)))
        self._calls += 1
        position = torch.arange(1, size + 1, device=self.index.device, dtype=torch.int64) * _GOLDEN
        return _mix_(stream[:, None] + position).reshape(len(self.index), *shape)

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) float32, uniform on (0, 1)."""
        return _unit(self.bits(*shape)).to(torch.float32).clamp(max=1 - 2.0**-24)  # the nearest float32 may be 1

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) float32, standard normal, below 5.9 in magnitude (Box and Muller 1958: two of each 64 random bits)."""
        size = int(np.prod(shape, dtype=np.int64)) if shape else 1
        bits = self.bits(-(-size // 2))
        radius = (_shift(bits, 40).to(torch.float32) + 0.5).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
        angle = (bits & (2**24 - 1)).to(torch.float32).mul_(math.tau * 2.0**-24)
        pairs = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return pairs[:, :size].reshape(len(self.index), *shape).contiguous()

    def integers(self, high: int, *shape: int) -> Tensor:
        """(B, *shape) int64, uniform on 0 ... high - 1."""
        return (_unit(self.bits(*shape)) * high).to(torch.int64)

    def permutation(self, size: int) -> Tensor:
        """(B, size) int64: a permutation for each image, the order of 64 random bits."""
        bits, width = self.bits(size), max(size - 1, 1).bit_length()
        # The place stands in the last bits, so that numbers are sorted and nothing has to be carried along: several times as fast.
        place = torch.arange(size, device=bits.device)
        return ascending(bits.bitwise_and_(-1 << width).bitwise_or_(place)).bitwise_and_((1 << width) - 1)


@contextlib.contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed Python's, numpy's and torch's global generators, and put them back afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)


def ascending(numbers: Tensor) -> Tensor:
    """Integers in ascending order along the last dimension; on a CPU by numpy, whose sort of integers is vectorized."""
    return torch.from_numpy(np.sort(numbers.numpy())) if numbers.device.type == "cpu" else numbers.sort(dim=-1).values


def _wrap(value: int) -> int:
    """An int as int64 arithmetic would leave it."""
    return (value + 2**63) % 2**64 - 2**63


def _mix_(state: Tensor) -> Tensor:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014), on int64 with wrap-around, in place: new memory would cost more."""
    state.bitwise_xor_(_shift(state, 30)).mul_(_MIX1)
    state.bitwise_xor_(_shift(state, 27)).mul_(_MIX2)
    return state.bitwise_xor_(_shift(state, 31))


def _shift(state: Tensor, by: int) -> Tensor:
    """Logical right shift of int64."""
    return (state >> by).bitwise_and_((1 << (64 - by)) - 1)


def _unit(bits: Tensor) -> Tensor:
    """float64 on (0, 1), from the upper 52 bits, at the middle of each interval."""
    return (_shift(bits, 12).to(torch.float64) + 0.5) * 2.0**-52
