"""Progress of a sweep: a bar where somebody is looking, else the jobs' own log lines."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from xaibench.grid import Cell

_live: list[Progress] = []  # the bar of this process, if it shows one; a job in another process has none


@contextlib.contextmanager
def bar(cells: int, console: Console) -> Iterator[None]:
    """Show a bar over so many cells, if the console is a terminal."""
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn("{task.description:<60.60}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        progress.add_task("starting", total=cells)
        _live.append(progress)
        try:
            yield
        finally:
            _live.clear()


def advance(cell: Cell) -> None:
    """A cell of this process is finished, cached or skipped."""
    for progress in _live:
        progress.update(progress.task_ids[0], advance=1, description=str(cell))
        if not any(isinstance(handler, RichHandler) for handler in logging.getLogger().handlers):
            logging.getLogger().handlers = [RichHandler(console=progress.console, show_path=False, level=logging.WARNING)]
