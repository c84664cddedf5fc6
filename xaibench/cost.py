"""What a computation costs: passes through the classifier, seconds, peak memory; and how many images go through it at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xaibench.problem import Passes

VERSION = 1

CACHE_BYTES = {"cpu": 24 * 2**20, "cuda": 2 * 2**30}
"""Activation bytes of one chunk: about what a CPU's caches hold, and enough to fill a GPU."""

LARGEST_CHUNK = {"cpu": 1024, "cuda": 16384}


@dataclass
class Cost:
    """What was spent inside `measure`.

    Attributes
    ----------
    forward, backward
        Images sent through the model, and back.
    seconds
        Wall time.
    peak_bytes
        Largest memory in use, of the process (CPU) or of the device's allocator (CUDA); None where the system does not tell.
    """

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0
    peak_bytes: int | None = None

    @property
    def passes(self) -> Passes:
        """The counted passes."""
        return Passes(self.forward, self.backward)


@contextlib.contextmanager
def measure(*models: nn.Module | None) -> Iterator[Cost]:
    """Count the models' passes, and take time and peak memory, until the context ends."""
    cost = Cost()
    handles: list[RemovableHandle] = []

    def count(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        cost.forward += len(output)
        if output.requires_grad:
            handles.append(output.register_hook(count_backward))

    def count_backward(gradient: Tensor) -> None:
        cost.backward += len(gradient)

    handles += [model.register_forward_hook(count) for model in models if model is not None]
    _reset_peak()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        for handle in handles:
            handle.remove()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        cost.seconds = time.perf_counter() - start
        cost.peak_bytes = _peak()


def chunk_size(model: nn.Module, image_shape: tuple[int, ...], device: torch.device | str = "cpu") -> int:
    """How many images go through the model at once: the power of two whose activations fit `CACHE_BYTES`.

    A fixed rule, never a timing: the chunk moves the last bits of the results, and tables must be reproducible.
    """
    kind = torch.device(device).type
    fits = CACHE_BYTES.get(kind, CACHE_BYTES["cuda"]) // max(activation_bytes(model, image_shape, device), 1)
    return min(max(1 << max(fits, 1).bit_length() - 1, 8), LARGEST_CHUNK.get(kind, LARGEST_CHUNK["cuda"]))


def activation_bytes(model: nn.Module, image_shape: tuple[int, ...], device: torch.device | str = "cpu") -> int:
    """Bytes of all layers' outputs for one image."""
    total = 0

    def add(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal total
        total += output.numel() * output.element_size() if isinstance(output, Tensor) else 0

    handles = [module.register_forward_hook(add) for module in model.modules() if not list(module.children())]
    try:
        with torch.inference_mode():
            model(torch.zeros(1, *image_shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return total


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux: writing 5 resets the peak that /proc/self/status reports
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int | None:
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) * 1024 if lines else None
