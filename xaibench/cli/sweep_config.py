"""`xaibench sweep-config`: a W&B sweep over the same grid as `xaibench run -m` with these overrides.

Agents then share the grid: each takes a job at a time, a (dataset, model, seed, explainer, ...) with all its metrics.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from xaibench.cli.request import Request
from xaibench.component import ConfigurationError

EXAMPLES = """examples:
  xaibench sweep-config experiment=quickstart tracker=wandb > sweep.yaml
  xaibench sweep-config 'explainer=glob(*)' metric=suite/faithfulness seed=0,1,2 tracker=wandb --out sweep.yaml
  wandb sweep sweep.yaml                          gives the sweep's name, for any number of agents:
  wandb agent ENTITY/PROJECT/SWEEP
  xaibench run experiment=quickstart              afterwards: computes nothing, writes the whole study's tables

Every job writes its own part's tables below results/runs/; all share the store, where the last line finds what the agents computed.
OVERRIDES are those of `xaibench run -m`."""

STUDY = "runs/${oc.env:WANDB_RUN_ID,sweep}"
"""A folder of its own for the tables of each job: agents that run at the same time do not write into each other's."""


def main(argv: list[str]) -> int:
    """Print or write the sweep."""
    parser = argparse.ArgumentParser(
        "xaibench sweep-config", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDES", help="of `xaibench run -m`")
    parser.add_argument("-m", "--multirun", action="store_true", help="may stand here, as in `xaibench run -m`; it changes nothing")
    parser.add_argument("--name", help="of the sweep (default: the study's)")
    parser.add_argument("--config-dir", help="further configuration, as for `xaibench run`")
    parser.add_argument("--out", type=Path, help="write the YAML into this file")
    options = parser.parse_intermixed_args(argv)
    places = ["--config-dir", options.config_dir] if options.config_dir else []
    text = yaml.safe_dump(sweep(Request([*options.overrides, *places]), places, options.name), sort_keys=False, allow_unicode=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
        print(f"written to {options.out}; next: wandb sweep {options.out}")
    else:
        print(text, end="")
    return 0


def sweep(request: Request, flags: list[str], name: str | None) -> dict[str, Any]:
    """The sweep's configuration, after the whole grid was composed once: a mistake is told now, not by every agent."""
    from xaibench.cli.compose import composed

    _, settings = composed(request)
    axes = request.axes()
    if not axes:
        raise ConfigurationError("sweep-config: expected a grid with at least a data set")
    own = any(item.key_or_group == "study" for item in request.given)
    fixed = [*flags, *request.unswept(), *([] if own else [f"study={STUDY}"])]
    return {
        "name": name or settings.study,
        "program": "xaibench",
        "method": "grid",
        "parameters": {key: {"values": [_value(text) for text in values]} for key, values in axes.items()},
        "command": ["${env}", "${program}", "run", *fixed, "${args_no_hyphens}"],
    }


def _value(text: str) -> int | float | str:
    """A number where W&B writes it back as it was typed, else the text."""
    found = yaml.safe_load(text) if text.strip() else text
    return found if isinstance(found, int | float) and not isinstance(found, bool) and str(found) == text else text
