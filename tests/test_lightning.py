from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from xaibench.lightning import ArraysModule, Batches, KeepBest, NetworkModule
from xaibench.problem import Arrays, Split


def split(count: int, offset: int = 0) -> Split:
    """Images that carry their own number, so that a batch tells what is in it."""
    numbers = torch.arange(offset, offset + count)
    return Split(numbers.float()[:, None, None, None] / 1000, numbers % 3)


def flat(batches: Batches) -> list[int]:
    return list(chain.from_iterable(numbers(batches)))


def numbers(batches: Batches) -> list[list[int]]:
    found = []
    for images, labels in batches:
        rows = (images.flatten() * 1000).round().long()
        assert torch.equal(rows % 3, labels)
        found.append(rows.tolist())
    return found


def test_without_a_generator_batches_keep_the_order_and_the_last_is_smaller():
    batches = Batches(split(10), 4)
    assert numbers(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(batches) == 3
    assert len(Batches(split(8), 4)) == len(numbers(Batches(split(8), 4))) == 2


def test_every_epoch_has_every_image_once_in_a_new_order():
    batches = Batches(split(50), 8, torch.Generator().manual_seed(0))
    epochs = [flat(batches) for _ in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(50))]}) == 4
    again = Batches(split(50), 8, torch.Generator().manual_seed(0))
    assert [flat(again) for _ in range(3)] == epochs


def module(seed: int = 0) -> ArraysModule:
    return ArraysModule(Arrays(split(2000), split(1500, 2000), split(5, 4000)), 64, seed, torch.device("cpu"))


def test_the_order_of_the_training_images_follows_from_the_seed_alone():
    first = numbers(module().train_dataloader())
    torch.manual_seed(99)
    assert numbers(module().train_dataloader()) == first
    assert numbers(module(1).train_dataloader()) != first
    assert sorted(chain.from_iterable(first)) == list(range(2000))
    assert {len(batch) for batch in first[:-1]} == {64}


def test_validation_images_come_in_order_and_the_test_images_never():
    assert flat(module().val_dataloader()) == list(range(2000, 3500))
    assert max(flat(module().train_dataloader())) < 2000


def classifier() -> NetworkModule:
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 3))

    def optimizers(network):
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    return NetworkModule(network, optimizers)


def test_training_images_that_would_fill_a_gpu_stay_where_they_are(monkeypatch):
    whole = Arrays(split(16), split(4), split(4))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * whole.train.images.nbytes - 2, 10**9))
    placed = ArraysModule(whole, 4, 0, torch.device("cuda")).train_dataloader().split
    assert placed.images is whole.train.images


def test_an_epochs_loss_and_accuracy_are_means_over_images_not_over_batches(monkeypatch):
    module, data = classifier(), split(10)
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    module.on_train_epoch_start()
    for batch in Batches(data, 7):  # 7 and 3
        module.training_step(batch, 0)
    for batch in Batches(split(5, 100), 4):
        module.validation_step(batch, 0)
    module.on_validation_epoch_end()
    (row,) = module.history
    assert list(row) == ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    for part, known in (("train", data), ("validation", split(5, 100))):
        logits = module(known.images)
        torch.testing.assert_close(row[f"{part}_loss"], nn.functional.cross_entropy(logits, known.labels).item(), rtol=1e-6, atol=0)
        assert row[f"{part}_accuracy"] == (logits.argmax(1) == known.labels).double().mean().item()


def test_every_epoch_starts_its_sums_anew(monkeypatch):
    module = classifier()
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    for count in (10, 4):
        module.on_train_epoch_start()
        for part in (module.training_step, module.validation_step):
            part((split(count).images, split(count).labels), 0)
        module.on_validation_epoch_end()
    logits = module(split(4).images)
    torch.testing.assert_close(
        module.history[1]["train_loss"], nn.functional.cross_entropy(logits, split(4).labels).item(), rtol=1e-6, atol=0
    )


def test_the_schedule_steps_once_an_epoch():
    found = classifier().configure_optimizers()
    assert isinstance(found["optimizer"], torch.optim.SGD)
    assert found["lr_scheduler"]["interval"] == "epoch"


def kept(losses: list[float]) -> float | None:
    """The epoch whose weights are kept, for these validation losses; the weights are the epoch's number."""
    module, best = classifier(), KeepBest()
    for epoch, loss in enumerate(losses):
        with torch.no_grad():
            module.network[1].bias.fill_(epoch)
        module.history.append({"validation_loss": loss})
        best.on_validation_end(None, module)
    return best.weights["1.bias"][0].item() if best.weights else None


def test_the_first_epoch_with_the_lowest_loss_is_kept():
    assert kept([3.0, 1.0, 2.0]) == 1
    assert kept([3.0, 2.0, 1.0]) == 2
    assert kept([1.0, 1.0, 2.0]) == 0
    assert kept([float("nan"), 5.0, float("nan")]) == 1
    assert kept([float("nan")]) is None
