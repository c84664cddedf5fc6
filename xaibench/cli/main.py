"""The command line: one subcommand a module, imported when it is called."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from pathlib import Path

import yaml

from xaibench.component import UserError
from xaibench.configuration import importable

COMMANDS = {
    "run": ("xaibench.cli.run", "explain, evaluate and compare: one configuration, a sweep (-m), or a study (experiment=NAME)"),
    "plan": ("xaibench.cli.plan", "what `run` with the same arguments would do: cells cached, to do, skipped; passes"),
    "table": (
        "xaibench.cli.table",
        "a study's tables and figures again, from its committed scores; tables of all studies, in any layout and format",
    ),
    "diff": ("xaibench.cli.diff", "two results of a study: which numbers moved beyond their intervals"),
    "reproduce": ("xaibench.cli.reproduce", "run a study again, and compare every number with the committed ones"),
    "export": ("xaibench.cli.export", "a study's explanations as numpy files and pictures"),
    "sweep-config": ("xaibench.cli.sweep_config", "a W&B sweep over the grid of `run -m`"),
    "report": ("xaibench.cli.report", "a study's folder as one HTML page that opens anywhere, without a network"),
    "explain": ("xaibench.cli.explain", "one picture of what all methods say about an image and a network of your own"),
    "influence": ("xaibench.cli.influence", "what pixels do to the predictions in a file: no classifier is needed"),
    "bench": ("xaibench.cli.bench", "how fast explainers are: against the limit of their passes, and against captum and shap"),
    "store": ("xaibench.cli.store", "list, verify and prune the store; results as one file, for other machines"),
    "list": ("xaibench.cli.listing", "datasets, models, explainers, metrics, experiments, with what they are"),
    "doctor": ("xaibench.cli.doctor", "versions, devices, data and store of this machine"),
}

EXAMPLES = """
Examples
  xaibench run experiment=quickstart
  xaibench run -m dataset=mnist model=conv10_conv20_dense50 'explainer=glob(*)' metric=deletion,insertion seed=0,1,2
  xaibench plan experiment=quickstart
  xaibench table quickstart --columns dataset,metric --format tex
  xaibench diff quickstart@HEAD quickstart
  xaibench reproduce quickstart
  xaibench export quickstart --out maps --png
  xaibench sweep-config experiment=quickstart tracker=wandb > sweep.yaml
  xaibench report quickstart
  xaibench influence predictions.npz
  xaibench store export results.tar.gz quickstart
  xaibench list explainers
  xaibench bench explainers --explainers integrated_gradients,occlusion --peers

`xaibench run --help` shows all groups and fields."""


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] in ("-sc", "--shell-completion"):  # the shell asks the program, not the subcommand
        os.environ["COMP_LINE"] = os.environ.get("COMP_LINE", "").replace("xaibench run ", "xaibench ", 1)
        arguments.insert(0, "run")
    command, rest = arguments[0], arguments[1:]
    importable(Path.cwd())  # which Python itself does for `python -m`, and not for a console script
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        print(f"error: command {command!r}: expected one of {', '.join(COMMANDS)}{hint}", file=sys.stderr)
        return 2
    try:
        return int(importlib.import_module(COMMANDS[command][0]).main(rest))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except yaml.YAMLError as error:  # of a configuration file, which Hydra lets through
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: finished cells are kept; the same command goes on from here", file=sys.stderr)
        return 130


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(["usage: xaibench COMMAND ...", "", "A benchmark of explanation methods for image classifiers.", "", *lines, EXAMPLES])


if __name__ == "__main__":
    sys.exit(main())
