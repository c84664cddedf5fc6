"""The limit, ratios, errors and memory of the benchmark, with clocks and calls whose results are known; and the table of peers."""

import dataclasses
import importlib
import time

import pytest
import torch
import yaml
from torch import nn
from torch.testing import assert_close

from xaibench import bench, component
from xaibench.bench import DIRECTIONS, LAYOUTS, RULED, Speed
from xaibench.configuration import conf_folder
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.lime import Lime
from xaibench.explainers.occlusion import Occlusion
from xaibench.explainers.random import Random
from xaibench.explainers.smoothgrad import Smoothgrad
from xaibench.explainers.sobel import Sobel
from xaibench.explainers.superpixel_ablation import SuperpixelAblation
from xaibench.peers import PEERS, Peer, long_run
from xaibench.problem import Passes, Problem
from xaibench.removal import Blur, Marginal
from xaibench.seeding import Rng
from xaibench.superpixels import Slic, Squares

CPU = torch.device("cpu")
SPEEDS = {name: Speed(name, chunk, RULED, 1.0, 4, 1.0) for name, chunk in zip(DIRECTIONS, (10, 20), strict=True)}


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(36, 6), nn.ReLU(), nn.Linear(6, 3)),
    )
    model.eval().requires_grad_(False)
    targets = torch.tensor([[0, 2], [1, 0], [2, 1], [0, 1]])
    return Problem(model, torch.rand(4, 1, 10, 10), targets, targets[:, 0], torch.arange(4), torch.rand(3, 1, 10, 10), chunk=16)


def test_turns_alternate_their_order():
    order = []
    found = bench.turns({name: lambda name=name: order.append(name) for name in "ab"}, CPU, 3, 0.0)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3}


def test_slow_methods_get_fewer_turns_but_one():
    assert [bench.affordable(5, spent) for spent in (0.0, 1.0, 13.0, 29.0, 500.0)] == [5, 5, 4, 2, 1]


def test_seconds_are_those_of_one_call_however_often_it_is_repeated():
    assert 0.004 < bench.seconds(lambda: time.sleep(0.004), CPU, 0.05) < 0.02
    calls = []
    bench.seconds(lambda: calls.append(time.sleep(0.01)), CPU, 0.05)
    assert 3 <= len(calls) <= 7


def test_tuning_finds_the_best_chunk_and_format_and_the_share_of_the_rule(problem, monkeypatch):
    """A clock by which 64 images, channels last, are twice as fast for each image as anything else."""
    monkeypatch.setattr(bench, "passing", lambda _problem, direction, chunk, layout: lambda: (direction, chunk, layout))

    def clock(call, _device, _least):
        direction, chunk, layout = call()
        special = (chunk, layout) == (64, "channels last")
        return chunk * (0.5 if special else 1.0) * (3 if direction == DIRECTIONS[1] else 1)

    monkeypatch.setattr(bench, "seconds", clock)
    found = bench.tune(problem)
    assert [(one.chunk, one.layout, one.ruled_chunk) for one in found.values()] == [(64, "channels last", 16)] * 2
    assert [one.rate for one in found.values()] == [2, pytest.approx(2 / 3)]
    assert [one.ruled_share for one in found.values()] == [0.5, 0.5]


def test_tuning_leaves_out_chunks_that_do_not_fit(problem, monkeypatch):
    def passing(_problem, _direction, chunk, layout):
        if chunk > 16 and layout != RULED:
            raise torch.OutOfMemoryError("too much")
        return lambda: None

    monkeypatch.setattr(bench, "passing", passing)
    monkeypatch.setattr(bench, "seconds", lambda *_: 1.0)
    assert bench.tune(problem)["forward"].chunk == 16


@pytest.mark.parametrize("layout", [*LAYOUTS, RULED])
def test_what_is_timed_is_the_whole_pass(layout, problem):
    images = problem.images[torch.arange(9) % 4]
    before = {name: value.stride() for name, value in problem.classifier.state_dict().items()}
    assert_close(bench.passing(problem, DIRECTIONS[0], 9, layout)(), problem.classifier(images))
    leaves = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(problem.classifier(leaves)[:, 0].sum(), leaves)
    assert_close(bench.passing(problem, DIRECTIONS[1], 9, layout)(), expected)
    assert {name: value.stride() for name, value in problem.classifier.state_dict().items()} == before


@pytest.mark.parametrize(
    ("explainer", "limit"),
    [
        (Gradient(), 4 * 0.2 + 8 * (0.5 - 0.2)),  # four images forward, eight (image, class) back
        (Occlusion(patch=5, stride=5), 4 * 5 * 0.2),
    ],
)
def test_the_ratio_is_the_time_of_the_passes_alone_to_the_methods(explainer, limit, problem, monkeypatch):
    """Forward at 2 s for 10 images, both ways at 10 s for 20: .2 and .5 s an image. In the second turn all is twice as slow."""
    times = {"method": [8.0, 16.0, 4.0], DIRECTIONS[0]: [2.0, 4.0, 2.0], DIRECTIONS[1]: [10.0, 20.0, 10.0]}
    monkeypatch.setattr(bench, "turns", lambda calls, *_: {name: times[name] for name in calls})
    row = bench.explainer_row(explainer, problem, SPEEDS, 3)
    assert row["ratio"] == row["ratio_low"] == pytest.approx(limit / 8)
    assert row["ratio_high"] == pytest.approx(limit / 4)
    assert row["limit"] == pytest.approx(4 / limit)
    assert row["images_per_second"] == 0.5
    passes = explainer.passes(problem)
    assert (row["forward"], row["backward"]) == (passes.forward / 4, passes.backward / 4)


def test_a_control_has_no_limit_and_what_is_unsupported_says_why(problem):
    row = bench.explainer_row(Sobel(), problem, SPEEDS, 1)
    assert row["forward"] == row["backward"] == 0
    assert row["images_per_second"] > 0
    assert "ratio" not in row
    alone = dataclasses.replace(problem, model=None)
    assert bench.explainer_row(Gradient(), alone, SPEEDS, 1)["skipped"] == Gradient().unsupported(alone)


def test_memory_is_the_peak_beyond_what_was_there(problem):
    kept = torch.ones(2**23)
    _, nothing = bench.counted(lambda: None, CPU)
    cost, much = bench.counted(lambda: torch.ones(2**24).sum() + problem.classifier(problem.images).sum(), CPU, problem.model)
    assert nothing < 2**23 < 60 * 2**20 < much < 100 * 2**20
    assert cost.passes == Passes(4, 0)
    assert kept.sum() == 2**23


def test_memory_row_tells_the_results_share(problem):
    row = bench.memory_row(Random(), problem)
    assert row["images"] == 4
    assert row["results"] * 2**20 == 4 * 2 * 100 * 4


def constant_peer(offset: float, reference=None) -> Peer:
    return Peer("captum Saliency", lambda e, p, seed: e(p, Rng(0, 0, "Gradient")).values + offset, reference, images=2)


def test_peers_are_compared_by_seconds_per_image_and_by_error(problem, monkeypatch):
    monkeypatch.setattr(bench, "turns", lambda *_: {"ours": [4.0, 8.0, 4.0], "peer": [6.0, 12.0, 2.0]})
    values = Gradient()(problem, Rng(0, 0, "Gradient")).values[:2]
    row = bench.peer_row(Gradient(), constant_peer(0.5, lambda e, p: values + 0.1), problem, 3)
    assert (row["times_faster"], row["times_faster_low"], row["times_faster_high"]) == (3, 1, 3)
    assert (row["our_milliseconds"], row["peer_milliseconds"]) == (1000, 3000)
    assert row["difference"] == pytest.approx(0.5 / float(values.abs().max()), rel=1e-4)
    norm = float((values + 0.1).square().mean().sqrt())
    assert row["our_error"] == pytest.approx(0.1 / norm, rel=1e-4)
    assert row["peer_error"] == pytest.approx(0.4 / norm, rel=1e-4)
    assert "our_error" not in bench.peer_row(Gradient(), constant_peer(0.0), problem, 3)


def test_a_long_run_is_another_draw_with_more_samples(problem):
    explainer = Smoothgrad(samples=8)
    found = long_run(samples=100)(explainer, problem)
    again = Smoothgrad(samples=800)(problem, Rng(0, 1, "reference")).values
    assert_close(found, again)
    alone = explainer(problem, Rng(0, 0, "Smoothgrad")).values
    assert bench.error(Smoothgrad(samples=800)(problem, Rng(0, 2, "other")).values, found) < 0.5 * bench.error(alone, found)


@pytest.mark.parametrize(
    "explainer",
    [
        Smoothgrad(of=IntegratedGradients()),
        Lime(superpixels=Slic()),
        SuperpixelAblation(removal=Marginal()),
        Occlusion(removal=Blur()),
    ],
    ids=repr,
)
def test_settings_that_a_library_does_not_have_are_told(explainer, problem):
    (peer,) = PEERS[type(explainer).__name__]
    assert "compared" in bench.peer_row(explainer, peer, problem, 1)["skipped"]
    assert peer.unsupported(type(explainer)(), problem) is None


FEWER = {
    "Lime": {"samples": 60, "superpixels": Squares(3)},
    "KernelShap": {"samples": 60, "superpixels": Squares(3)},
    "PermutationShapley": {"samples": 120, "superpixels": Squares(3)},
    "ExactShapley": {"superpixels": Squares(3)},
    "OwenShapley": {"depth": 3},
}
FILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((conf_folder() / "explainer").glob("*.yaml"))}
CLASSES = {spec["_target_"].rpartition(".")[2]: spec for spec in FILES.values()}


@pytest.mark.parametrize(
    ("name", "peer"), [pytest.param(name, peer, id=f"{name}, {peer.name}") for name, peers in PEERS.items() for peer in peers]
)
def test_every_peer_gives_maps_of_our_shape_and_size(name, peer, problem):
    explainer = component.build(CLASSES[name])
    sizes = {field: 30 for field in ("samples", "permutations", "steps") if hasattr(explainer, field)}
    explainer = dataclasses.replace(explainer, **(sizes | FEWER.get(name, {})))
    assert peer.unsupported(explainer, problem) is None
    before = [value.clone() for value in problem.classifier.state_dict().values()]
    found, ours = peer.call(explainer, problem, 0), explainer(problem, Rng(0, 0, name)).values
    assert found.shape == ours.shape
    assert found.dtype == torch.float32
    if peer.reference is None and not peer.differs:
        assert_close(found, ours, rtol=1e-4, atol=1e-5 * float(ours.abs().max()))
    else:
        correlation = torch.corrcoef(torch.stack([found.flatten(), ours.flatten()]))[0, 1]
        assert correlation > 0.5
    assert all(torch.equal(a, b) for a, b in zip(problem.classifier.state_dict().values(), before, strict=True))
    assert not any(module._forward_hooks or module._backward_hooks for module in problem.classifier.modules())


def test_the_table_of_peers_names_explainers_that_exist():
    assert set(PEERS) <= set(CLASSES)
    assert importlib.import_module(CLASSES["Gradient"]["_target_"].rpartition(".")[0])
