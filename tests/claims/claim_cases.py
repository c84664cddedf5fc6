"""Small evidence and classifiers with numbers that can be worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from xaibench.claims import explanation_claim
from xaibench.claims.evidence import Evidence

NAMES = {"dataset": "shapes", "model": "net", "explainer": "ours"}
CLASSES = ("cat", "dog", "cow")


def evidence(values, images=None, labels=None, probabilities=None, targets=(0, 1, 2), **names):
    """Evidence from (J, B, T, H, W) values; by default black images of class 0, predicted with 80 %."""
    values = np.asarray(values, dtype=float)
    seeds, batch, _, height, width = values.shape
    return Evidence(
        names=NAMES | names,
        classes=CLASSES,
        index=np.arange(batch) * 10,
        labels=np.zeros(batch, dtype=int) if labels is None else np.asarray(labels),
        images=np.zeros((batch, height, width)) if images is None else np.asarray(images, dtype=float),
        targets=np.asarray(targets),
        values=values,
        probabilities=np.tile([0.8, 0.15, 0.05], (seeds, batch, 1)) if probabilities is None else np.asarray(probabilities, dtype=float),
    )


def check(claim, monkeypatch, *found):
    """The claim's frame on this evidence."""
    monkeypatch.setattr(explanation_claim, "evidences", lambda results: iter(found))
    return claim(None)


class Classifiers:
    """Results with classifiers alone: for each seed the predictions of the same test images."""

    def __init__(self, labels, *predicted):
        self.labels, self.predicted = np.asarray(labels), [np.asarray(one) for one in predicted]

    def classifiers(self):
        dataset = SimpleNamespace(classes=CLASSES)
        for seed, guesses in enumerate(self.predicted):
            training = SimpleNamespace(dataset=dataset, seed=seed)
            tensors = {"labels": torch.tensor(self.labels), "logits": torch.eye(3)[torch.tensor(guesses)]}
            yield {"dataset": "shapes", "model": "net", "trainer": "auto", "seed": seed}, training, None, SimpleNamespace(tensors=tensors)

    def prediction(self, training):
        return self.labels, self.predicted[training.seed], np.ones(len(self.labels))
