"""FISTA with shrinkage, for many pairs at once: what counterfactuals guided by prototypes and contrastive explanations share.

Every pair goes its own way: with its own weight of the classifier's loss, its own rounds and iterations. Those that are done leave the
batch, and others that wait take their place.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from xaibench.component import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from xaibench.counterfactuals.autoencoded import AutoencodedSearch
from xaibench.problem import Output, Passes, Problem, Training, select
from xaibench.searching import Pairs, Proposals, verdict
from xaibench.seeding import Rng

VERSION = 1

State = dict[str, Tensor]
"""Of n pairs, by name: what a `Goal` holds, and how far each has come, as `_started` has it."""


@dataclass(frozen=True)
class Goal:
    """What is sought for n pairs.

    Attributes
    ----------
    origin
        (n, C, H, W): x, from where distances count.
    start
        (n, C, H, W): where the rounds start, and what is proposed where nothing is found.
    low, high
        (n, C, H, W): the box that the images stay in.
    fulfilled
        Whether the start meets the goal. If so, a round succeeds only where an iterate meets it after one that does not.
    more
        (n, ...) each: what the method's own loss needs beside.
    """

    origin: Tensor
    start: Tensor
    low: Tensor
    high: Tensor
    fulfilled: bool = False
    more: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class FistaSearch(AutoencodedSearch):
    """Minimizes c L + beta |x' - x|_1 + |x' - x|_2^2 + gamma |x' - AE(x')|_2^2 and what else the method adds, over x' in a box.

    L = max(max over i != t of p_i - p_t, -kappa), t being the target and p the output. An iteration descends along the gradient of all
    but the second term, shrinks the distance from x by beta (whatever the learning rate), clips to the box, and goes on in that direction
    by k / (k + 3) of the iteration's step, k its number. The learning rate falls with the square root of what remains of the iterations.

    Of all iterates of all rounds that meet the goal (by `searching.verdict`), that with the lowest beta |x' - x|_1 + |x' - x|_2^2 is
    proposed. A round that met the goal is followed by one with a lower c, another by one with a higher c.

    Parameters
    ----------
    output
        What p is.
    c
        Weight of L in the first round; times 10 until a round meets the goal, halfway between what does and does not from then on.
    bisections
        Rounds.
    iterations
        Of a round, at most.
    learning_rate
        At the first iteration.
    beta, gamma, kappa
        See above. With gamma = 0 there need be no autoencoder.
    patience
        A round ends for a pair after so many iterations in a row without a lower L before the goal is met, or without a closer
        counterfactual afterwards; and at once where it cannot leave x. 0 always takes all iterations.
    """

    output: Output = "logit"
    c: PositiveFloat = 1.0
    bisections: PositiveInt = 6
    iterations: PositiveInt = 200
    learning_rate: PositiveFloat = 0.01
    beta: NonNegativeFloat = 0.1
    gamma: NonNegativeFloat = 10.0
    kappa: NonNegativeFloat = 0.0
    patience: NonNegativeInt = 20

    @property
    def encodes(self) -> bool:
        """Whether the loss contains an autoencoder."""
        return self.gamma > 0

    def needs(self, training: Training) -> Mapping[str, Training]:
        """The autoencoder, if the loss contains it."""
        return super().needs(training) if self.encodes else {}

    def unsupported(self, problem: Problem) -> str | None:
        """Needs a gradient, and a good autoencoder if the loss contains it."""
        return super().unsupported(problem if self.encodes else dataclasses.replace(problem, helpers={}))

    def most_passes(self, problem: Problem) -> Passes:
        """Each iteration: one forward and one backward pass where it stands, and a forward pass where it steps to."""
        return Passes(2 * self.bisections * self.iterations, self.bisections * self.iterations)

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        """See `CounterfactualExplainer`."""
        return found(self, problem, pairs.targets, self.goal(problem, pairs, rng))

    @abstractmethod
    def goal(self, problem: Problem, pairs: Pairs, rng: Rng) -> Goal:
        """What is sought for these pairs."""

    def added(self, points: Tensor, codes: Tensor, state: State) -> Tensor | float:
        """(n,): what the method adds to the loss; `codes` (n, L) are the points' if the loss contains an autoencoder."""
        return 0.0

    def regularization(self, problem: Problem, points: Tensor, state: State) -> Tensor | float:
        """(n,): all of the loss but the classifier's and the distances from x."""
        if not self.encodes:
            return self.added(points, points, state)
        autoencoder = problem.helpers["autoencoder"]
        codes = autoencoder.get_submodule("encoder")(points)
        total = self.added(points, codes, state)
        return total + self.gamma * squares(points - autoencoder.get_submodule("decoder")(codes)) if self.gamma else total


def found(method: FistaSearch, problem: Problem, targets: Tensor, goal: Goal) -> Proposals:
    """The closest counterfactual of each pair; at most `problem.chunk` pairs are at work at once."""
    images, forward, backward = goal.start.clone(), torch.zeros_like(targets), torch.zeros_like(targets)
    waiting = torch.arange(len(targets), device=targets.device)
    state = _started(method, goal, targets, waiting[:0])
    with torch.no_grad():
        while len(waiting) or len(state["pair"]):
            room = problem.chunk - len(state["pair"])
            if room and len(waiting):
                more = _started(method, goal, targets, waiting[:room])
                state, waiting = {name: torch.cat([state[name], more[name]]) for name in state}, waiting[room:]
            ended = _iterate(method, problem, state)
            if ended.any():
                _next_round(state, ended)
                done = state["round"] == method.bisections
                pair = state["pair"][done]
                images[pair], forward[pair], backward[pair] = (state[name][done] for name in ("best", "forward", "backward"))
                state = {name: value[~done] for name, value in state.items()} if len(pair) else state
    return Proposals(images, forward, backward)


def _started(method: FistaSearch, goal: Goal, targets: Tensor, pair: Tensor) -> State:
    """These pairs before their first iteration."""
    state = {name: getattr(goal, name)[pair] for name in ("origin", "start", "low", "high")}
    state |= {"pair": pair, "target": targets[pair]} | {name: value[pair] for name, value in goal.more.items()}
    state |= dict.fromkeys(("now", "ahead", "best"), state["start"])
    state |= {name: torch.zeros_like(pair) for name in ("round", "iteration", "idle", "forward", "backward")}
    numbers = {"c": method.c, "least": 0.0, "most": torch.inf, "hinge": torch.inf, "distance": torch.inf}
    state |= {name: goal.origin.new_full((len(pair),), value) for name, value in numbers.items()}
    flags = {"succeeded": False, "outside": not goal.fulfilled, "outside_first": not goal.fulfilled}
    return state | {name: torch.full_like(pair, value, dtype=torch.bool) for name, value in flags.items()}


def _iterate(method: FistaSearch, problem: Problem, state: State) -> Tensor:
    """One iteration of all pairs, which replaces what `state` holds; (n,), bool: for which of them it ends the round."""
    origin, ahead, number = state["origin"], state["ahead"], state["iteration"]
    gradient, hinge = slope(method, problem, state)
    rate = method.learning_rate * (1 - number / method.iterations).sqrt()
    stepped = step(ahead, rate, gradient, method.beta, state)
    onwards = momentum(stepped, number, state)
    difference = stepped - origin
    distance = method.beta * difference.abs().flatten(1).sum(1) + squares(difference)
    # Only where the answer would change something: in the end most iterates are farther away than the best that is known.
    asked = (~state["succeeded"] | (distance < state["distance"])).nonzero()[:, 0]
    meets = torch.zeros_like(state["succeeded"])
    if len(asked):
        meets[asked] = verdict(problem.classifier(stepped[asked]), state["target"][asked], method.confidence)
    closer, reached = meets & (distance < state["distance"]), meets & state["outside"]
    progress = closer | ~state["succeeded"] & (reached | (hinge < state["hinge"]))
    # With nothing but x behind and before it, the same gradient and a lower learning rate come next: it would stay for ever.
    stuck = ~((stepped != origin) | (ahead != origin) | (onwards != origin)).flatten(1).any(1)
    state |= {"now": stepped, "ahead": onwards, "iteration": number + 1, "idle": torch.where(progress, 0, state["idle"] + 1)}
    state |= {"best": torch.where(wide(closer, stepped), stepped, state["best"]), "hinge": hinge.fmin(state["hinge"])}
    state |= {"distance": torch.where(closer, distance, state["distance"])}
    state |= {"succeeded": state["succeeded"] | reached, "outside": state["outside"] | ~meets}
    state["forward"] = (state["forward"] + 1).index_add_(0, asked, torch.ones_like(asked))
    state["backward"] = state["backward"] + 1
    return stuck | (state["iteration"] == method.iterations) | (state["idle"] == (method.patience or method.iterations))


def slope(method: FistaSearch, problem: Problem, state: State) -> tuple[Tensor, Tensor]:
    """(n, C, H, W): the gradient of all of the loss but its L1 term, where the pairs stand; and (n,): L."""
    points = state["ahead"].detach().requires_grad_(True)
    with torch.enable_grad():
        hinge = hinges(problem.classifier(points), state["target"], method.output, method.kappa)
        loss = state["c"] * hinge + method.regularization(problem, points, state) + squares(points - state["origin"])
        (gradient,) = torch.autograd.grad(loss.sum(), points)
    return gradient, hinge.detach()


def hinges(logits: Tensor, targets: Tensor, output: Output, kappa: float) -> Tensor:
    """(n,): by how much the largest other class surpasses the target, at least -kappa."""
    every = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    values = select(logits, every, output)
    others = values.scatter(1, targets[:, None], -torch.inf).amax(1)
    return (others - values.gather(1, targets[:, None])[:, 0]).clamp(min=-kappa)


def step(ahead: Tensor, rate: Tensor, gradient: Tensor, beta: float, state: State) -> Tensor:
    """(n, C, H, W): along the gradient, then beta closer to the origin (or on it), then into the box."""
    moved = ahead - wide(rate, gradient) * gradient - state["origin"]
    return (state["origin"] + functional.softshrink(moved, beta)).clamp(state["low"], state["high"])


def momentum(stepped: Tensor, number: Tensor, state: State) -> Tensor:
    """(n, C, H, W): beyond where an iteration stepped to, by k / (k + 3) of its step, within the box; k (n,) is its number from 0."""
    return (stepped + wide(number / (number + 3), stepped) * (stepped - state["now"])).clamp(state["low"], state["high"])


def _next_round(state: State, ended: Tensor) -> None:
    """Start the next round of those pairs, with another c."""
    succeeded, c = state["succeeded"], state["c"]
    most = torch.where(ended & succeeded, c, state["most"])
    least = torch.where(ended & ~succeeded, c, state["least"])
    following = torch.where(most.isfinite(), (least + most) / 2, 10 * c)
    state |= {"c": torch.where(ended, following, c), "least": least, "most": most, "round": state["round"] + ended}
    state |= {name: torch.where(wide(ended, state[name]), state["start"], state[name]) for name in ("now", "ahead")}
    state |= {name: state[name].masked_fill(ended, 0) for name in ("iteration", "idle")}
    state |= {"succeeded": succeeded & ~ended, "outside": torch.where(ended, state["outside_first"], state["outside"])}
    state |= {"hinge": state["hinge"].masked_fill(ended, torch.inf)}


def squares(difference: Tensor) -> Tensor:
    """(n,): squared L2 norm of (n, ...)."""
    return difference.square().flatten(1).sum(1)


def wide(values: Tensor, images: Tensor) -> Tensor:
    """(n,) values, so that they broadcast to (n, ...) images."""
    return values.reshape(-1, *[1] * (images.dim() - 1))
