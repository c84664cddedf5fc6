"""The residual network of 50 layers for photographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from xaibench.component import ConfigurationError, PositiveInt
from xaibench.models.layers import too_small
from xaibench.problem import Model, Recipe

EXPANSION = 4
"""Channels of a bottleneck's output for each of its 3 x 3 convolution's."""


class Bottleneck(nn.Module):
    """Convolutions 1 x 1, 3 x 3 and 1 x 1 with batch normalization beside a shortcut; every use of ReLU is its own module."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        self.conv3, self.bn3, self.relu3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 4 width, H / stride, W / stride)."""
        found = self.relu1(self.bn1(self.conv1(images)))
        found = self.relu2(self.bn2(self.conv2(found)))
        return self.relu3(self.bn3(self.conv3(found)) + self.downsample(images))


class BottleneckNetwork(nn.Module):
    """Conv 7 x 7 / 2 - max-pool 3 / 2 - four stages of bottlenecks - global average pooling - dense.

    Its parameters have torchvision's names, so that weights of torchvision's networks can be loaded: ``own/checkpoint`` with
    ``target=xaibench.models.resnet50.BottleneckNetwork``.
    """

    def __init__(self, classes: int = 1000, channels: int = 3, width: int = 64, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage, count in enumerate(blocks):
            inner = width * 2**stage
            first = Bottleneck(inputs, inner, stride=1 if stage == 0 else 2)
            inputs = EXPANSION * inner
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *(Bottleneck(inputs, inner, 1) for _ in range(count - 1))))
        self.avgpool, self.flatten, self.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        found = images
        for module in self.children():
            found = module(found)
        return found


@dataclass(frozen=True)
class Resnet50(Model):
    """ResNet-50: 25,557,032 parameters with three channels and 1,000 classes, 4.1 billion multiplications for 224 x 224 pixels.

    Parameters
    ----------
    width
        Channels of the first convolution; each further stage has twice as many and half the pixels along each side.
    blocks
        Bottlenecks in each of the four stages.

    Raises
    ------
    ConfigurationError
        If `blocks` are not four.

    References
    ----------
    He, Zhang, Ren and Sun, Deep residual learning for image recognition, CVPR 2016 (arXiv:1512.03385), table 1; initialization of
    He et al. 2015 (arXiv:1502.01852). Differs: where a stage halves the image, the 3 x 3 convolution does, as in torchvision.
    """

    recipe: ClassVar = Recipe(optimizer="sgd", learning_rate=0.1, epochs=90, batch_size=256, keep="last")

    width: PositiveInt = 64
    blocks: tuple[PositiveInt, ...] = (3, 4, 6, 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.blocks) != 4:
            raise ConfigurationError(f"Resnet50.blocks={self.blocks}: expected four numbers, one for each stage")

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return too_small(image_shape, 32)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from normal weights scaled to the number of outputs."""
        return BottleneckNetwork(classes, image_shape[0], self.width, self.blocks)
