"""The mirror of a study in W&B."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xaibench.keys import digest
from xaibench.tracking.base import Tracker
from xaibench.tracking.content import NAME_LENGTH, Part, explanations, of_explanation, of_study

if TYPE_CHECKING:
    from xaibench.tables.longtable import Results

VERSION = 2
"""Raised when the mirror's content changes: everything is then sent again."""

ID_LENGTH = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wandb(Tracker):
    """A mirror in W&B: one run for each (dataset, model, trainer, seed, explainer, draw), one for the study's files.

    A run's id is the beginning of its explanation's key, so that sending again updates it. It has all fields as configuration, the mean
    of every score and the number of images without one as summary, the classifier's learning curves over `epoch`, the mean curves over
    the fraction of pixels as charts that W&B overlays across runs, and some attribution maps or counterfactuals. The study's own run has
    a table of all explainers with the mean of every metric over the seeds and its interval, for each classifier a table of images with
    every explainer's map of them, and all tables and figures as an artifact.

    In a job of a W&B sweep there is one run, that of the job, with the id that W&B's agent gave it, and with the explanation's content; the
    study is mirrored by the `xaibench run` that writes its tables.

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
                sent, job = 0, os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
                for key, cells in explanations(results).items():
                    name, parts = of_explanation(results, study, cells)
                    sent += self._sync(place, job or key[:ID_LENGTH], name, study, "explanation", parts)
                if not job:
                    sent += self._sync(place, digest({"study": study})[:ID_LENGTH], study, study, "study", of_study(results, study, folder))
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
