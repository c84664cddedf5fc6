"""One Hydra job: its part of the grid, computed. Importable by name, as launchers that start processes need it."""

from __future__ import annotations

import logging
import os

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from xaibench.cli.compose import Settings, of_job
from xaibench.cli.progress import advance
from xaibench.execution import run
from xaibench.grid import Grid
from xaibench.stages import Stages
from xaibench.store import Store


def task(config: DictConfig) -> None:
    """Compute the cells of one job; failures are recorded, not raised."""
    chosen = HydraConfig.get().runtime.choices
    grid, settings = of_job(config, {str(group): str(name) for group, name in chosen.items()})
    compute(grid, settings)


def compute(grid: Grid, settings: Settings) -> None:
    """Compute a grid's cells in this process."""
    if settings.runtime.threads is not None:
        torch.set_num_threads(settings.runtime.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("shap").setLevel(logging.WARNING)
    run(grid, Stages(Store(settings.store), settings.runtime), settings.failures, advance)
