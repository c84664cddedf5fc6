"""Fashion-MNIST: articles of clothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.datasets.idx import IdxDataset


@dataclass(frozen=True)
class FashionMnist(IdxDataset):
    """60,000 training and 10,000 test images of ten kinds of clothing, 28 x 28 grey pixels, bright on black.

    References
    ----------
    Xiao, Rasul and Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms (arXiv:1708.07747).
    """

    folder: ClassVar = "fashion_mnist"
    mirror: ClassVar = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    sha256: ClassVar = {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    }
    classes: ClassVar = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
