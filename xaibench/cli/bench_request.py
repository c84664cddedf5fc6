"""What `xaibench bench` is asked for: its command line, and the grid and methods that this stands for."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.component import ConfigurationError, build

ABOUT = """How fast explainers or metrics are: beside the limit of the passes that they make, and beside other libraries.
`xaibench bench influence`, `store` and `size` measure other things; each has a --help of its own."""

EXAMPLES = """examples:
  xaibench bench explainers                                              all of them on MNIST, 64 images
  xaibench bench explainers --explainers integrated_gradients,occlusion --peers
  xaibench bench explainers --explainers kernel_shap --peers kernel_shap.samples=2000
  xaibench bench explainers --explainers deep_shap --peers --targets all explain_on.background=100
  xaibench bench explainers --explainers rise --memory                   peak memory of 1,000 and of 10,000 images
  xaibench bench explainers --device cuda --images 1000
  xaibench bench metrics --peers                                         all of them, and Quantus's, on maps of --explainer
  xaibench bench explainers --explainers counterfactual/all --targets others
  xaibench bench metrics --metrics counterfactual/all --explainer counterfactual/NAME --targets others
  xaibench bench metrics --metrics deletion,road --images 1000 deletion.steps=100
  xaibench bench influence --help                                        how the time of influence grows
  xaibench bench store --help                                            how the store's time grows, up to 100,000 cells
  xaibench bench size --help                                             time and memory of all of them on 3 x 224 x 224 images

Further arguments are fields of the explainers or metrics (NAME.FIELD=VALUE) or overrides of `xaibench run` (trainer.epochs=1, seed=3,
runtime.store=FOLDER). Networks are trained as `run` does, or taken from the store."""


@dataclass(frozen=True)
class Bench:
    """What a command line asks for: the options, the composed grid and settings, and the explainers or metrics by label."""

    options: argparse.Namespace
    grid: Any
    settings: Any
    methods: dict[str, Any]

    @property
    def kind(self) -> str:
        """``explainer`` or ``metric``."""
        return self.options.what.removesuffix("s")


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "xaibench bench", description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = "{explainers,metrics,influence,store,size}"
    parser.add_argument("what", choices=["explainers", "metrics"], metavar=modes, help="what is measured")
    parser.add_argument("overrides", nargs="*", help="fields of explainers or metrics, and overrides of `xaibench run`")
    named = "names, with commas; all (default), bar those of counterfactuals; or counterfactual/all"
    parser.add_argument("--explainers", default="all", help=named)
    parser.add_argument("--metrics", default="all", help=named)
    parser.add_argument("--explainer", default="gradient", help="whose maps the metrics score (default: gradient)")
    parser.add_argument("--dataset", default="mnist", help="default: mnist")
    parser.add_argument("--model", default="conv10_conv20_dense50", help="names, with commas (default: conv10_conv20_dense50)")
    parser.add_argument("--images", type=_positive, default=64, help="test images to explain (default: 64)")
    parser.add_argument("--targets", default="predicted", help="classes to explain: predicted (default), label, second, others, all")
    parser.add_argument(
        "--peers", action="store_true", help="also captum's, shap's and Quantus's implementations of the same, at equal settings"
    )
    parser.add_argument(
        "--repeats", type=_positive, default=3, help="turns, fewer for what takes minutes; ratios are their medians (default: 3)"
    )
    parser.add_argument("--memory", action="store_true", help="peak memory of 1,000 and of 10,000 images instead of speed")
    parser.add_argument("--memory-images", default="1000,10000", help="other numbers of images for that")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1")
    parser.add_argument("--threads", type=_positive, default=2, help="default: 2")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for the tables (default: results/bench)")
    parser.add_argument("--config-dir", help="folder with further components")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)  # a process that measures one explainer's memory
    return parser.parse_intermixed_args(argv)


def prepared(options: argparse.Namespace) -> Bench:
    """The grid and the methods, checked before anything is trained."""
    kind = options.what.removesuffix("s")
    more = ["--config-dir", options.config_dir] if options.config_dir else []
    known = Request(more).options(kind)
    fields = [text for text in options.overrides if text.split(".")[0].lstrip("+") in known]
    lines = [
        *(f"dataset={options.dataset}", f"model={options.model}", f"explain_on.count={options.images}", "figures=[]"),
        *(f"explain_on.targets={options.targets}", f"runtime.device={options.device}", f"runtime.threads={options.threads}"),
        *([f"explainer={options.explainer}"] if kind == "metric" else []),
        *(text for text in options.overrides if text not in fields),
    ]
    request, names = Request([*more, *lines]), _names(getattr(options, options.what), known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(f"--{options.what} {unknown[0]}: expected all, or names among {', '.join(known)}")
    astray = [text for text in fields if text.split(".")[0].lstrip("+") not in names]
    if astray:
        raise ConfigurationError(f"{astray[0]}: expected a field of a chosen {kind} ({', '.join(names)})")
    grid, settings = composed(request)
    return Bench(options, grid, settings, _methods(request, kind, names, [text.lstrip("+") for text in fields]))


def _names(asked: str, known: list[str]) -> list[str]:
    """Names with commas; ``all`` and ``FOLDER/all`` stand for all that lie in the group or its folder themselves."""
    found = []
    for name in (part.strip() for part in asked.split(",")):
        folder, last = name.rpartition("/")[::2]
        found += [item for item in known if item.rpartition("/")[0] == folder] if last == "all" else [name]
    return found


def _methods(request: Request, kind: str, names: list[str], fields: list[str]) -> dict[str, Any]:
    """The explainers or metrics with these fields, by name and fields."""
    from omegaconf import OmegaConf

    entries = {name: f"entries.e{number}" for number, name in enumerate(names)}
    lines = [f"+{kind}@{place}={name}" for name, place in entries.items()]
    for name, _, field in (text.partition(".") for text in fields):
        lines.append(f"++{entries[name]}.{field}")
    specs: Any = OmegaConf.to_container(request.compose(lines)["entries"], resolve=True)
    found = {}
    for number, name in enumerate(names):
        own = ", ".join(text.partition(".")[2] for text in fields if text.split(".")[0] == name)
        found[f"{name}[{own}]" if own else name] = build(specs[f"e{number}"], name)
    return found


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected an integer >= 1")
    return int(text)
