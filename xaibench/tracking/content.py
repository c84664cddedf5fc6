"""What of a study goes into its W&B runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from xaibench.component import describe
from xaibench.grid import Cell
from xaibench.identity import train_key
from xaibench.keys import digest
from xaibench.pictures import first_explanations
from xaibench.stages import arrays_of
from xaibench.store import Artifact
from xaibench.tables.blocks import natural

if TYPE_CHECKING:
    from xaibench.tables.longtable import Results

PARTS = ("dataset", "model", "explain_on", "explainer")
MOST_IMAGES = 8
NAME_LENGTH = 128
TABLE = "table.csv"
Told = tuple[int, str, str, float]
"""Index, label, predicted class and its probability."""

FILES = {".csv", ".json", ".md", ".pdf", ".png", ".svg", ".tex"}


@dataclass(frozen=True)
class Part:
    """A piece of a W&B run, put into an open run by `send`; one whose `key`, the content's name, was sent before is not sent again."""

    key: str
    send: Callable[[Any], None]


def explanations(results: Results) -> dict[str, list[tuple[Cell, Artifact]]]:
    """All cells with their scores, by their explanation's key."""
    found: dict[str, list[tuple[Cell, Artifact]]] = {}
    for cell, artifact in results.found:
        found.setdefault(cell.explaining.key, []).append((cell, artifact))
    return found


def _name(results: Results, cell: Cell) -> str:
    facts = results.facts(cell)
    trainer = [facts["trainer"]] if len(results.grid.trainers) > 1 else []
    names = [facts["dataset"], facts["model"], *trainer, facts["explainer"], f"seed {cell.seed}"]
    return " ".join(names) + (f" draw {cell.draw}" if cell.draw else "")


def of_explanation(results: Results, study: str, cells: list[tuple[Cell, Artifact]]) -> tuple[str, dict[str, Part]]:
    """Name and content of an explanation's run; nothing is read before it is sent."""
    first, name, config = cells[0][0], _name(results, cells[0][0]), _config(results, study, [cell for cell, _ in cells])
    parts = {
        "config": Part(digest({"name": name, "config": config}), lambda run: run.config.update(config, allow_val_change=True)),
        "classifier": Part(train_key(first.training)[0], partial(_send_classifier, results, first)),
        "maps": Part(first.explaining.key, partial(_send_explanations, results, first)),
    }
    for cell, artifact in cells:
        facts = results.facts(cell)
        parts[f"metric {facts['metric']}"] = Part(cell.key, partial(_send_scores, facts["metric"], facts["explainer"], artifact))
    return name, parts


def of_study(results: Results, study: str, folder: Path) -> dict[str, Part]:
    """The content of the study's own run."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in FILES)
    parts = {"files": Part(_checksum(folder, files), partial(_send_files, study, folder, files))}
    if (folder / TABLE).is_file():
        parts["explainers"] = Part(_checksum(folder, [folder / TABLE]), partial(_send_table, folder / TABLE))
    shown: dict[str, dict[str, tuple[Cell, Artifact]]] = {}
    for name, label, cell, artifact in first_explanations(results):
        shown.setdefault(name, {})[label] = cell, artifact
    for name, explainers in shown.items():
        keys = {label: cell.explaining.key for label, (cell, _) in explainers.items()}
        parts[f"explanations/{name}"] = Part(digest(keys), partial(_send_images, results, name, explainers))
    return parts


def _config(results: Results, study: str, cells: list[Cell]) -> dict[str, Any]:
    """The names of a run's parts, for filters and groups, and all their fields."""
    config: dict[str, Any] = {"study": study, "metrics": {}}
    for cell in cells:
        facts = results.facts(cell)
        about = {name: facts[name] for name in ("metric_family", "higher_is_better", "metric_version")}
        config["metrics"][facts["metric"]] = about | describe(cell.metric.component)
    fields = {part: describe(getattr(cells[0], part).component) for part in PARTS}
    fields["trainer"] = describe(cells[0].trainer.component.resolve(cells[0].model.component.recipe))
    names = ("dataset", "model", "trainer", "explainer", "family", "seed", "draw")
    return config | {name: facts[name] for name in names} | {"fields": fields}


def _send_classifier(results: Results, cell: Cell, run: Any) -> None:
    """The history of the classifier's training, with the epoch as its axis."""
    from pytorch_lightning.loggers import WandbLogger

    trained = results.store.read("train", train_key(cell.training)[0])
    if trained is None:
        return
    run.define_metric("epoch", hidden=True)
    run.define_metric("classifier/*", step_metric="epoch")
    history, logger = trained.group("history"), WandbLogger(experiment=run)
    if not history:  # its weights were given
        return
    epochs = history.pop("epoch").tolist()
    for row, epoch in enumerate(epochs):
        logger.log_metrics({f"classifier/{column}": float(values[row]) for column, values in history.items()} | {"epoch": int(epoch)})


def _send_scores(metric: str, explainer: str, artifact: Artifact, run: Any) -> None:
    """The mean of each score over images (targets averaged first), the number of undefined ones, and the mean curves.

    The charts' keys, titles and columns are the same for all explainers: that is what makes W&B overlay them.
    """
    import wandb

    for score, values in artifact.group("values").items():
        images = values.double().mean(dim=1)
        run.summary.update({f"{metric}/{score}": _number(images.nanmean()), f"undefined/{metric}/{score}": int(images.isnan().sum())})
    charts = {}
    for curve, values in artifact.group("curves").items():
        means = values.double().mean(dim=1).nanmean(dim=0)
        rows = [[float(at), _number(mean), explainer] for at, mean in zip(artifact.tensors["fractions"], means, strict=True)]
        table = wandb.Table(columns=["fraction", curve, "explainer"], data=rows)
        charts[f"curves/{metric}/{curve}"] = wandb.plot.line(table, "fraction", curve, title=f"{metric}: {curve}")
    if charts:
        run.log(charts)


def _number(value: torch.Tensor) -> float | None:
    """None stands for NaN, which JSON does not have."""
    return None if value.isnan() else float(value)


def _send_explanations(results: Results, cell: Cell, run: Any) -> None:
    """Images with their maps beside them: of the predicted class where it was explained, else of the first target; or counterfactuals."""
    import wandb

    from xaibench.figures import tiles

    explained = results.store.read("explain", cell.explaining.key)
    if explained is None:
        return
    pictures = []
    for image, told, drawn, about in _shown(results, cell, explained):
        picture = tiles.strip(image, *drawn) if len(drawn) > 1 else tiles.beside(image, drawn[0])[0]
        pictures.append(wandb.Image(picture, caption=f"#{told[0]} {told[1]} → {told[2]} {told[3]:.2f}; {about}"))
    run.log({"counterfactuals" if "found" in explained.tensors else "maps": pictures})


def _send_images(results: Results, name: str, explainers: Mapping[str, tuple[Cell, Artifact]], run: Any) -> None:
    """A table of a classifier's first images with every explainer's maps, or counterfactuals, of them in a row."""
    import wandb

    from xaibench.figures import tiles

    rows: dict[int, list[Any]] = {}
    pictures: dict[int, dict[str, Any]] = {}
    for label, (cell, artifact) in explainers.items():
        for image, told, drawn, about in _shown(results, cell, artifact):
            at = told[0]
            rows.setdefault(at, [*told, wandb.Image(tiles.plain(image))])
            picture = tiles.strip(image, *drawn) if len(drawn) > 1 else tiles.colored(drawn[0])[0]
            pictures.setdefault(at, {})[label] = wandb.Image(picture, caption=about)
    data = [[*row, *(pictures[at].get(label) for label in explainers)] for at, row in rows.items()]
    run.log({f"explanations/{name}": wandb.Table(columns=["index", "label", "predicted", "probability", "image", *explainers], data=data)})


def _shown(results: Results, cell: Cell, explained: Artifact) -> Iterator[tuple[NDArray[Any], Told, tuple[NDArray[Any], ...], str]]:
    """Of the first images: the image, what is known of it, what is drawn, and of what."""
    from xaibench.figures.style import scale

    tensors = {name: values[:MOST_IMAGES] for name, values in explained.tensors.items()}
    index, classes = tensors["index"], cell.dataset.component.classes
    labels, predicted, probability = results.prediction(cell.training)
    images = arrays_of(cell.dataset.component).test.images[index].numpy()
    for row, at in enumerate(index.tolist()):
        guess, given = int(predicted[at]), tensors["targets"][row].tolist()
        told = at, classes[labels[at]], classes[guess], float(probability[at])
        if "found" in tensors:
            drawn: tuple[NDArray[Any], ...] = tensors["images"][row].numpy(), tensors["found"][row].numpy()
            yield images[row], told, drawn, f"then {', '.join(classes[target] for target in given)}; gray: none found"
        else:
            column = given.index(guess) if guess in given else 0
            values = tensors["values"][row, column].double().sum(dim=0).numpy()
            yield images[row], told, (values,), f"red: for {classes[given[column]]}; ends ±{scale(values):.2g}"


def _send_table(path: Path, run: Any) -> None:
    """One row for each explainer: the mean of every metric over images and seeds, then the ends of the means' intervals."""
    import pandas as pd
    import wandb

    found = pd.read_csv(path, keep_default_na=False, na_values={name: ["", "nan"] for name in ("mean", "low", "high")})
    found = found[found["score"] == "value"]
    rows, metrics = ["dataset", "model", "trainer", "explainer", "family"], sorted(set(found["metric"]), key=natural)
    wide = found.pivot(index=rows, columns="metric", values=["mean", "low", "high"])
    columns = [(number, metric) for number in ("mean", "low", "high") for metric in metrics]
    names = [metric if number == "mean" else f"{metric} ({number})" for number, metric in columns]
    values = wide[columns].astype(object).where(wide[columns].notna(), None).to_numpy().tolist()
    data = [[*place, *numbers] for place, numbers in zip(wide.index, values, strict=True)]
    run.log({"explainers": wandb.Table(columns=[*rows, *names], data=data)})


def _send_files(study: str, folder: Path, files: list[Path], run: Any) -> None:
    """The study's tables and figures, as they lie in its folder."""
    import wandb

    artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", study)[:NAME_LENGTH], type="study")
    for path in files:
        artifact.add_file(str(path), name=path.relative_to(folder).as_posix())
    run.log_artifact(artifact)


def _checksum(folder: Path, files: list[Path]) -> str:
    return digest({path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
