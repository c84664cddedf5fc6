"""Rows of the benchmarks: what was measured, or why it was not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xaibench.component import UserError

log = logging.getLogger(__name__)

FAILED = "failed"


def or_failed(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """A row, or that the method failed: the others go on."""
    try:
        return measure(*arguments)
    except UserError as error:
        return {"skipped": str(error)}
    except Exception as error:
        log.exception("failed")
        return {"skipped": f"{FAILED}: {type(error).__name__}: {error}"}


def explanation(explainer: Any, problem: Any) -> Any:
    """The explanations that metrics score, which can explain again; or why there are none."""
    from xaibench import payloads
    from xaibench.bench import rng_of

    def again(other: Any) -> Any:
        return payloads.explained(explainer, replace(other, helpers=problem.helpers), rng_of(explainer))

    return explainer.unsupported(problem) or replace(again(problem), again=again)
