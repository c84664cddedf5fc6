"""How far a sweep is, wherever its jobs run: read from the store, shown as a live view, or logged once a minute."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from xaibench.identity import predict_key, train_key
from xaibench.jobs import OVERHEAD
from xaibench.planning import Planned, helpers
from xaibench.store import Store

LOOK, TELL = 0.5, 60.0
"""Seconds between two looks at the store, and between two lines of the log."""

MOST_SHOWN = 8


@dataclass(frozen=True)
class State:
    """Of the cells that were to do: how many are done, failed and skipped, what is running, and the seconds left, if there is a guess."""

    cells: int
    done: int
    failed: int
    skipped: int
    running: tuple[str, ...]
    left: float | None

    def __str__(self) -> str:
        time_left = "" if self.left is None else f", {clock(self.left)} left"
        skipped = f"{self.skipped} skipped, " if self.skipped else ""
        return f"{self.done} of {self.cells} cells done, {skipped}{self.failed} failed, {len(self.running)} running{time_left}"


@dataclass
class Watch:
    """Looks at the store for what was to do, and has less to look for each time.

    Attributes
    ----------
    cells, store
        A grid's, before it is computed.
    started
        When the first explanation or score was begun, by the clock `time.monotonic`: training before it says nothing of the time left.
    """

    cells: Sequence[Planned]
    store: Store
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        todo = [item for item in self.cells if item.status == "to do"]
        explaining = {item.cell.explaining.key: item.explaining.forward + item.explaining.backward for item in todo}
        self._work = {("evaluate", item.key): OVERHEAD + item.scoring.forward + item.scoring.backward for item in todo}
        self._work |= {("explain", key): OVERHEAD + passes for key, passes in explaining.items() if not self.store.has("explain", key)}
        self._left, self._total, self._cells = dict(self._work), sum(self._work.values()), len(todo)
        self._failed, self._skipped, self._names = 0, 0, names(self.cells)

    def look(self) -> State:
        """What the store says now."""
        failed, computing, now = self.store.failures.keys(), self.store.computing(), time.monotonic()
        there = {stage: self.store.there(stage) for stage in ("explain", "evaluate")}
        for stage, key in list(self._left):
            if key in there[stage] or key in failed:
                del self._left[stage, key]
                if stage == "evaluate" and key not in there[stage]:
                    record = self.store.failures.of(key)
                    skipped = record is not None and record.skipped
                    self._skipped, self._failed = self._skipped + skipped, self._failed + (not skipped)
        if len(self._left) == len(self._work) and not any(key in computing for _, key in self._left):
            self.started = now
        waiting = sum(stage == "evaluate" for stage, _ in self._left)
        done = self._total - sum(self._left.values())
        left = (now - self.started) * (self._total - done) / done if done and self._left else None
        running = tuple(self._names[key] for key in sorted(computing & self._names.keys()))
        return State(self._cells, self._cells - waiting - self._failed - self._skipped, self._failed, self._skipped, running, left)


def names(cells: Sequence[Planned]) -> dict[str, str]:
    """What each key of a grid stands for, in words."""
    found: dict[str, str] = {}
    trainings = {item.cell.training: f"{item.cell.dataset.name} {item.cell.model.name} seed {item.cell.seed}" for item in cells}
    for training, about in trainings.items():
        found |= {train_key(training)[0]: f"training {about}", predict_key(training)[0]: f"predicting {about}"}
    found |= {item.cell.explaining.key: f"explaining {item.cell.name}" for item in cells}
    found |= {item.key: f"scoring {item.cell}" for item in cells if item.status != "skipped"}
    further = {key: f"training {type(helper.model).__name__}, seed {helper.seed}" for key, helper in helpers(cells).items()}
    return further | found


@contextlib.contextmanager
def watching(cells: Sequence[Planned], store: Store, console: Console) -> Iterator[None]:
    """Show how far the cells are: a live view in a terminal, else a line each minute."""
    watch, stop = Watch(cells, store), threading.Event()
    shown = _live if console.is_terminal else _logged
    thread = threading.Thread(target=shown, args=(watch, stop, console), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _logged(watch: Watch, stop: threading.Event, console: Console) -> None:
    while not stop.wait(TELL):
        console.print(f"{time.strftime('%H:%M:%S')} {watch.look()}", highlight=False, soft_wrap=True)


def _live(watch: Watch, stop: threading.Event, console: Console) -> None:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=console)
    task = bar.add_task("", total=watch.look().cells)
    with Live(bar, console=console, transient=True, refresh_per_second=4) as live:
        while not stop.wait(LOOK):
            state = watch.look()
            told = [*_problems(state), *([] if state.left is None else [f"{clock(state.left)} left"])]
            bar.update(task, completed=state.done + state.failed + state.skipped, description=", ".join(told))
            running = [Text(f"  {name}", style="dim", no_wrap=True, overflow="ellipsis") for name in state.running[:MOST_SHOWN]]
            more = [Text(f"  and {len(state.running) - MOST_SHOWN} more", style="dim")] if len(state.running) > MOST_SHOWN else []
            live.update(Group(bar, *running, *more))


def _problems(state: State) -> list[str]:
    counts = {f"{state.skipped} skipped": state.skipped, f"[red]{state.failed} failed[/red]": state.failed}
    return [told for told, count in counts.items() if count]


def clock(seconds: float) -> str:
    """As 1 h 5 min, 5 min, or 12 s."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
