from __future__ import annotations

import logging
import random
import signal
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from xaibench import lightning, training
from xaibench.component import ConfigurationError, describe
from xaibench.datasets.digits import Digits
from xaibench.identity import train_key
from xaibench.models.linear import Linear
from xaibench.models.mlp import Mlp
from xaibench.models.resnet import Resnet
from xaibench.problem import Arrays, Model, Recipe, Split, Training
from xaibench.seeding import global_seed
from xaibench.training import Trained, Trainer, TrainingError, fit, load

CPU = torch.device("cpu")
GOLDEN_TRAIN_LOSS = [2.290361, 2.000594, 1.791698]
GOLDEN_VALIDATION_LOSS = [2.183706, 2.07747, 1.980158]
SHORT = Trainer(epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return Digits().load()


@pytest.fixture(scope="module")
def small(arrays) -> Arrays:
    return Arrays(*(Split(part.images[:100], part.labels[:100]) for part in (arrays.train, arrays.validation, arrays.test)))


def trained(arrays: Arrays, trainer: Trainer = SHORT, seed: int = 0, model: Model | None = None) -> Trained:
    return fit(model or Mlp(hidden=(8,)), arrays, 10, trainer, seed, CPU)


def same(a: Trained, b: Trained) -> bool:
    pairs = [(a.weights, b.weights), (a.history, b.history)]
    return all(left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left) for left, right in pairs)


def accuracy(found: Trained, model: Model, split: Split) -> float:
    network = load(model, (1, 8, 8), 10, found.weights, CPU)
    return (network(split.images).argmax(1) == split.labels).double().mean().item()


def test_digits_are_learned(arrays):
    found = fit(Mlp(), arrays, 10, Trainer(), 0, CPU)
    assert accuracy(found, Mlp(), arrays.test) > 0.9
    assert accuracy(Trained(Mlp().build((1, 8, 8), 10).state_dict(), {}), Mlp(), arrays.test) < 0.5


def test_the_same_seed_gives_the_same_bits_and_another_other_weights(small):
    first = trained(small)
    torch.manual_seed(77)
    assert same(trained(small), first)
    other = trained(small, seed=1)
    assert not any(torch.equal(value, first.weights[name]) for name, value in other.weights.items())


def test_dropout_and_normalization_are_at_work_and_repeatable(small):
    first = trained(small, model=Resnet(width=2))
    assert same(trained(small, model=Resnet(width=2)), first)
    means = [value for name, value in first.weights.items() if name.endswith("running_mean")]
    assert all(value.any() for value in means)
    counts = {value.item() for name, value in first.weights.items() if name.endswith("num_batches_tracked")}
    assert counts <= {4, 8}  # 4 batches an epoch; validation adds none


def test_history_has_a_row_for_each_epoch(small):
    found = trained(small, replace(SHORT, epochs=3))
    assert list(found.history) == ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    assert found.history["epoch"].tolist() == [0, 1, 2]
    assert all(column.shape == (3,) and column.dtype == torch.float64 for column in found.history.values())
    assert found.history["train_loss"][2] < found.history["train_loss"][0]
    assert all(0 <= value <= 1 for value in found.history["validation_accuracy"].tolist())


def losses(found: Trained, split: Split) -> float:
    network = load(Mlp(hidden=(8,)), (1, 8, 8), 10, found.weights, CPU)
    return nn.functional.cross_entropy(network(split.images), split.labels).item()


def test_best_keeps_the_epoch_with_the_lowest_validation_loss_and_last_the_last(small):
    rough = Trainer(epochs=6, batch_size=32, optimizer="sgd", learning_rate=1.5)  # the validation loss goes up and down
    last, best = (trained(small, replace(rough, keep=keep)) for keep in ("last", "best"))
    column = last.history["validation_loss"]
    assert torch.equal(best.history["validation_loss"], column)
    assert column.argmin() < 5, "the last epoch is the best: this test needs another learning rate"
    assert losses(last, small.validation) == pytest.approx(column[-1].item(), rel=1e-5)
    assert losses(best, small.validation) == pytest.approx(column.min().item(), rel=1e-5)


def test_early_stopping_waits_for_as_many_epochs_as_patience_says(small):
    rough = Trainer(epochs=40, batch_size=32, optimizer="sgd", learning_rate=1.5)
    column = trained(small, rough).history["validation_loss"].tolist()
    assert len(column) == 40
    for patience in (1, 3):
        best, waited, expected = float("inf"), 0, len(column)
        for epoch, loss in enumerate(column):
            best, waited = (loss, 0) if loss < best else (best, waited + 1)
            if waited == patience:
                expected = epoch + 1
                break
        assert expected < 40
        assert trained(small, replace(rough, patience=patience)).history["validation_loss"].tolist() == column[:expected]


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_loss_that_is_not_finite_is_an_error_in_one_line(small, keep):
    with pytest.raises(TrainingError) as caught:
        trained(small, Trainer(epochs=2, batch_size=32, optimizer="sgd", learning_rate=1e30, keep=keep))
    assert str(caught.value).startswith("trainer.learning_rate=1e+30: expected finite losses, got [")
    assert "\n" not in str(caught.value)


def test_weights_that_the_last_step_broke_are_an_error_too(small):
    """With one batch an epoch, the training loss is still finite when the weights are not."""
    with pytest.raises(TrainingError):
        trained(small, Trainer(epochs=1, batch_size=100, optimizer="sgd", learning_rate=1e38, keep="last"))


def state() -> tuple[object, ...]:
    return (
        random.getstate(),
        str(np.random.get_state()),
        torch.get_rng_state().tolist(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        logging.getLogger("pytorch_lightning").level,
        list(warnings.filters),
    )


@pytest.fixture
def unlike_training():
    """Global settings that training has to change, and generators in states that it does not leave by itself."""
    chatter = logging.getLogger("pytorch_lightning")
    matmul, deterministic, level = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(), chatter.level
    with global_seed(12345):
        torch.set_float32_matmul_precision("high")
        torch.use_deterministic_algorithms(False)
        chatter.setLevel(logging.DEBUG)
        yield
    torch.set_float32_matmul_precision(matmul)
    torch.use_deterministic_algorithms(deterministic)
    chatter.setLevel(level)


def test_everything_global_is_as_it_was(small, unlike_training):
    before = state()
    trained(small, replace(SHORT, matmul="medium"))
    assert state() == before
    with pytest.raises(TrainingError):
        trained(small, Trainer(epochs=1, optimizer="sgd", learning_rate=1e38))
    assert state() == before


def test_the_settings_hold_while_training(small, monkeypatch):
    seen = []
    original = lightning.NetworkModule.on_train_epoch_start

    def look(self):
        seen.append((torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(), self.network.training))
        original(self)

    monkeypatch.setattr(lightning.NetworkModule, "on_train_epoch_start", look)
    trained(small, replace(SHORT, matmul="medium"))
    assert seen == [("medium", True, True)] * 2


@pytest.mark.parametrize("tasks", [None, "4"])
def test_a_training_is_one_process_on_a_cluster_too(small, monkeypatch, tmp_path, tasks):
    """Lightning would take over a job of several tasks, or complain that there is none."""
    expected = trained(small, SHORT)
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.setenv(name, tasks) if tasks else monkeypatch.delenv(name, raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)}
    assert same(trained(small, SHORT), expected)
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_an_interruption_is_one_and_not_the_end_of_the_process(small, monkeypatch):
    monkeypatch.setattr(lightning.ArraysModule, "train_dataloader", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trained(small)


def test_every_epoch_trains_on_every_image_once_and_validates_on_all(small, monkeypatch):
    seen: dict[str, list[torch.Tensor]] = {"train": [], "validation": []}
    original = lightning.NetworkModule._loss

    def look(self, batch, part):
        assert self.network.training == (part == "train")
        seen[part].append(batch[0])
        return original(self, batch, part)

    monkeypatch.setattr(lightning.NetworkModule, "_loss", look)
    trained(small, Trainer(epochs=2, batch_size=30))
    assert [len(images) for images in seen["train"]] == [30, 30, 30, 10] * 2
    for part, split in (("train", small.train), ("validation", small.validation)):
        both = torch.cat(seen[part]).split(len(split.labels))
        for epoch in both:
            assert sorted(row.tobytes() for row in epoch.numpy()) == sorted(row.tobytes() for row in split.images.numpy())
        assert torch.equal(both[0], both[1]) == (part == "validation")


def optimizer_of(**fields) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    trainer = Trainer(**fields)
    return training._optimizer(nn.Linear(2, 2), trainer, trainer.recipe())


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("adam", torch.optim.Adam, {"betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False}),
        ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.999)}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": False, "dampening": 0}),
        ("adadelta", torch.optim.Adadelta, {"rho": 0.95}),
    ],
)
def test_optimizers_have_the_options_they_say(name, kind, options):
    optimizer, _ = optimizer_of(optimizer=name, learning_rate=0.25, weight_decay=0.125)
    assert type(optimizer) is kind
    for option, value in (options | {"lr": 0.25, "weight_decay": 0.125}).items():
        assert optimizer.param_groups[0][option] == value


@pytest.mark.parametrize(("schedule", "rates"), [("constant", [1.0] * 4), ("cosine", [1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])])
def test_schedules(schedule, rates):
    optimizer, scheduler = optimizer_of(optimizer="sgd", learning_rate=2.0, epochs=4, schedule=schedule)
    found = []
    for _ in range(4):
        found.append(optimizer.param_groups[0]["lr"] / 2)
        optimizer.step()
        scheduler.step()
    assert found == pytest.approx(rates)


def test_settings_change_what_is_trained(small):
    first = trained(small)
    for fields in (
        {"optimizer": "adadelta"},
        {"schedule": "cosine"},
        {"weight_decay": 0.5},
        {"learning_rate": 0.1},
        {"precision": "bf16-mixed"},
    ):
        assert not same(trained(small, replace(SHORT, **fields)), first), fields


def test_resolve_takes_the_recipes_values_where_the_trainer_has_none():
    recipe = Recipe(optimizer="adadelta", learning_rate=1.0, epochs=12, batch_size=64, keep="last", patience=3)
    assert Trainer().resolve(recipe).recipe() == recipe
    mine = Trainer(optimizer="sgd", learning_rate=0.5, epochs=1, batch_size=2, keep="best", patience=0)
    assert mine.resolve(recipe) == mine
    assert Trainer(epochs=7, weight_decay=0.1).resolve(recipe) == Trainer(
        optimizer="adadelta", learning_rate=1.0, epochs=7, batch_size=64, keep="last", patience=3, weight_decay=0.1
    )
    assert Trainer(epochs=7).recipe() == replace(Recipe(), epochs=7)


def test_fit_follows_the_models_recipe(small, monkeypatch):
    monkeypatch.setattr(Linear, "recipe", Recipe(epochs=3, batch_size=50))
    assert len(trained(small, Trainer(), model=Linear()).history["epoch"]) == 3
    assert len(trained(small, Trainer(epochs=1), model=Linear()).history["epoch"]) == 1


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match=r"trainer\.accelerator='gpu': expected a GPU, and there is none"):
        Trainer(accelerator="gpu").device(CPU)


def test_the_accelerator_chooses_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    second = torch.device("cuda:1")
    assert Trainer().device(CPU) == CPU
    assert Trainer().device(second) == second
    assert Trainer(accelerator="cpu").device(second) == CPU
    assert Trainer(accelerator="gpu").device(second) == second
    assert Trainer(accelerator="gpu").device(CPU).type == "cuda"


def test_where_training_runs_is_in_no_key():
    assert describe(Trainer(accelerator="cpu")) == describe(Trainer(accelerator="gpu")) == describe(Trainer())
    assert "accelerator" not in describe(Trainer())
    keys = {train_key(Training(Digits(), Linear(), Trainer(accelerator=place), 0))[0] for place in ("auto", "cpu", "gpu")}
    assert len(keys) == 1


def test_loaded_networks_are_ready_to_be_explained_and_leave_the_generators_alone(small):
    found = trained(small, model=Resnet(width=2))
    before = torch.get_rng_state()
    network = load(Resnet(width=2), (1, 8, 8), 10, found.weights, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, found.weights[name]) for name, value in network.state_dict().items())
    assert all(value.is_contiguous() for value in found.weights.values())


def test_golden_training(small):
    """If this changes on purpose, raise `training.VERSION`: the keys follow that of `lightning` and of `seeding` through it alone."""
    found = trained(small, Trainer(epochs=3, batch_size=32, learning_rate=0.01), model=Linear())
    assert found.history["train_loss"].tolist() == pytest.approx(GOLDEN_TRAIN_LOSS, rel=1e-4)
    assert found.history["validation_loss"].tolist() == pytest.approx(GOLDEN_VALIDATION_LOSS, rel=1e-4)
