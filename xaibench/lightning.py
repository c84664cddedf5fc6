"""Lightning modules: any network as a classifier, any dataset's arrays as a data module held on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from xaibench.problem import Arrays, Split

VERSION = 1

Optimizers = Callable[[nn.Module], tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]]


class Batches:
    """An iterable of (images, labels) from arrays, which lie on the device already where they fit.

    Parameters
    ----------
    split
        The images and labels.
    size
        Images in a batch; the last batch may be smaller.
    generator
        Draws a new order for each epoch; None keeps the order.
    """

    def __init__(self, split: Split, size: int, generator: torch.Generator | None = None) -> None:
        self.split, self.size, self.generator = split, size, generator

    def __len__(self) -> int:
        return -(-len(self.split.labels) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count, device = len(self.split.labels), self.split.images.device
        order = torch.arange(count) if self.generator is None else torch.randperm(count, generator=self.generator)
        for rows in order.to(device).split(self.size):
            yield self.split.images[rows], self.split.labels[rows]


class ArraysModule(pl.LightningDataModule):
    """Training and validation batches of any dataset; the arrays move to the device once, before the first epoch.

    Arrays that would take more than half of a GPU's free memory stay where they are, and Lightning moves each batch.
    """

    def __init__(self, arrays: Arrays, batch_size: int, seed: int, device: torch.device) -> None:
        super().__init__()
        self.arrays, self.batch_size, self.seed, self.device = arrays, batch_size, seed, device

    def train_dataloader(self) -> Batches:
        """Shuffled training batches; the order follows from the seed alone."""
        return Batches(self._placed(self.arrays.train), self.batch_size, torch.Generator().manual_seed(self.seed))

    def val_dataloader(self) -> Batches:
        """Validation batches, in order."""
        return Batches(self._placed(self.arrays.validation), 1024)

    def _placed(self, split: Split) -> Split:
        if self.device.type == "cuda" and split.images.nbytes > torch.cuda.mem_get_info(self.device)[0] // 2:
            return split
        return Split(split.images.to(self.device), split.labels.to(self.device))


class NetworkModule(pl.LightningModule):
    """Trains a network and records loss, and a classifier's accuracy, of each epoch in `history`.

    Parameters
    ----------
    network
        Takes images, gives logits; or, of an autoencoder, images.
    optimizers
        Makes the optimizer and its schedule, stepped once an epoch.
    reconstructs
        Whether the loss is the mean squared error of a pixel, instead of the cross-entropy.
    """

    def __init__(self, network: nn.Module, optimizers: Optimizers, reconstructs: bool = False) -> None:
        super().__init__()
        self.network, self.optimizers_of, self.reconstructs = network, optimizers, reconstructs
        self.history: list[dict[str, float]] = []
        self._sums: dict[str, Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """What the network gives."""
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """The loss of a training batch."""
        return self._loss(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        """Adds a validation batch to the epoch's sums, and logs what early stopping watches."""
        loss = self._loss(batch, "validation")
        self.log("validation_loss", loss, batch_size=len(batch[1]), on_epoch=True)

    def on_train_epoch_start(self) -> None:
        """Starts the sums of an epoch."""
        self._sums = {}

    def on_validation_epoch_end(self) -> None:
        """Writes the epoch's row: Lightning validates at the end of a training epoch, before its own end-of-epoch hook."""
        row: dict[str, float] = {"epoch": float(self.current_epoch)}
        for part in ("train", "validation"):
            loss, right, count = self._sums[part].tolist()
            row |= {f"{part}_loss": loss / count} | ({} if self.reconstructs else {f"{part}_accuracy": right / count})
        self.history.append(row)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Optimizer and schedule."""
        optimizer, schedule = self.optimizers_of(self.network)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def _loss(self, batch: tuple[Tensor, Tensor], part: str) -> Tensor:
        images, labels = batch
        given = self(images)
        loss = nn.functional.mse_loss(given, images) if self.reconstructs else nn.functional.cross_entropy(given, labels)
        right = torch.zeros_like(loss) if self.reconstructs else (given.detach().argmax(1) == labels).sum()
        now = torch.stack([loss.detach().double() * len(labels), right.double(), torch.full_like(loss.detach(), len(labels)).double()])
        self._sums[part] = self._sums[part] + now if part in self._sums else now
        return loss


class KeepBest(pl.Callback):
    """Keeps, in memory, the weights of the epoch with the lowest validation loss (the first of equals)."""

    def __init__(self) -> None:
        self.loss = float("inf")
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Takes the weights if this epoch is the best so far."""
        assert isinstance(module, NetworkModule)
        loss = module.history[-1]["validation_loss"]
        if loss < self.loss:
            self.loss = loss
            self.weights = {name: value.detach().clone() for name, value in module.network.state_dict().items()}
