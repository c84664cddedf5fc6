"""Classifiers of known structure on 1 x 8 x 8 images: on them an axiom says what an explanation must be.

They are two stages of convolution and ReLU and a dense head, with ordinary layers only, so that methods with rules for layers can be
asked too. Their features relu(a - t - b), of sums a and b of pixels with positive weights, are written in several ways: as
relu(relu(a) - t - relu(b)), `outside`; as relu(relu(a - t) - relu(b)), `inside` (both from Sundararajan et al., 2017, appendix B); as
relu(relu(a + c) - t - relu(b + c)), `common`. These are one function, but rules that are applied layer by layer see the difference.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

SHAPE, CLASSES, CHANNELS = (1, 8, 8), 3, 3
Way = Literal["outside", "inside", "common"]
IGNORED = (slice(4, 8), slice(4, 8))
"""The quarter of the image on which the output of `ignoring` networks does not depend: a union of cells of any grid of even side."""
LEFT, RIGHT = (slice(0, 4), slice(0, 4)), (slice(0, 4), slice(4, 8))
"""Quarters whose pixels correspond: `alike` networks treat corresponding ones alike."""
EVEN, ODD = (slice(None), slice(0, None, 2)), (slice(None), slice(1, None, 2))
"""Columns whose pixels correspond, for `mirrored` networks."""


def numbers(seed: int, *shape: int) -> Tensor:
    """Normal, and rounded to 1/16: so sums of products do not depend on their order, and equal derivatives are exactly equal."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).mul(16).round() / 16


def uniform(seed: int, *shape: int) -> Tensor:
    """Uniform on 1/16 ... 1, rounded as `numbers`."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).mul(16).ceil() / 16


def pictures(seed: int, count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def convolution(weight: Tensor, bias: Tensor, stride: tuple[int, int] = (1, 1), padding: int = 0) -> nn.Conv2d:
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), stride, padding)
    layer.weight, layer.bias = (nn.Parameter(value.clone(), requires_grad=False) for value in (weight, bias))
    return layer


def dense(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = (nn.Parameter(value.clone(), requires_grad=False) for value in (weight, bias))
    return layer


def as_dense(layer: nn.Conv2d, shape: tuple[int, ...]) -> nn.Linear:
    """The same function of flattened inputs of this shape."""
    inputs = int(torch.tensor(shape).prod())
    constant = layer(torch.zeros(1, *shape)).flatten()
    columns = layer(torch.eye(inputs).unflatten(1, shape)).flatten(1) - constant
    return dense(columns.T, constant)


def network(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers).eval().requires_grad_(False)


def difference(way: Way, kernel: tuple[int, int] = (2, 2), mirrored: bool = False) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Two convolutions that (with ReLU after each) give relu(a - t - b) in each channel; mirrored: of the kernel's mirror image."""
    plus, minus, both = (factor * uniform(seed, CHANNELS, 1, *kernel) for seed, factor in ((1, 1), (2, 0.5), (3, 1)))
    threshold = kernel[0] * kernel[1] * (1 + uniform(4, CHANNELS)) / 16
    weight = torch.cat([plus + both, minus + both] if way == "common" else [plus, minus])
    nothing, unit = torch.zeros(CHANNELS), torch.eye(CHANNELS)[:, :, None, None]
    bias = torch.cat([-threshold if way == "inside" else nothing, nothing])
    first = convolution(weight.flip(3) if mirrored else weight, bias, kernel)
    return first, convolution(torch.cat([unit, -unit], 1), nothing if way == "inside" else -threshold)


def head(positions: int) -> tuple[Tensor, Tensor]:
    """Weights and biases of a dense layer that takes the channels at all positions."""
    return numbers(5, CLASSES, CHANNELS * positions), numbers(6, CLASSES)


def written(way: Way) -> nn.Sequential:
    first, second = difference(way)
    return network(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), dense(*head(16)))


def outside() -> nn.Sequential:
    return written("outside")


def inside() -> nn.Sequential:
    return written("inside")


def common() -> nn.Sequential:
    return written("common")


def permuted() -> nn.Sequential:
    """`outside` with its hidden units in another order and of another scale."""
    first, second = difference("outside")
    order, scale = torch.tensor([3, 0, 5, 2, 4, 1]), torch.tensor([2.0, 0.25, 8.0, 0.5, 4.0, 1.0])
    one = convolution(first.weight[order] * scale[:, None, None, None], first.bias[order] * scale, (2, 2))
    other = convolution(second.weight[:, order] / scale[:, None, None], second.bias)
    return network(one, nn.ReLU(), other, nn.ReLU(), nn.Flatten(), dense(*head(16)))


def split() -> nn.Sequential:
    """`outside` with each feature map twice, once weighted twice and once minus once."""
    first, second = difference("outside")
    both = convolution(second.weight.repeat(2, 1, 1, 1), second.bias.repeat(2))
    weight, bias = head(16)
    return network(first, nn.ReLU(), both, nn.ReLU(), nn.Flatten(), dense(torch.cat([2 * weight, -weight], 1), bias))


def deeper() -> nn.Sequential:
    """`outside` with z written as relu(z) - relu(-z) before its last ReLU."""
    first, second = difference("outside")
    signs = convolution(torch.cat([second.weight, -second.weight]), torch.cat([second.bias, -second.bias]))
    unit = torch.eye(CHANNELS)[:, :, None, None]
    joined = convolution(torch.cat([unit, -unit], 1), torch.zeros(CHANNELS))
    return network(first, nn.ReLU(), signs, nn.ReLU(), joined, nn.ReLU(), nn.Flatten(), dense(*head(16)))


def flattened() -> nn.Sequential:
    """`outside` with dense layers in place of convolutions."""
    first, second = difference("outside")
    layers = as_dense(first, SHAPE), as_dense(second, (2 * CHANNELS, 4, 4))
    return network(nn.Flatten(), layers[0], nn.ReLU(), layers[1], nn.ReLU(), dense(*head(16)))


def flattened_later() -> nn.Sequential:
    """`outside` with a dense layer in place of its second convolution."""
    first, second = difference("outside")
    return network(first, nn.ReLU(), nn.Flatten(), as_dense(second, (2 * CHANNELS, 4, 4)), nn.ReLU(), dense(*head(16)))


SAME = [inside, common, permuted, split, deeper, flattened, flattened_later]
"""Other ways to write the function `outside`."""


def both(outer: Tensor, inner: Tensor, way: Way, kernel: tuple[int, int] = (2, 2), mirrored: bool = False) -> nn.Sequential:
    """The features of `outside` and, beside them, the same written another way, weighted by (12, CHANNELS, rows, columns) each."""
    pairs = [difference("outside", kernel), difference(way, kernel, mirrored)]
    first = convolution(torch.cat([pair[0].weight for pair in pairs]), torch.cat([pair[0].bias for pair in pairs]), kernel)
    nothing = torch.zeros_like(pairs[0][1].weight)
    weight = torch.cat([torch.cat([pairs[0][1].weight, nothing], 1), torch.cat([nothing, pairs[1][1].weight], 1)])
    second = convolution(weight, torch.cat([pair[1].bias for pair in pairs]))
    hidden = dense(torch.cat([outer, inner], 1).flatten(1), numbers(8, len(outer)))
    last = dense(numbers(9, CLASSES, len(outer)), numbers(6, CLASSES))
    return network(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), hidden, nn.ReLU(), last)


def ignoring(way: Way | None) -> nn.Sequential:
    """Does not depend on a quarter of the image: its features have no weight, or the same ones written another way cancel them."""
    outer = numbers(10, 12, CHANNELS, 4, 4)
    inner = torch.zeros_like(outer)
    corner = (..., slice(2, 4), slice(2, 4))
    if way is None:
        outer[corner] = 0
    else:
        inner[corner] = -outer[corner]
    return both(outer, inner, way or "inside")


def alike(mixed: bool) -> nn.Sequential:
    """Treats each pixel of one quarter as the corresponding pixel of another, whose features are, if mixed, written another way."""
    outer = numbers(11, 12, CHANNELS, 8, 8) / 4
    inner = torch.zeros_like(outer)
    outer[(..., *RIGHT)] = outer[(..., *LEFT)]
    if mixed:
        inner[(..., *RIGHT)] = outer[(..., *RIGHT)]
        outer[(..., *RIGHT)] = 0
    return both(outer, inner, "inside", (1, 1))


def mirrored(way: Way) -> nn.Sequential:
    """Treats the two pixels of each 1 x 2 patch alike: has each feature once more, mirrored, and written this way."""
    weight = numbers(11, 12, CHANNELS, 8, 4) / 4
    return both(weight, weight, way, (1, 2), mirrored=True)


def saturating(row: int, column: int) -> nn.Sequential:
    """Has reached the end of its range once this pixel is bright: there its output no longer changes with any pixel of the 2 x 2 patch."""
    weight = torch.full((CHANNELS, 1, 2, 2), -0.05)
    weight[:, :, row % 2, column % 2] = -8 - uniform(12, CHANNELS, 1)
    return network(convolution(weight, 0.5 + uniform(13, CHANNELS), (2, 2)), nn.ReLU(), nn.Flatten(), dense(*head(16)))


def parts() -> tuple[list[nn.Module], list[nn.Module]]:
    """Layers with weights of two classifiers of one architecture."""
    made = []
    for seed in (20, 30):
        first = convolution(numbers(seed, 4, 1, 3, 3) / 2, numbers(seed + 1, 4) / 4, padding=1)
        second = convolution(numbers(seed + 2, 6, 4, 3, 3) / 4, numbers(seed + 3, 6) / 4, padding=1)
        made.append([first, second, dense(numbers(seed + 4, CLASSES, 96) / 4, numbers(seed + 5, CLASSES))])
    return made[0], made[1]


def convolutional(layers: list[nn.Module]) -> nn.Sequential:
    """Convolution - ReLU - max-pooling - convolution - ReLU - dense."""
    first, second, last = layers
    return network(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.Flatten(), last)


def smooth(layers: list[nn.Module]) -> nn.Sequential:
    """The same with GELU and average pooling: its derivatives are continuous."""
    first, second, last = layers
    return network(first, nn.GELU(), nn.AvgPool2d(2), second, nn.GELU(), nn.Flatten(), last)


def weighted(one: list[nn.Module], other: list[nn.Module], factors: tuple[float, float]) -> nn.Sequential:
    """Both side by side in one network, whose logits are the weighted sum of theirs."""
    weight = torch.zeros(12, 8, 3, 3)
    weight[:6, :4], weight[6:, 4:] = one[1].weight, other[1].weight
    first, bias = (torch.cat([getattr(layers[0], name) for layers in (one, other)]) for name in ("weight", "bias"))
    second = convolution(weight, torch.cat([one[1].bias, other[1].bias]), padding=1)
    pairs = list(zip(factors, (one[2], other[2]), strict=True))
    last = dense(torch.cat([factor * layer.weight for factor, layer in pairs], 1), sum(factor * layer.bias for factor, layer in pairs))
    return convolutional([convolution(first, bias, padding=1), second, last])
