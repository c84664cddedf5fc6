"""MNIST: handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.datasets.idx import IdxDataset


@dataclass(frozen=True)
class Mnist(IdxDataset):
    """60,000 training and 10,000 test images of handwritten digits, 28 x 28 grey pixels, white on black.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, Proceedings of the IEEE 1998.
    """

    folder: ClassVar = "mnist"
    mirror: ClassVar = "https://ossci-datasets.s3.amazonaws.com/mnist/"
    sha256: ClassVar = {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }
    classes: ClassVar = tuple("0123456789")
