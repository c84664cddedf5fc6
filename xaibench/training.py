"""Training: the trainer's configuration, and a network's weights from it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from xaibench.component import Component, ConfigurationError, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, UserError
from xaibench.problem import Arrays, Model, Procedure, Recipe, Split
from xaibench.seeding import Rng, global_seed

VERSION = 1


class TrainingError(UserError, RuntimeError):
    """Training gave no usable classifier."""


@dataclass(frozen=True)
class Trainer(Component):
    """How a classifier is trained. Null means: as the network's own recipe says.

    Parameters
    ----------
    optimizer, learning_rate, epochs, batch_size
        Adadelta has rho = .95; SGD has momentum .9.
    keep
        Weights of the epoch with the lowest validation loss, or of the last.
    patience
        Stop after so many epochs without a lower validation loss; 0 never stops early.
    weight_decay
        As the optimizer defines it.
    schedule
        The learning rate over the epochs: constant, or a half cosine down to 0.
    precision
        Lightning's name of the arithmetic: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
    matmul
        Precision of float32 matrix products; ``high`` allows TF32 on a GPU.
    accelerator
        Where training runs: as ``runtime.device`` says (auto), on the CPU, or on a GPU. Not part of any key.
    """

    optimizer: Literal["adam", "adamw", "sgd", "adadelta"] | None = None
    learning_rate: PositiveFloat | None = None
    epochs: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    keep: Literal["best", "last"] | None = None
    patience: NonNegativeInt | None = None
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    matmul: Literal["highest", "high", "medium"] = "highest"
    accelerator: Literal["auto", "cpu", "gpu"] = field(default="auto", metadata={"runtime": True})

    def device(self, otherwise: torch.device) -> torch.device:
        """The device that `accelerator` asks for, or the given one."""
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ConfigurationError("trainer.accelerator='gpu': expected a GPU, and there is none; use trainer=auto or trainer=cpu")
        wanted = {"auto": otherwise, "cpu": torch.device("cpu"), "gpu": otherwise if otherwise.type == "cuda" else torch.device("cuda")}
        return wanted[self.accelerator]

    def resolve(self, recipe: Recipe) -> Trainer:
        """This trainer with the recipe's values where it has none of its own."""
        names = [item.name for item in dataclasses.fields(recipe)]
        return dataclasses.replace(self, **{name: getattr(recipe, name) for name in names if getattr(self, name) is None})

    def recipe(self) -> Recipe:
        """The resolved values; an unresolved one takes the default of `Recipe`."""
        names = [item.name for item in dataclasses.fields(Recipe)]
        return Recipe(**{name: getattr(self, name) for name in names if getattr(self, name) is not None})


@dataclass(frozen=True)
class Trained:
    """Weights by name, and loss and accuracy of each epoch by column."""

    weights: dict[str, Tensor]
    history: dict[str, Tensor]


def fit(
    model: Model,
    arrays: Arrays,
    classes: int,
    trainer: Trainer,
    seed: int,
    device: torch.device,
    progress: bool = False,
    start: dict[str, Tensor] | None = None,
) -> Trained:
    """Train a network, from new weights or from those of `start`.

    On a CPU the weights follow from the arguments and the number of threads, to the bit.

    Raises
    ------
    TrainingError
        If the loss becomes NaN or infinite.
    """
    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    from xaibench.lightning import ArraysModule, KeepBest, NetworkModule

    recipe, device = trainer.resolve(model.recipe).recipe(), trainer.device(device)
    channels, height, width = arrays.train.images.shape[1:]
    with global_seed(seed), _settings(trainer), tempfile.TemporaryDirectory() as scratch:
        network = model.build((channels, height, width), classes)
        if start is not None:
            network.load_state_dict(start)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        module = NetworkModule(network, lambda net: _optimizer(net, trainer, recipe), model.reconstructs)
        best = KeepBest()
        stop = pl.callbacks.EarlyStopping("validation_loss", patience=recipe.patience)
        runner = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1 if device.index is None else [device.index] if device.type == "cuda" else 1,
            max_epochs=recipe.epochs,
            precision=trainer.precision,
            plugins=[LightningEnvironment()],  # one process, also in a cluster's job: its signals are the launcher's
            callbacks=[best, stop] if recipe.patience else [best],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            num_sanity_val_steps=0,
            default_root_dir=scratch,
        )
        with _interruptible():
            runner.fit(module, ArraysModule(arrays, recipe.batch_size, seed, device))
    weights = best.weights if recipe.keep == "best" else network.state_dict()
    history = {column: torch.tensor([row[column] for row in module.history], dtype=torch.float64) for column in module.history[0]}
    losses = history["train_loss"].tolist() + history["validation_loss"].tolist()
    if not weights or not all(map(math.isfinite, losses)):
        raise TrainingError(f"trainer.learning_rate={recipe.learning_rate}: expected finite losses, got {losses}; try a smaller one")
    return Trained({name: value.detach().cpu().contiguous() for name, value in weights.items()}, history)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt, where Lightning would end the process."""
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise ended.__context__ from None
        raise


def check_trainable(arrays: Arrays) -> None:
    """Raise if there are no training or no validation images.

    Raises
    ------
    TrainingError
        With the fields of a user's own data set that decide it.
    """
    if not len(arrays.train.labels) or not len(arrays.validation.labels):
        told = "a test set of its own alone, dataset.test_share=1 and dataset.validation_share=0 leave none"
        raise TrainingError(f"dataset: expected training and validation images, as a network is to be trained; {told}")


def fit_by(
    procedure: Procedure,
    model: Model,
    arrays: Arrays,
    classes: int,
    classifier: nn.Module,
    helpers: Mapping[str, nn.Module],
    seed: int,
    progress: bool = False,
) -> Trained:
    """Train a network from new weights by a procedure of its own, on the classifier's device.

    Raises
    ------
    TrainingError
        If a column of the history is not finite.
    """
    channels, height, width = arrays.train.images.shape[1:]
    with global_seed(seed):
        network = model.build((channels, height, width), classes).to(next(classifier.parameters()).device)
        history = procedure(network, classifier, helpers, arrays, Rng(seed, 0, type(procedure).__name__), progress)
    wrong = [column for column, values in history.items() if not values.isfinite().all()]
    if wrong:
        raise TrainingError(f"{procedure}: expected finite losses, got others in {', '.join(wrong)}; try a smaller learning rate")
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    return Trained(weights, {column: values.double().cpu() for column, values in history.items()})


def of_class(arrays: Arrays, label: int) -> Arrays:
    """The arrays with only those training and validation images that have this label."""

    def part(split: Split) -> Split:
        rows = split.labels == label
        return Split(split.images[rows], split.labels[rows])

    return Arrays(part(arrays.train), part(arrays.validation), arrays.test, arrays.test_masks)


def load(model: Model, image_shape: tuple[int, int, int], classes: int, weights: dict[str, Tensor], device: torch.device) -> nn.Module:
    """The network with these weights, ready to be explained: in eval mode, parameters without gradient, channels last."""
    with global_seed(0):
        network = model.build(image_shape, classes)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _optimizer(network: nn.Module, trainer: Trainer, recipe: Recipe) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    parameters, rate, decay = network.parameters(), recipe.learning_rate, trainer.weight_decay
    optimizer: torch.optim.Optimizer
    match recipe.optimizer:
        case "adam":
            optimizer = torch.optim.Adam(parameters, rate, weight_decay=decay)
        case "adamw":
            optimizer = torch.optim.AdamW(parameters, rate, weight_decay=decay)
        case "sgd":
            optimizer = torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=decay)
        case "adadelta":
            optimizer = torch.optim.Adadelta(parameters, rate, rho=0.95, weight_decay=decay)
    if trainer.schedule == "cosine":
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


@contextlib.contextmanager
def _settings(trainer: Trainer) -> Iterator[None]:
    """Deterministic algorithms and the matmul precision, with Lightning's advice silenced; all put back afterwards."""
    matmul, deterministic = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    chatter = logging.getLogger("pytorch_lightning")
    level = chatter.level
    torch.set_float32_matmul_precision(trainer.matmul)
    torch.use_deterministic_algorithms(True, warn_only=True)
    chatter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # The arrays already lie on the device: worker processes, which Lightning recommends, would only slow this down.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*number of training batches.*smaller than the logging interval.*")
            # Such as the normalization before a user's network, which is not trained.
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode at the start of training")
            warnings.filterwarnings("ignore", message="The `srun` command is available")  # on every machine of a SLURM cluster
            warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)  # Lightning's, about torch's API
            yield
    finally:
        chatter.setLevel(level)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_float32_matmul_precision(matmul)
