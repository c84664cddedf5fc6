"""Studies' folders made up for the report's tests: small ones with all files, and one as big as a report may get."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.numpy

from xaibench.configuration import conf_folder
from xaibench.report import sprites
from xaibench.report.study import Study
from xaibench.stats import standings
from xaibench.stats.comparison import pairs
from xaibench.stats.paired import scored_tables
from xaibench.tables.aggregate import aggregate, write

CONF = conf_folder()
METRICS = {"deletion": ("faithfulness", False), "insertion": ("faithfulness", True), "sparseness": ("complexity", None)}
EXPLAINERS = {"gradient": "gradient", "lime": "perturbation", "saliency": "gradient", "random": "control"}
PROVENANCE = {
    "written_by": {"versions": {"python": "3.11"}, "commit": "abc"},
    "computed_by_commits": ["abc+"],
    "seeds": [0, 1, 2],
    "draws": [0],
}
CLASSES = ("T-shirt", "</script><b>", '"quoted"')
HOSTILE = {"</script><img src=x onerror=alert(1)>": "gradient", "a\"b'c & <d>": "<i>", "\u2028{{ 7 * 7 }}": "control"}
"""Explainers whose names would do harm if they were markup."""


def study(folder: Path) -> Study:
    return Study(folder, CONF)


def scores(explainers: dict[str, str], metrics: dict[str, tuple[str, bool | None]], images: int = 12, model: str = "cnn") -> pd.DataFrame:
    """A long table whose explainers get better in their order, and where controls are worst."""
    draw = np.random.default_rng(0)
    rows = []
    for place, (explainer, family) in enumerate(explainers.items()):
        for metric, (kind, higher) in metrics.items():
            quality = -1.0 if family == "control" else place / 10
            for seed in (0, 1, 2):
                values = (1 if higher is not False else -1) * quality + 0.01 * draw.normal(size=images) + 0.001 * seed
                part = pd.DataFrame({"seed": seed, "index": np.arange(images), "target": 0, "value": values})
                rows.append(part.assign(explainer=explainer, family=family, metric=metric, metric_family=kind, higher_is_better=higher))
    frame = pd.concat([part.astype({"higher_is_better": object}) for part in rows], ignore_index=True)
    return frame.assign(
        dataset="digits", model=model, trainer="auto", score="value", flag="", metric_version=1, draw=0, label=0, predicted=0
    )


def make(folder: Path, long: pd.DataFrame | None = None, explainers: dict[str, str] | None = None) -> Path:
    """A folder with scores, table, curves, cost, gallery, claims and classifiers."""
    folder.mkdir(parents=True, exist_ok=True)
    explainers = explainers or EXPLAINERS
    long = scores(explainers, METRICS) if long is None else long
    long.to_parquet(folder / "scores.parquet", index=False)
    write(aggregate(long), folder)
    compared = pd.concat([pairs(one) for one in scored_tables(long)], ignore_index=True)
    compared.to_parquet(folder / "comparison.parquet", index=False)
    if len(standing := standings.standings(aggregate(long), compared, pd.DataFrame())):
        standing.to_csv(folder / "standings.csv", index=False)
    curves(["digits"], ["cnn"], explainers, ["deletion"], points=5).to_parquet(folder / "curves.parquet", index=False)
    costs(["digits"], ["cnn"], explainers).to_csv(folder / "cost.csv", index=False)
    gallery(folder, ["digits-cnn"], explainers, images=6, side=4)
    claim = {
        "topic": "A <topic>",
        "dataset": "digits",
        "model": "cnn",
        "explainer": "lime",
        "claim": "better & best",
        "value": 0.5,
        "low": 0.4,
    }
    claim |= {"high": 0.6, "expected": "> 0", "holds": True, "images": 12, "seeds": 3, "note": ""}
    pd.DataFrame([claim, claim | {"holds": False, "claim": "no"}, claim | {"holds": None}]).to_csv(folder / "claims.csv", index=False)
    one = {
        "dataset": "digits",
        "model": "cnn",
        "trainer": "auto",
        "parameters": 100,
        "seeds": 3,
        "images": 50,
        "accuracy": 0.9,
        "low": 0.85,
    }
    one |= {
        "high": 0.95,
        "lowest_seed": 0.88,
        "highest_seed": 0.92,
        "validation_accuracy": 0.9,
        "reference": 0.91,
        "note": "",
        "reached": "no",
    }
    pd.DataFrame([one]).to_csv(folder / "classifiers.csv", index=False)
    (folder / "provenance.json").write_text(json.dumps(PROVENANCE))
    return folder


def curves(datasets, models, explainers, metrics, points) -> pd.DataFrame:
    draw, axis = np.random.default_rng(1), np.linspace(0, 1, points)
    frames = []
    for dataset in datasets:
        for model in models:
            for metric in metrics:
                for explainer, family in explainers.items():
                    mean = draw.uniform(size=points)
                    names = {
                        "dataset": dataset,
                        "model": model,
                        "trainer": "auto",
                        "explainer": explainer,
                        "family": family,
                        "metric": metric,
                    }
                    numbers = {"fraction": axis, "mean": mean, "low": mean - 0.0123456, "high": mean + 0.0123456}
                    frames.append(pd.DataFrame({"curve": "probability", **numbers, "images": 12, **names}))
    return pd.concat(frames, ignore_index=True)


def costs(datasets, models, explainers) -> pd.DataFrame:
    places = [(dataset, model, explainer) for dataset in datasets for model in models for explainer in explainers]
    frame = pd.DataFrame(places, columns=["dataset", "model", "explainer"]).assign(
        stage="explain", trainer="auto", seed=0, draw=0, metric=""
    )
    passes = np.where(frame["explainer"] == "random", 0, 24)
    return frame.assign(forward=passes, backward=passes, seconds=1.2, peak_bytes=1)


def gallery(folder: Path, names: list[str], explainers, images: int, side: int) -> None:
    """Maps of noise, which no compression makes small."""
    draw, tensors, about = np.random.default_rng(2), {}, {}
    for name in names:
        tensors[f"{name}/images"] = draw.integers(0, 256, (images, 1, side, side), dtype=np.uint8)
        for explainer in explainers:
            tensors[f"{name}/{explainer}"] = sprites.quantized(draw.normal(size=(images, 1, side, side)))
        first = tensors[f"{name}/{next(iter(explainers))}"]
        first[1], first[2] = 0, sprites.UNDEFINED
        labels = [row % 3 for row in range(images)]
        facts = {"index": list(range(images)), "targets": [[label] for label in labels], "labels": labels, "predicted": [0] * images}
        about[name] = facts | {"probability": [0.9] * images, "classes": list(CLASSES)}
    safetensors.numpy.save_file(tensors, folder / "gallery.safetensors", metadata={"about": json.dumps(about)})


def big(folder: Path) -> Path:
    """Two data sets, three networks, 43 explainers, 55 metrics, 100 images, ranks and comparisons of all pairs."""
    datasets, models = ["mnist", "fashion_mnist"], ["cnn_a", "cnn_b", "cnn_c"]
    explainers = {f"explainer_number_{place}": "control" if place > 34 else f"family {place % 4}" for place in range(43)}
    metrics = {f"metric_with_a_name_{place}": (f"family {place % 6}", place % 2 == 0) for place in range(55)}
    draw = np.random.default_rng(3)
    folder.mkdir()
    index = pd.MultiIndex.from_product(
        [datasets, models, ["auto"], explainers, metrics], names=["dataset", "model", "trainer", "explainer", "metric"]
    )
    table = pd.DataFrame({"score": "value"}, index=index).reset_index()
    mean = draw.normal(size=len(table))
    facts = {"family": table["explainer"].map(explainers), "metric_family": table["metric"].map(lambda name: metrics[name][0])}
    facts |= {
        "higher_is_better": table["metric"].map(lambda name: metrics[name][1]),
        "metric_version": 1,
        "df": 10.0,
        "images": 100,
        "seeds": 3,
    }
    table = table.assign(**facts, mean=mean, low=mean - 0.1234, high=mean + 0.1234, undefined=0, planned=100, note="")
    table.to_csv(folder / "table.csv", index=False, float_format="%.10g")
    known = [(dataset, model, name) for dataset in datasets for model in models for name in explainers]
    images = pd.DataFrame(known, columns=["dataset", "model", "explainer"]).merge(pd.DataFrame({"index": np.arange(100)}), how="cross")
    images.assign(trainer="auto", seed=0, draw=0).to_parquet(folder / "scores.parquet")
    curves(datasets, models, explainers, list(metrics)[:15], points=33).to_parquet(folder / "curves.parquet")
    costs(datasets, models, explainers).to_csv(folder / "cost.csv", index=False)
    names = list(explainers)
    pairs = [(names[a], names[b]) for a in range(43) for b in range(a)]
    some = list(metrics)[:5]
    rows = [(dataset, model, metric, *pair) for dataset in datasets for model in models for metric in some for pair in pairs]
    compared = pd.DataFrame(rows, columns=["dataset", "model", "metric", "first", "second"])
    numbers = {name: draw.normal(size=len(rows)) for name in ("difference", "low", "high", "effect")}
    compared.assign(images=100, **numbers, p=0.001, p_holm=0.01, differs=True).to_parquet(folder / "comparison.parquet", index=False)
    ranked = table[["dataset", "model", "metric", "explainer", "family"]].assign(
        mean_rank=draw.uniform(1, 43, len(table)), groups="ab", images=100
    )
    ranked.to_csv(folder / "ranks.csv", index=False, float_format="%.6g")
    gallery(folder, [f"{dataset}-{model}" for dataset in datasets for model in models], explainers, images=100, side=28)
    (folder / "provenance.json").write_text(json.dumps(PROVENANCE))
    return folder
