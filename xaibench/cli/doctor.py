"""`xaibench doctor`: what this machine has for the benchmark."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from xaibench.cli.compose import composed
from xaibench.cli.listing import components
from xaibench.cli.request import Request
from xaibench.component import UserError
from xaibench.datasets.idx import FOLDER_SETTING
from xaibench.environment import processor
from xaibench.problem import Dataset

PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "captum", "shap", "alibi", "wandb", "numpy", "pandas", "pyarrow", "matplotlib")


def main(argv: list[str]) -> int:
    """Print versions, devices, data sets and the store; 1 if a data set that is there is damaged."""
    if any(word in ("-h", "--help") for word in argv):
        print("usage: xaibench doctor\n\nVersions, devices, data and store; 1 if data is damaged.")
        return 0
    import torch

    request = Request(argv)
    _, settings = composed(request)
    table = Table(show_header=False)
    for package in PACKAGES:
        table.add_row(package, _version(package))
    table.add_row("processor", processor())
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    table.add_row("GPUs", ", ".join(gpus) or "none")
    table.add_row("device in use", str(settings.runtime.torch_device()))
    store = settings.store
    counts = ", ".join(f"{len(store.keys(stage))} {stage}" for stage in ("train", "predict", "explain", "evaluate"))
    table.add_row("store", f"{settings.store.root}: {counts}; {_free(settings.store.root)} GiB free")
    table.add_row(FOLDER_SETTING, os.environ.get(FOLDER_SETTING, "not set: data sets are downloaded when needed"))
    damaged = False
    for name, dataset in components(request, "dataset").items():
        assert isinstance(dataset, Dataset)
        try:
            arrays = dataset.load()
            table.add_row(
                f"dataset {name}",
                f"verified: {len(arrays.train.labels)} + {len(arrays.validation.labels)} + {len(arrays.test.labels)} images",
            )
        except UserError as error:
            damaged = damaged or "sha256" in str(error)
            table.add_row(f"dataset {name}", f"[red]{error}[/red]")
    Console(width=None if Console().is_terminal else 160).print(table)
    return int(damaged)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _free(path: Path) -> int:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free // 2**30
