"""alibi's TensorFlow counterfactuals of our networks: a script for an environment of its own, which knows nothing of the benchmark.

``ENVIRONMENT/bin/python reference.py FOLDER`` reads what `exporting` wrote there (networks.npz, problem.npz, settings.json) and writes
reference.npz and reference.json beside it. With ``--serve`` it answers each line ``METHOD PAIR`` on its input with one on its output,
so that both libraries can be timed in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

import tensorflow as tf  # type: ignore[import-untyped, import-not-found, unused-ignore]
from alibi.explainers import CEM, Counterfactual, CounterfactualProto
from tensorflow import keras  # type: ignore[import-untyped, import-not-found, unused-ignore]

Array = np.ndarray
SHAPE = (1, 28, 28, 1)
CLOSE = 1e-5
"""How far an output of a copied network may be from that of the original."""

PACKAGES = ("alibi", "tensorflow", "keras", "numpy", "scipy")


def main(arguments: list[str]) -> int:
    """Copy the networks, check the copies, then write or serve counterfactuals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--serve", action="store_true", help="answer requests for timings instead of writing")
    chosen = parser.parse_args(arguments)
    tf.compat.v1.disable_v2_behavior()
    logging.disable(logging.WARNING)
    given = Given(chosen.folder)
    if chosen.serve:
        serve(given)
    else:
        write(given, chosen.folder)
    return 0


class Given:
    """What was exported: weights, images (N, 28, 28, 1), pairs and settings; images go through the networks channels last."""

    def __init__(self, folder: Path) -> None:
        self.weights = dict(np.load(folder / "networks.npz"))
        problem = dict(np.load(folder / "problem.npz"))
        self.expected = {name: problem[name] for name in ("logits", "reconstructed")}
        self.images, self.training = problem["images"][..., None], problem["training"][..., None]
        self.predicted, self.targets = problem["predicted"], problem["targets"]
        self.settings: dict[str, Any] = json.loads((folder / "settings.json").read_text())
        rows, columns = np.indices(self.targets.shape).reshape(2, -1)
        self.pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))


class Networks:
    """Keras copies of the classifier, with and without its softmax, and of the autoencoder, in a graph of their own."""

    def __init__(self, weights: dict[str, Array]) -> None:
        keras.backend.clear_session()
        one = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        tf.compat.v1.keras.backend.set_session(tf.compat.v1.Session(config=one))
        image = keras.Input(SHAPE[1:])
        logits = _classifier(image)
        self.logits = keras.Model(image, logits)
        self.classifier = keras.Model(image, keras.layers.Softmax()(logits))
        code = _encoder(image)
        self.encoder = keras.Model(image, code)
        self.autoencoder = keras.Model(image, _decoder(code))
        self.logits.set_weights(_classifier_weights(weights))
        self.autoencoder.set_weights(_autoencoder_weights(weights))

    def differences(self, given: Given) -> dict[str, float]:
        """The largest difference of logits, relative to the largest, of probabilities and of reconstructed pixels; small, or it fails."""
        logits, expected = self.logits.predict(given.images), given.expected["logits"]
        found = {
            "logits": float(np.abs(logits - expected).max() / np.abs(expected).max()),
            "probabilities": float(np.abs(self.classifier.predict(given.images) - softmax(expected)).max()),
            "reconstructed": float(np.abs(self.autoencoder.predict(given.images)[..., 0] - given.expected["reconstructed"]).max()),
        }
        if max(found.values()) > CLOSE:
            raise ValueError(f"the copies differ from the networks: {found}, expected at most {CLOSE}")
        return found


def _classifier(image: Any) -> Any:
    """Two 2x2 convolutions, padded below and on the right, and two dense layers: logits."""
    found = image
    for channels in (64, 32):
        found = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(found)
        found = keras.layers.MaxPooling2D(2)(keras.layers.Conv2D(channels, 2, activation="relu")(found))
    return keras.layers.Dense(10)(keras.layers.Dense(256, activation="relu")(keras.layers.Flatten()(found)))


def _encoder(image: Any) -> Any:
    """Two convolutions that halve the image, and a dense layer."""
    found = image
    for channels in (16, 32):
        found = keras.layers.Conv2D(channels, 3, strides=2, activation="relu")(keras.layers.ZeroPadding2D(1)(found))
    return keras.layers.Dense(64, activation="tanh")(keras.layers.Flatten()(found))


def _decoder(code: Any) -> Any:
    """The same back."""
    found = keras.layers.Reshape((7, 7, 32))(keras.layers.Dense(7 * 7 * 32, activation="relu")(code))
    for channels, activation in ((16, "relu"), (1, "sigmoid")):
        found = keras.layers.Conv2D(channels, 3, padding="same", activation=activation)(keras.layers.UpSampling2D(2)(found))
    return found


def _classifier_weights(weights: dict[str, Array]) -> list[Array]:
    layers = [_layer(weights, f"classifier.{place}") for place in (1, 6, 11, 14)]
    layers[2][0] = _channels_last(layers[2][0], 32)
    return [array for layer in layers for array in layer]


def _autoencoder_weights(weights: dict[str, Array]) -> list[Array]:
    names = ("encoder.0", "encoder.2", "encoder.5", "decoder.0", "decoder.4", "decoder.7")
    layers = [_layer(weights, f"autoencoder.{name}") for name in names]
    layers[2][0] = _channels_last(layers[2][0], 32)
    layers[3] = [_channels_last(layers[3][0].T, 32).T, _channels_last(layers[3][1][:, None], 32)[:, 0]]
    return [array for layer in layers for array in layer]


def _layer(weights: dict[str, Array], name: str) -> list[Array]:
    """A layer's weights in Keras's order: inputs before outputs, for a convolution after height and width."""
    weight = weights[f"{name}.weight"]
    return [weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T, weights[f"{name}.bias"]]


def _channels_last(rows: Array, channels: int) -> Array:
    """Rows of a flattened (channels, 7, 7), reordered to those of (7, 7, channels)."""
    return rows.reshape(channels, 7, 7, -1).transpose(1, 2, 0, 3).reshape(len(rows), -1)


def softmax(logits: Array) -> Array:
    """The probabilities of (N, K) logits."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


Search = Callable[[Array, int], tuple[Array | None, int]]
"""An image (1, 28, 28, 1) and a target give a counterfactual, or None, and the iterations that it took."""


def wachter(given: Given, settings: dict[str, Any], target: int, black_box: bool = False) -> Search:
    """alibi's Counterfactual; its graph holds the target."""
    explainer = Counterfactual(_predict(given, black_box).classifier, SHAPE, target_class=target, feature_range=(0.0, 1.0), **settings)
    condition = explainer._prob_condition
    iterations = [0]

    def counted(image: Array) -> Any:
        iterations[0] += 1  # it is asked once in each
        return condition(image)

    explainer._prob_condition = counted

    def search(image: Array, _: int) -> tuple[Array | None, int]:
        iterations[0] = 0
        found = explainer.explain(image).cf
        return None if found is None else found["X"], iterations[0]

    return search


def prototypes(given: Given, settings: dict[str, Any], _: int, black_box: bool = False) -> Search:
    """alibi's CounterfactualProto: a prototype is the mean code of the `k` nearest training images that are predicted as the target."""
    networks = _predict(given, black_box)
    models = {"enc_model": networks.encoder} | ({"ae_model": networks.autoencoder} if settings["gamma"] else {})
    own = {name: value for name, value in settings.items() if name != "k"}
    explainer = CounterfactualProto(networks.classifier, SHAPE, feature_range=(0.0, 1.0), **models, **own)
    explainer.fit(given.training[: 2000 if black_box else None])  # the time of an iteration does not depend on the prototype

    def search(image: Array, target: int) -> tuple[Array | None, int]:
        found = explainer.explain(image, target_class=[target], k=settings["k"]).cf
        return None if found is None else found["X"], settings["max_iterations"] * settings["c_steps"]

    return search


def pertinent(mode: str) -> Callable[[Given, dict[str, Any], int], Search]:
    """alibi's CEM without an autoencoder, pertinent negatives (PN) or positives (PP); it takes no target."""

    def method(given: Given, settings: dict[str, Any], _: int) -> Search:
        networks = Networks(given.weights)
        explainer = CEM(networks.classifier, mode, SHAPE, feature_range=(0.0, 1.0), **settings)

        def search(image: Array, _: int) -> tuple[Array | None, int]:
            return getattr(explainer.explain(image), mode), settings["max_iterations"] * settings["c_steps"]

        return search

    return method


METHODS: dict[str, Callable[..., Search]] = {
    "wachter": wachter,
    "guided_by_prototypes": prototypes,
    "prototypes_alone": prototypes,
    "pertinent_negative": pertinent("PN"),
    "pertinent_positive": pertinent("PP"),
}
TARGETED = ("wachter", "guided_by_prototypes", "prototypes_alone")


def _predict(given: Given, black_box: bool) -> Networks:
    """New networks; as a black box the classifier is a function of arrays, which takes all in one batch."""
    networks = Networks(given.weights)
    if black_box:
        keras_model = networks.classifier
        networks.classifier = lambda images: keras_model.predict(images, batch_size=len(images))
    return networks


def write(given: Given, folder: Path) -> None:
    """All pairs of all methods, one by one: counterfactuals (NaN where there is none), CPU seconds and iterations."""
    facts: dict[str, Any] = {"versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}}
    facts |= {"differences": Networks(given.weights).differences(given), "targeted": list(TARGETED), "settings": given.settings}
    arrays: dict[str, Array] = {}
    for name in METHODS:
        pairs = given.pairs if name in TARGETED else [pair for pair in given.pairs if pair[1] == 0]
        shape = given.targets.shape if name in TARGETED else (len(given.images), 1)
        images, seconds, iterations = np.full((*shape, *SHAPE[1:3]), np.nan, np.float32), np.zeros(shape), np.zeros(shape, np.int64)
        for pair, found, spent, count in searched(name, given, pairs):
            images[pair] = np.nan if found is None else found[0, ..., 0]
            seconds[pair], iterations[pair] = spent, count
            print(name, pair, found is not None, f"{spent:.1f} s, {count} iterations", flush=True)
        arrays |= {f"{name}.images": images, f"{name}.seconds": seconds, f"{name}.iterations": iterations}
        np.savez_compressed(folder / "reference.npz", **arrays)
    (folder / "reference.json").write_text(json.dumps(facts, indent=1) + "\n")


def searched(name: str, given: Given, pairs: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], Array | None, float, int]]:
    """Each pair with its counterfactual, CPU seconds of the search alone, and iterations; graphs are built before, once for each target."""
    graphs = {int(given.targets[pair]) for pair in pairs} if name == "wachter" else {None}
    for graph in sorted(graphs, key=str):
        search = METHODS[name](given, given.settings[name], graph)
        for pair in pairs:
            if graph is None or given.targets[pair] == graph:
                start = time.process_time()
                found, count = search(given.images[pair[0] : pair[0] + 1], int(given.targets[pair]))
                yield pair, found, time.process_time() - start, count


def serve(given: Given) -> None:
    """Answer lines ``METHOD PAIR`` (``METHOD.black_box PAIR`` for the black box) with CPU seconds and iterations; the graph is kept."""
    kept: dict[tuple[str, int], Search] = {}
    for line in sys.stdin:
        name, place = line.split()
        method, _, black_box = name.partition(".")
        pair = given.pairs[int(place)]
        image, target = given.images[pair[0] : pair[0] + 1], int(given.targets[pair])
        if (name, target) not in kept:
            kept.clear()  # a new graph ends the one before
            more = {"black_box": True} if black_box else {}
            kept[name, target] = METHODS[method](given, given.settings[name], target, **more)
        start = time.process_time()
        with contextlib.redirect_stdout(sys.stderr):
            found, count = kept[name, target](image, target)
        answer = {"seconds": time.process_time() - start, "iterations": count, "found": found is not None}
        print("ANSWER " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
