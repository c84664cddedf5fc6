"""The search of one pair written out in plain steps, small problems with an autoencoder, and deliberate faults of the engine."""

import dataclasses

import torch
from counterfactual_cases import RNG, conv_pair_problem, pairs_of
from torch import nn

from xaibench.autoencoders import Autoencoder
from xaibench.counterfactuals import fista
from xaibench.data import Split

SHAPE = (1, 6, 5)


class Collapsed(nn.Module):
    """An autoencoder whose codes and images are always the same."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(30, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 30), nn.Unflatten(1, SHAPE))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images):
        return self.decoder(self.encoder(images))


def small_problem(chunk=7, batch=3):
    """Three images and two targets each, four classes, 24 training images of the first three, and an autoencoder of random weights."""
    problem = conv_pair_problem(batch, SHAPE, chunk=chunk)
    problem.model[3].bias.data -= problem.model(problem.images).mean(0)  # so that not all images are of one class
    with torch.random.fork_rng([]):
        torch.manual_seed(2)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.Tanh())
        decoder = nn.Sequential(nn.Linear(4, 30), nn.Sigmoid(), nn.Unflatten(1, SHAPE))
    draw = torch.Generator().manual_seed(8)
    data = Split(torch.rand(24, *SHAPE, generator=draw), torch.arange(24) % 3)
    helpers = {"autoencoder": Autoencoder(encoder, decoder).eval().requires_grad_(False)}
    probabilities = problem.model(problem.images).softmax(1)
    return dataclasses.replace(problem, probabilities=probabilities, helpers=helpers, training_data=data)


def plain_loss(problem, method, y, x, target, c, extra):
    """c L + |y - x|^2 + gamma |y - AE(y)|^2 + what is added, for one image, and L."""
    logits = problem.model(y[None])[0]
    p = {"logit": lambda: logits, "probability": lambda: logits.softmax(0), "log_probability": lambda: logits.log_softmax(0)}[
        method.output
    ]()
    largest = max((p[i] for i in range(len(p)) if i != target), key=lambda value: float(value.detach()))
    hinge = torch.maximum(largest - p[target], torch.tensor(-method.kappa))
    total = c * hinge + ((y - x) ** 2).sum() + extra(y)
    if method.gamma:
        total = total + method.gamma * ((y - problem.helpers["autoencoder"](y[None])[0]) ** 2).sum()
    return total, float(hinge.detach())


def plain_search(problem, method, x, target, box=(0.0, 1.0), start=None, fulfilled=False, extra=lambda y: 0.0):
    """Rounds of FISTA for one image: the best image, and its forward and backward passes."""
    start, (low, high) = x if start is None else start, (torch.as_tensor(side, dtype=torch.float32) for side in box)
    best, nearest, forward, backward = start, float("inf"), 0, 0
    c, too_low, high_enough = method.c, 0.0, None
    for _ in range(method.bisections):
        now = ahead = start
        success, outside, idle, lowest = False, not fulfilled, 0, float("inf")
        for k in range(method.iterations):
            y = ahead.clone().requires_grad_(True)
            total, hinge = plain_loss(problem, method, y, x, target, c, extra)
            (gradient,) = torch.autograd.grad(total, y)
            forward, backward = forward + 1, backward + 1
            z = ahead - method.learning_rate * (1 - k / method.iterations) ** 0.5 * gradient
            shrunk = torch.where(z - x > method.beta, z - method.beta, torch.where(z - x < -method.beta, z + method.beta, x))
            following = torch.minimum(torch.maximum(shrunk, low), high)
            beyond = torch.minimum(torch.maximum(following + k / (k + 3) * (following - now), low), high)
            distance = float(method.beta * (following - x).abs().sum() + ((following - x) ** 2).sum())
            progress = False
            if not success or distance < nearest:
                forward += 1
                logits = problem.model(following[None])[0]
                if int(logits.argmax()) == target and float(logits.softmax(0)[target]) >= method.confidence:
                    if distance < nearest:
                        best, nearest, progress = following, distance, True
                    if outside and not success:
                        success = progress = True
                else:
                    outside = True
            if not success and hinge < lowest:
                progress = True
            lowest, idle = min(lowest, hinge), 0 if progress else idle + 1
            at_rest = bool((ahead == x).all() and (following == x).all() and (beyond == x).all())
            now, ahead = following, beyond
            if at_rest or idle == (method.patience or method.iterations):
                break
        if success:
            high_enough = c
        else:
            too_low = c
        c = 10 * c if high_enough is None else (too_low + high_enough) / 2
    return best, forward, backward


def check_against_plain(problem, method, plain, pairs=None):
    """Every pair's image and passes are those of `plain`, called with its image, target and number; by default those of other classes."""
    pairs = pairs_of(problem) if pairs is None else pairs
    found = method.search(problem, pairs, RNG)
    assert len(pairs) > 3
    for pair in range(len(pairs)):
        image, forward, backward = plain(pairs.images[pair], int(pairs.targets[pair]), pair)
        assert (int(found.forward[pair]), int(found.backward[pair])) == (forward, backward)
        assert torch.allclose(found.images[pair], image, atol=2e-4)
    changed = (found.images != pairs.images).flatten(1).any(1)
    assert changed.sum() > len(pairs) / 2  # or there would be little to compare


def mutants(monkeypatch):
    """Turns one deliberate fault on, by name."""
    step, momentum, hinges, squares, bisect = fista.step, fista.momentum, fista.hinges, fista.squares, fista._next_round

    def next_round(state, ended):
        state["succeeded"] = ~state["succeeded"]
        bisect(state, ended)

    faults = {
        "shrinks by rate times beta": ("step", lambda ahead, rate, *more: step(ahead, rate, more[0], float(rate[0]) * more[1], more[2])),
        "constant rate": ("step", lambda ahead, rate, *more: step(ahead, rate.amax().expand_as(rate), *more)),
        "clips nowhere": ("step", lambda ahead, rate, gradient, beta, state: step(ahead, rate, gradient, beta, state | WIDE)),
        "no momentum": ("momentum", lambda stepped, number, state: stepped),
        "momentum off by one": ("momentum", lambda stepped, number, state: momentum(stepped, number + 1, state)),
        "against the target": ("hinges", lambda *arguments: -hinges(*arguments)),
        "no kappa": ("hinges", lambda logits, targets, output, kappa: hinges(logits, targets, output, 0.0)),
        "other output": ("hinges", lambda logits, targets, output, kappa: hinges(logits / 2, targets, output, kappa)),
        "half the squares": ("squares", lambda difference: squares(difference) / 2),
        "accepts everything": ("verdict", lambda logits, targets, confidence: torch.ones_like(targets, dtype=torch.bool)),
        "bisects upside down": ("_next_round", next_round),
    }
    return {name: lambda fault=fault: monkeypatch.setattr(fista, *fault) for name, fault in faults.items()}


WIDE = {"low": torch.tensor(-9.0), "high": torch.tensor(9.0)}
FAULTS = [
    *("shrinks by rate times beta", "constant rate", "clips nowhere", "no momentum", "momentum off by one", "against the target"),
    *("no kappa", "other output", "half the squares", "accepts everything", "bisects upside down"),
]
