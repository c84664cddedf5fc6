"""A small residual network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from xaibench.component import PositiveInt
from xaibench.models.layers import too_small
from xaibench.problem import Model, Recipe


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalization beside a shortcut; every use of ReLU is its own module."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return self.activation(self.residual(images) + self.shortcut(images))


@dataclass(frozen=True)
class Resnet(Model):
    """A residual network of three stages for small images.

    Parameters
    ----------
    width
        Channels of the first stage; each further stage doubles them and halves the image.
    blocks
        Residual blocks in each stage.

    References
    ----------
    He, Zhang, Ren and Sun, Deep residual learning for image recognition, CVPR 2016 (arXiv:1512.03385), section 4.2. Differs: width.
    """

    recipe: ClassVar = Recipe(optimizer="adam", learning_rate=2e-3, epochs=10, batch_size=128, keep="best")

    width: PositiveInt = 16
    blocks: PositiveInt = 1

    def unsupported(self, image_shape: tuple[int, int, int], classes: int) -> str | None:
        """Why this network cannot take such images, or None."""
        return too_small(image_shape, 4)

    def build(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network, from PyTorch's default initialization."""
        width = self.width
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for stage in range(3):
            inputs, outputs = width * 2 ** max(stage - 1, 0), width * 2**stage
            layers.append(Block(inputs, outputs, stride=1 if stage == 0 else 2))
            layers += [Block(outputs, outputs, stride=1) for _ in range(self.blocks - 1)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))
