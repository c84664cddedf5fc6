"""Every component in conf/, composed as the command line composes it, and small problems for them."""

import dataclasses
from functools import cache
from pathlib import Path

import fewer
import torch
from torch import nn

from xaibench import cost
from xaibench.cli.compose import composed
from xaibench.cli.request import GROUPS, Request
from xaibench.component import Component
from xaibench.configuration import conf_folder
from xaibench.grid import Grid
from xaibench.planning import untrained
from xaibench.problem import Explainer, Passes, Problem
from xaibench.seeding import Rng

RNG = Rng(seed=2, draw=1, component="conformance")
SHAPES = [(1, 8, 8), (3, 12, 10)]
MODELS = ["conv16_conv32_gap", "linear", "mlp", "resnet"]
CLASSES = 6


def files(group: str) -> list[Path]:
    return sorted((conf_folder() / group).glob("*.yaml"))


def names(group: str) -> list[str]:
    return [path.stem for path in files(group)]


def counterfactual(group: str) -> list[str]:
    """What searches or scores counterfactuals: names as they are chosen, ``counterfactual/NAME``."""
    return [f"counterfactual/{path.stem}" for path in sorted((conf_folder() / group / "counterfactual").glob("*.yaml"))]


def file_of(group: str, name: str) -> Path:
    return conf_folder() / group / f"{name}.yaml"


@cache
def everything() -> Grid:
    """All options of all groups, in one grid."""
    return composed(Request(["-m", *(f"{group}=glob(*)" for group in GROUPS)]))[0]


def components(group: str) -> dict[str, Component]:
    return {entry.name: entry.component for entry in getattr(everything(), f"{group}s")}


@cache
def _chosen(group: str, name: str) -> Component:
    (entry,) = getattr(composed(Request([f"{group}={name}"]))[0], f"{group}s")
    return entry.component


def component_of(group: str, name: str) -> Component:
    """A component by the name under which it is chosen."""
    return _chosen(group, name) if "/" in name else components(group)[name]


def make_problem(model: str = "conv16_conv32_gap", shape: tuple[int, int, int] = (3, 12, 10), targets: int = 2, batch: int = 3) -> Problem:
    draw = torch.Generator().manual_seed(4)
    network = untrained(components("model")[model], shape, CLASSES)
    images = torch.rand(batch, *shape, generator=draw)
    images[0, :, :3] = 0.0
    with torch.inference_mode():
        probabilities = network(images).softmax(1).clone()
    return Problem(
        model=network,
        images=images,
        targets=torch.stack([torch.randperm(CLASSES, generator=draw)[:targets] for _ in range(batch)]),
        labels=torch.randint(0, CLASSES, (batch,), generator=draw),
        index=torch.randperm(1000, generator=draw)[:batch],
        background=torch.rand(4, *shape, generator=draw),
        probabilities=probabilities,
        masks=torch.rand(batch, targets, *shape[1:], generator=draw) < 0.3,
        chunk=64,
    )


def explainers() -> dict[str, Explainer]:
    """All explainers that can run here, with fewer samples."""
    return {name: fewer.fewer(name, components("explainer")[name]) for name in fewer.names()}


def check_explainer(explainer: Explainer, problem: Problem) -> bool:
    """Whether it explains the problem; then its result, its passes and its traces are checked."""
    before = footprint(problem, explainer)
    reason = explainer.unsupported(problem)
    assert reason is None or reason.strip()
    if reason is None:
        with cost.measure(problem.model) as counted:
            found = explainer(problem, RNG)
        (batch, targets), (channels, *size) = problem.targets.shape, problem.images.shape[1:]
        assert found.values.shape in {(batch, targets, depth, *size) for depth in (1, channels)}
        assert found.values.dtype == torch.float32
        assert found.values.isfinite().all()
        assert not found.values.requires_grad
        assert (found.total is not None) == ("completeness" in explainer.claims)
        assert found.total is None or (found.total.shape == (batch, targets) and found.total.isfinite().all())
        check_passes(explainer, counted.passes, explainer.passes(problem))
    assert same(before, footprint(problem, explainer))
    return reason is None


def check_passes(explainer: Explainer, counted: Passes, declared: Passes) -> None:
    """As many as declared, or, where they depend on what is found on the way, at most as many."""
    if explainer.exact_passes:
        assert counted == declared
    else:
        assert counted.forward <= declared.forward
        assert counted.backward <= declared.backward


def footprint(problem: Problem, component: Component) -> list:
    """All that a call must leave as it was: mode, hooks, gradients, parameters, inputs, and the component itself."""
    network = problem.classifier
    kept = [(name, module.training, *map(len, hooks(module))) for name, module in network.named_modules()]
    kept += [(name, value.requires_grad, value.grad) for name, value in network.named_parameters()]
    kept += [value.clone() for value in network.state_dict().values()]
    given = [getattr(problem, field.name) for field in dataclasses.fields(problem)]
    kept += [value.clone() for value in given if isinstance(value, torch.Tensor)]
    return [*kept, dict(vars(component))]


def hooks(module: nn.Module) -> list[dict]:
    return [value for name, value in vars(module).items() if name.endswith("_hooks")]


def same(before: list, after: list) -> bool:
    pairs = zip(before, after, strict=True)
    return all(torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other for one, other in pairs)
