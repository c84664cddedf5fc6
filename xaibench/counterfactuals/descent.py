"""Gradient descent to counterfactuals: an output is driven to a value near the image, and the distance's weight is found by bisection."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.component import NonNegativeInt, PositiveFloat, PositiveInt
from xaibench.counterfactuals.space import Space, flat, upright
from xaibench.problem import Output, Passes, Problem, select
from xaibench.searching import CounterfactualExplainer, Pairs, Proposals, verdict
from xaibench.seeding import Rng

VERSION = 1

FACTOR = 10.0
"""By which the weight grows, or falls, until one is known at which the pair is found and one at which it is not."""

CLOSE = 1.2
"""Bisection ends when these two weights are closer than this factor."""

SETTLED = 0.03
"""A round ends when the step that was tried, had it the greatest length, would move nothing by more than this times the learning rate."""

SHORTEST = 1e-6
"""A round ends when no step of this part of the greatest length is good enough."""

STRAYED = 5
"""A round ends when so many accepted steps in a row are no counterfactuals."""

BACK = 0.25
"""What is left of a step's length when the step is refused."""

MEMORY = 0.7
"""How much past objectives count in the one that a step must not exceed (eta of Zhang and Hager 2004)."""

TINY = 1e-37
"""Gradients below it count as 0."""

SLACK = 1e-6
"""By which a step may exceed it, as rounding errors do."""

Distance = Literal["l1", "l2"]


@dataclass
class Lanes:
    """The pairs that are under way, each in a round of its own; all tensors have one row for each.

    Attributes
    ----------
    pair, target, origin
        Its position among all pairs, the class that is wanted, and the image (n, D).
    trial, place, slope, best
        Variables (n, V): those that are tried next; those accepted last, and the gradient there; the closest that were found.
    past, share
        The mean of past objectives that a step must not exceed, and the sum of its weights.
    length, longest, closest
        The step's length; the greatest that it may have; the distance of `best`, infinite as long as there is none.
    weight, low, high
        The distance's weight in this round, the largest one at which the pair was found, and the smallest one at which it was not.
    rounds, iteration, passes, strayed
        Rounds that have ended, passes of this round, all passes, and accepted steps in a row that were no counterfactuals.
    """

    pair: Tensor
    target: Tensor
    origin: Tensor
    trial: Tensor
    place: Tensor
    slope: Tensor
    best: Tensor
    past: Tensor
    share: Tensor
    length: Tensor
    longest: Tensor
    closest: Tensor
    weight: Tensor
    low: Tensor
    high: Tensor
    rounds: Tensor
    iteration: Tensor
    passes: Tensor
    strayed: Tensor

    def drop(self, rows: Tensor) -> None:
        """Keep all others."""
        left = torch.ones_like(self.pair, dtype=torch.bool)
        left[rows] = False
        for name in NAMES:
            setattr(self, name, getattr(self, name)[left])

    def put(self, rows: Tensor, others: Lanes) -> None:
        """Others take the place of these rows."""
        for name in NAMES:
            getattr(self, name)[rows] = getattr(others, name)


NAMES = tuple(field.name for field in dataclasses.fields(Lanes))


@dataclass(frozen=True)
class Descent(CounterfactualExplainer):
    """Minimizes (f - aim)^2 + weight * distance for each pair, where f is the output of the target, in rounds.

    The first round goes without the distance, until the pair is found; a pair that is not found then never is. Each further round
    starts from the closest counterfactual so far, with another weight: ten times as much while the pair is found where the round
    settles, a tenth while it is not, and the geometric mean once both are known. The closest counterfactual of all passes is proposed.

    A step is one of gradient descent, followed by the proximal operator of the distance and the clip to the bounds. Its length is
    Barzilai and Borwein's, as long as the gradient moves nothing further than `learning_rate`; it is refused, and then shortened, where
    it exceeds a mean of past objectives. A round ends after `iterations` passes, when a step of the greatest length would move nothing
    further than `SETTLED` times the learning rate, or after `STRAYED` accepted steps without a counterfactual. Pairs that are finished
    make room for others.

    Where a network's gradient jumps, a difference in rounding, as between sizes of batches, may send a pair another way: most agree to
    1e-5 whatever the batch, the distances of single ones to 1e-2 only.

    Parameters
    ----------
    output, aim
        What is driven to which value, in the output's units: 1 for a probability, 0 for its logarithm.
    distance
        ``l1``: the sum of absolute changes of all pixels and channels; ``l2``: that of their squares.
    weight
        The distance's in the second round.
    bisections
        At most so many rounds follow. 0 keeps `weight`, and proposes where the second round settles, whether it is a counterfactual or not.
    iterations
        Passes of a round at most.
    learning_rate
        The furthest that the gradient moves a variable in one step.

    References
    ----------
    Barzilai and Borwein, Two-point step size gradient methods, 1988. Wright, Nowak and Figueiredo, Sparse reconstruction by separable
    approximation, 2009: the same for proximal steps. Zhang and Hager, A nonmonotone line search technique, 2004: the mean.
    """

    output: Output = "probability"
    distance: Distance = "l1"
    aim: float = 1.0
    weight: PositiveFloat = 0.03
    bisections: NonNegativeInt = 10
    iterations: PositiveInt = 50
    learning_rate: PositiveFloat = 0.1

    @abstractmethod
    def space(self, problem: Problem) -> Space:
        """What is moved."""

    def most_passes(self, problem: Problem) -> Passes:
        """All iterations of all rounds: the one without distance, the one at `weight`, and the bisections."""
        most = (2 + self.bisections) * self.iterations
        return Passes(most, most)

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        """Up to `problem.chunk` pairs are under way at once; where one is finished, the next one takes its place."""
        space, found, passes = self.space(problem), pairs.images.clone(), torch.zeros_like(pairs.targets)
        waiting = min(problem.chunk, len(pairs))
        lanes = self._begun(space, pairs, 0, waiting)
        while len(lanes.pair):
            done = self._advanced(problem, space, lanes).nonzero()[:, 0]
            if not len(done):
                continue
            pair, known = lanes.pair[done], lanes.closest[done].isfinite() & (self.bisections > 0)
            proposed = torch.where(known[:, None], lanes.best[done], lanes.place[done])
            with torch.inference_mode():
                found[pair] = upright(space.rows(proposed), pairs.images)
            passes[pair] = lanes.passes[done]
            more = min(len(done), len(pairs) - waiting)
            if more:
                lanes.put(done[:more], self._begun(space, pairs, waiting, waiting + more))
                waiting += more
            if more < len(done):
                lanes.drop(done[more:])
        return Proposals(found, passes, passes)

    def _begun(self, space: Space, pairs: Pairs, first: int, end: int) -> Lanes:
        """The pairs first ... end - 1 before their first pass."""
        part = pairs.take(torch.arange(first, end, device=pairs.targets.device))  # a copy, as lanes are written over
        origin, start = flat(part.images), space.start(part.images)
        zeros = torch.zeros(len(part), dtype=torch.float64, device=origin.device)
        counts = torch.zeros_like(part.targets)
        never = torch.full_like(zeros, torch.inf)
        return Lanes(
            pair=torch.arange(first, end, device=origin.device),
            target=part.targets,
            origin=origin,
            **{name: start.clone() for name in ("trial", "place", "best")},
            slope=torch.zeros_like(start),
            **{name: zeros.clone() for name in ("past", "share", "length", "longest", "weight", "low")},
            **{name: never.clone() for name in ("closest", "high")},
            **{name: counts.clone() for name in ("rounds", "iteration", "passes", "strayed")},
        )

    def _advanced(self, problem: Problem, space: Space, lanes: Lanes) -> Tensor:
        """One pass of every lane, and the choice of what it tries next; (n,) which lanes are finished."""
        good, distance, objective, slope = self._tried(problem, space, lanes)
        lanes.passes += 1
        lanes.iteration += 1
        better = good & (distance < lanes.closest)
        lanes.closest = torch.where(better, distance, lanes.closest)
        lanes.best = torch.where(better[:, None], lanes.trial, lanes.best)
        far = self._judged(lanes, good, objective, slope)
        ended = (
            (lanes.iteration >= self.iterations)
            | (far <= SETTLED * self.learning_rate)
            | (lanes.length < SHORTEST * lanes.longest)
            | ~lanes.past.isfinite()
        )
        ended |= (lanes.rounds == 0) & (lanes.strayed == 0)
        if self.bisections:
            ended |= (lanes.rounds > 0) & (lanes.strayed >= STRAYED)
        length = lanes.length.to(slope.dtype)[:, None]
        trial = torch.addcmul(lanes.place, lanes.slope, length, value=-1)
        if space.proximal:
            trial = space.shrunk(trial, lanes.origin, (lanes.length * lanes.weight).clamp_max(1e30).to(slope.dtype)[:, None])
        lanes.trial = trial.clamp_(space.low, space.high)
        return self._weighted(lanes, ended)

    def _tried(self, problem: Problem, space: Space, lanes: Lanes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """At `trial`: whether it is a counterfactual, the distance, the objective, and the gradient of what `shrunk` leaves of it."""
        with torch.enable_grad():
            variables = lanes.trial.detach().requires_grad_(True)
            rows = space.rows(variables)
            logits = problem.classifier(upright(rows, problem.images))
            reached = select(logits, lanes.target[:, None], self.output)[:, 0]
            changes = (rows.detach() if space.proximal else rows) - lanes.origin
            distance = changes.abs().sum(1) if self.distance == "l1" else changes.square().sum(1)
            error = (reached - self.aim).square()
            objective = error.double() + lanes.weight * distance.double()
            (slope,) = torch.autograd.grad((error if space.proximal else objective).sum(), variables)
        good = verdict(logits.detach(), lanes.target, self.confidence)
        return good, distance.detach().double(), objective.detach(), slope

    def _judged(self, lanes: Lanes, good: Tensor, objective: Tensor, slope: Tensor) -> Tensor:
        """Take the trial, or refuse it and shorten the step; (n,) how far one of the greatest length would go, infinite at first."""
        begins = lanes.iteration == 1
        taken = begins | (objective <= lanes.past + SLACK * (1 + lanes.past))
        step = lanes.trial - lanes.place
        curvature = (step * (slope - lanes.slope)).sum(1).double()
        # How far a step of the greatest length would move what it moves most, by the gradient and the distance together.
        far = torch.where(begins, torch.inf, step.abs().amax(1) * lanes.longest / lanes.length)
        lanes.longest = torch.where(taken, self.learning_rate / slope.abs().amax(1).double().clamp_min(TINY), lanes.longest)
        bent = torch.minimum(step.square_().sum(1).double() / curvature, lanes.longest)
        length = torch.where((curvature > 0) & ~begins, bent, lanes.longest)
        lanes.length = torch.where(taken, length, BACK * lanes.length)
        lanes.place = torch.where(taken[:, None], lanes.trial, lanes.place)
        lanes.slope = torch.where(taken[:, None], slope, lanes.slope)
        lanes.strayed = torch.where(taken, torch.where(good, 0, lanes.strayed + 1), lanes.strayed)
        share = torch.where(begins, 1.0, MEMORY * lanes.share + 1)
        past = torch.where(begins, objective, lanes.past + (objective - lanes.past) / share)
        lanes.share, lanes.past = torch.where(taken, share, lanes.share), torch.where(taken, past, lanes.past)
        return far

    def _weighted(self, lanes: Lanes, ended: Tensor) -> Tensor:
        """Lanes whose round has ended get the next one's weight; (n,) which lanes are finished instead."""
        first, good = lanes.rounds == 0, lanes.strayed == 0
        lanes.low = torch.where(ended & ~first & good, lanes.weight, lanes.low)
        lanes.high = torch.where(ended & ~first & ~good, lanes.weight, lanes.high)
        weight = torch.where(lanes.low == 0, lanes.weight / FACTOR, (lanes.low * lanes.high).sqrt())
        weight = torch.where(lanes.high.isinf(), lanes.weight * FACTOR, weight)
        lanes.weight = torch.where(ended, torch.where(first, self.weight, weight), lanes.weight)
        lanes.rounds += ended
        finished = ended & ((first & ~good) | (lanes.rounds > 1 + self.bisections) | (lanes.high < CLOSE * lanes.low))
        lanes.trial = torch.where(ended[:, None], lanes.best, lanes.trial)
        lanes.iteration = torch.where(ended, 0, lanes.iteration)
        lanes.strayed = torch.where(ended, 0, lanes.strayed)
        return finished
