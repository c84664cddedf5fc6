"""One Hydra job: its part of the grid, computed. Importable by name, as launchers that start processes need it."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from threadpoolctl import threadpool_limits

from xaibench.cli.compose import Settings, of_job
from xaibench.configuration import importable
from xaibench.execution import run
from xaibench.grid import Grid
from xaibench.stages import Stages


def task(config: DictConfig) -> None:
    """Compute the cells of one job; failures are recorded, not raised. Jobs take turns where there are several GPUs."""
    hydra = HydraConfig.get()
    importable(hydra.runtime.cwd, *(source.path for source in hydra.runtime.config_sources if source.provider == "command-line"))
    grid, settings = of_job(config, {str(group): str(name) for group, name in hydra.runtime.choices.items()})
    if settings.runtime.device == "auto" and torch.cuda.device_count() > 1:
        device = f"cuda:{hydra.job.num % torch.cuda.device_count()}"
        settings = replace(settings, runtime=replace(settings.runtime, device=device))
    compute(grid, settings)


def compute(grid: Grid, settings: Settings) -> None:
    """Compute a grid's cells in this process, with as many threads as it is given, whatever launched it."""
    threads = settings.runtime.threads
    if threads is not None:
        torch.set_num_threads(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("shap").setLevel(logging.WARNING)
    with threadpool_limits(threads, user_api="blas"):
        run(grid, Stages(settings.store, settings.runtime), settings.until)
