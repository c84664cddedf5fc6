"""What a result was computed with: versions, hardware, threads and the code's commit."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, hardware, threads and the code's commit."""
    return {
        "versions": dict(versions()),
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }


@lru_cache(maxsize=1)
def versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of Python and the libraries that compute results."""
    packages = ("torch", "pytorch-lightning", "captum", "shap", "numpy", "xaibench")
    return (("python", platform.python_version()), *((name, version(name)) for name in packages))


COMPUTES = ("xaibench", "conf", "experiments", "pyproject.toml")
"""What results depend on in a checkout; not what is written about them, and not the results themselves."""


@lru_cache(maxsize=1)
def commit(root: Path = Path(__file__).parents[1]) -> str | None:
    """The commit of the checkout that this code lies in, with `+` if what computes was changed since; None outside a checkout."""
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")) != root.resolve():  # installed into somebody else's checkout
            return None
        changed = _git(root, "status", "--porcelain", "--", *(name for name in COMPUTES if (root / name).exists()))
        return _git(root, "rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *command: str) -> str:
    return subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, check=True).stdout.strip()


@lru_cache(maxsize=1)
def processor() -> str:
    """The CPU's name and the number of logical cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor() or platform.machine()
