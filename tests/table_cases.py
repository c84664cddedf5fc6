"""Long tables made by hand, for the tests of tables."""

import numpy as np
import pandas as pd

FACTS = {
    "deletion[steps=10]": ("faithfulness", False),
    "insertion": ("faithfulness", True),
    "ties": ("complexity", None),
}


def scores(explainer, values, metric="deletion[steps=10]", family="gradient", **columns):
    """Long rows of (images, seeds) values."""
    values = np.asarray(values, dtype=float)
    index, seed = np.indices(values.shape)
    metric_family, higher = FACTS[metric]
    frame = pd.DataFrame({"index": index.ravel(), "seed": seed.ravel(), "value": values.ravel()})
    facts = {
        "family": family,
        "metric_family": metric_family,
        "metric_version": 1,
        "trainer": "adam",
        "dataset": "digits",
        "model": "conv_8",
    }
    rest = {"explainer": explainer, "metric": metric, "score": "value", "draw": 0, "target": 3, "label": 3, "predicted": 3, "flag": ""}
    frame = frame.assign(**{**facts, **rest, **columns})
    return frame.assign(higher_is_better=pd.Series([higher] * len(frame), dtype=object))


def study():
    """Three images, one classifier: two configurations of an explainer, a control, three metrics."""
    return pd.concat(
        [
            scores("ig[steps=50]", [[0.1], [0.2], [0.3]]),
            scores("ig[steps=5]", [[0.2], [0.3], [0.4]]),
            scores("sobel", [[0.0], [0.0], [0.0]], family="control"),
            scores("ig[steps=50]", [[1], [2], [3]], "insertion"),
            scores("ig[steps=5]", [[1], [np.nan], [5]], "insertion"),
            scores("sobel", [[7], [8], [9]], "insertion", family="control"),
            scores("ig[steps=5]", [[1e-9], [2e-9], [3e-9]], "ties"),
        ],
        ignore_index=True,
    )
