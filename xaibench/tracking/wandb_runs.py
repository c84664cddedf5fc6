"""Tracking: a mirror of a study's results in W&B. The store is the source, and the mirror is never read back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from xaibench.component import Component, describe
from xaibench.grid import Cell
from xaibench.identity import explain_key, train_key
from xaibench.keys import digest
from xaibench.stages import arrays_of
from xaibench.store import Artifact

if TYPE_CHECKING:
    from xaibench.longtable import Results  # brings pandas, which planning does not need

VERSION = 1
"""Raised when the mirror's content changes: everything is then sent again."""

PARTS = ("dataset", "model", "explain_on", "explainer")
MOST_IMAGES = 8

ID_LENGTH = 32
NAME_LENGTH = 128
FILES = {".csv", ".json", ".md", ".pdf", ".png", ".svg", ".tex"}

log = logging.getLogger(__name__)


class Tracker(Component):
    """Where a study's results are mirrored after a sweep."""

    @abstractmethod
    def mirror(self, results: Results, study: str, folder: Path) -> str:
        """Send a study's results and the files of its `folder` (``results/<study>``); gives what to tell the user, or ""."""


@dataclass(frozen=True)
class NoTracker(Tracker):
    """No mirror."""

    def mirror(self, results: Results, study: str, folder: Path) -> str:
        """Nothing."""
        return ""


@dataclass(frozen=True)
class Part:
    """A piece of a W&B run, put into an open run by `send`; one whose `key`, the content's name, was sent before is not sent again."""

    key: str
    send: Callable[[Any], None]


@dataclass(frozen=True)
class Wandb(Tracker):
    """A mirror in W&B: one run for each (dataset, model, trainer, seed, explainer, draw), one for the study's files.

    A run's id is the beginning of its explanation's key, so that sending again updates it. It has all fields as configuration, the mean
    of every score and the number of images without one as summary, the classifier's learning curves over `epoch`, the mean curves over
    the fraction of pixels as charts that W&B overlays across runs, and some attribution maps or counterfactuals.

    What was sent is noted in ``results/wandb/<id>.json``, for each mode, entity and project; delete the file to send a run again.
    Anything that goes wrong ends the mirroring with one warning and leaves the results as they are.

    Parameters
    ----------
    project, entity
        W&B's project and its owner; null takes the account's default.
    mode
        ``online``: to the server, with the key that ``wandb login`` or ``WANDB_API_KEY`` provides; ``offline``: into
        ``results/wandb``, without an account, for ``wandb sync``.
    """

    project: str = "xaibench"
    entity: str | None = None
    mode: Literal["online", "offline"] = "online"

    def mirror(self, results: Results, study: str, folder: Path) -> str:
        """Send the runs of all explanations that the store holds, then the study's files; how many were sent, and where to."""
        place = folder.parent / "wandb"
        try:
            place.mkdir(parents=True, exist_ok=True)
            with _quiet(place):
                import wandb

                if self.mode == "online" and not wandb.login(prompt=False, verify=False):
                    raise ConnectionError("no API key; use `wandb login`, or tracker.mode=offline")
                sent = 0
                for key, cells in _explanations(results).items():
                    name = _name(results, cells[0][0])
                    sent += self._sync(place, key[:ID_LENGTH], name, study, "explanation", _parts(results, study, name, cells))
                files = sorted(path for path in folder.rglob("*") if path.suffix in FILES)
                parts = {"files": Part(_checksum(folder, files), partial(_send_files, study, folder, files))}
                sent += self._sync(place, digest({"study": study})[:ID_LENGTH], study, study, "study", parts)
        except Exception as error:  # whatever W&B does, the results stand
            reason = " ".join(str(error).split()) or "no reason given"
            log.warning("W&B: %s: %s; the mirror is incomplete, the results are not affected", type(error).__name__, reason)
            return ""
        return f"W&B: {sent} runs sent to {self.project if self.mode == 'online' else place}"

    def _sync(self, place: Path, identity: str, name: str, group: str, kind: str, parts: dict[str, Part]) -> bool:
        """Open the run, if there is anything that was not sent before, and send just that; whether there was."""
        marker, destination = place / f"{identity}.json", f"{self.mode} {self.entity or ''}/{self.project} v{VERSION}"
        sent: dict[str, dict[str, str]] = json.loads(marker.read_text()) if marker.exists() else {}
        before = sent.get(destination, {})
        stale = {title: part for title, part in parts.items() if before.get(title) != part.key}
        if not stale:
            return False
        with self._run(place, identity, name, group, kind) as run:
            for part in stale.values():
                part.send(run)
        sent[destination] = before | {title: part.key for title, part in stale.items()}
        temporary = marker.with_suffix(".new")
        temporary.write_text(json.dumps(sent, indent=1))
        temporary.replace(marker)
        return True

    def _run(self, place: Path, identity: str, name: str, group: str, kind: str) -> Any:
        import wandb

        waiting = {"init_timeout": 10, "finish_timeout": 60, "finish_timeout_raises": True}
        # what tells about the machine, the repository's address and the command line stays here
        private = {"host": "", "disable_git": True, "disable_code": True, "save_code": False, "x_save_requirements": False}
        private |= {"x_disable_meta": True, "x_disable_machine_info": True, "x_disable_stats": True}
        return wandb.init(
            entity=self.entity,
            project=self.project,
            dir=place.parent,
            id=identity,
            name=name[:NAME_LENGTH],
            group=group[:NAME_LENGTH],
            job_type=kind,
            mode=self.mode,
            resume="allow",
            reinit="create_new",  # a run that the user has open stays open
            settings=wandb.Settings(silent=True, console="off", **waiting, **private),
        )


@contextlib.contextmanager
def _quiet(place: Path) -> Iterator[None]:
    """W&B without messages, its temporary files below `place`; the environment is put back afterwards."""
    wanted = {"WANDB_SILENT": "true", "WANDB_DATA_DIR": str(place / "data"), "WANDB_CACHE_DIR": str(place / "cache")}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({name: value for name, value in wanted.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _explanations(results: Results) -> dict[str, list[tuple[Cell, Artifact]]]:
    """All cells with their scores, by their explanation's key."""
    found: dict[str, list[tuple[Cell, Artifact]]] = {}
    for cell, artifact in results.found:
        found.setdefault(explain_key(cell.explaining)[0], []).append((cell, artifact))
    return found


def _name(results: Results, cell: Cell) -> str:
    facts = results.facts(cell)
    trainer = [facts["trainer"]] if len(results.grid.trainers) > 1 else []
    names = [facts["dataset"], facts["model"], *trainer, facts["explainer"], f"seed {cell.seed}"]
    return " ".join(names) + (f" draw {cell.draw}" if cell.draw else "")


def _parts(results: Results, study: str, name: str, cells: list[tuple[Cell, Artifact]]) -> dict[str, Part]:
    """The content of an explanation's run; nothing is read before it is sent."""
    first, config = cells[0][0], _config(results, study, [cell for cell, _ in cells])
    parts = {
        "config": Part(digest({"name": name, "config": config}), lambda run: run.config.update(config, allow_val_change=True)),
        "classifier": Part(train_key(first.training)[0], partial(_send_classifier, results, first)),
        "maps": Part(explain_key(first.explaining)[0], partial(_send_explanations, results, first)),
    }
    for cell, artifact in cells:
        facts = results.facts(cell)
        parts[f"metric {facts['metric']}"] = Part(cell.key(), partial(_send_scores, facts["metric"], facts["explainer"], artifact))
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

    explained = results.store.read("explain", explain_key(cell.explaining)[0])
    if explained is None:
        return
    tensors = {name: values[:MOST_IMAGES] for name, values in explained.tensors.items()}
    index, classes = tensors["index"], cell.dataset.component.classes
    labels, predicted, probability = results.prediction(cell.training)
    images = arrays_of(cell.dataset.component).test.images[index].numpy()
    pictures = []
    for row, at in enumerate(index.tolist()):
        guess, given = int(predicted[at]), tensors["targets"][row].tolist()
        text = f"#{at} {classes[labels[at]]} → {classes[guess]} {probability[at]:.2f}; "
        if "found" in tensors:
            picture = tiles.strip(images[row], tensors["images"][row].numpy(), tensors["found"][row].numpy())
            text += f"then {', '.join(classes[target] for target in given)}; gray: none found"
        else:
            column = given.index(guess) if guess in given else 0
            picture, limit = tiles.beside(images[row], tensors["values"][row, column].double().sum(dim=0).numpy())
            text += f"red: for {classes[given[column]]}; ends ±{limit:.2g}"
        pictures.append(wandb.Image(picture, caption=text))
    run.log({"counterfactuals" if "found" in tensors else "maps": pictures})


def _send_files(study: str, folder: Path, files: list[Path], run: Any) -> None:
    """The study's tables and figures, as they lie in its folder."""
    import wandb

    artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", study)[:NAME_LENGTH], type="study")
    for path in files:
        artifact.add_file(str(path), name=path.relative_to(folder).as_posix())
    run.log_artifact(artifact)


def _checksum(folder: Path, files: list[Path]) -> str:
    return digest({path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
