"""`xaibench explain`: one picture of what all methods say about an image and a network of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.component import ConfigurationError, UserError

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = """examples:
  xaibench explain cat.jpg --target torchvision.models.resnet18 --weights resnet18.safetensors --size 224 \\
      --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225
  xaibench explain seven.png --target my_networks.Net --weights net.pt --size 28 --channels 1 --explainers grad_cam lime --class 7
  xaibench explain cat.jpg --target my_networks.Net --weights net.pt --size 64 --classes cat,dog,fox --no-rewrite

Each map is on a scale of its own: red speaks for the class, blue against it, white is 0. Methods that need images which stand for
"absent" take those of --background, or else a black, a gray and a white one. What a network does not allow is left out, with the reason;
so is an explainer that fails, and the exit status is 1."""

CONSTANTS = (0.0, 0.5, 1.0)
SUFFIXES = (".png", ".svg", ".pdf")


def main(argv: list[str]) -> int:
    """Write the picture."""
    options = _parsed(argv)
    import logging

    from rich.console import Console
    from rich.progress import Progress

    from xaibench import checking, evaluation
    from xaibench.figures.maps import sheet
    from xaibench.models.checkpoint import Checkpoint, prepared

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    mean, std = tuple(options.mean), tuple(options.std)
    made = Checkpoint(options.target, str(options.weights), tuple(options.arguments), mean, std, options.rewrite)
    if wrong := made.unsupported((options.channels, options.size, options.size), 0):
        raise ConfigurationError(f"--{wrong}")
    network, image, names = made.network(), _read(options, [options.image]), options.explainers or _usual()
    plain = prepared(network, options.channels, mean, std, rewrite=False)
    probabilities = checking.logits(plain, image, f"--target {options.target}").softmax(1)[0]
    classes = _classes(options, len(probabilities))
    target = int(probabilities.argmax()) if options.explained is None else _place(options.explained, classes)
    absent = _absent(options, image)
    every = evaluation.explanations(network, image, names, (absent, [0] * len(absent)), [target], mean, std, options.rewrite)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        found = list(bar.track(every, total=len(names), description="explaining"))
    maps = {one.name: one.values[0, 0] for one in found if one.values is not None}
    for place in probabilities.argsort(descending=True)[:3].tolist():
        print(f"class {classes[place]}: {probabilities[place]:.1%}")
    if not maps:
        raise UserError("no explanation: all explainers are left out, for the reasons above")
    sheet(image[0].numpy(), maps, f"{options.image.name}: class {classes[target]} ({probabilities[target]:.1%})", options.out)
    print(f"{len(maps)} explanations of class {classes[target]} in {options.out}")
    return int(any(one.failed for one in found))


SPECIAL = ("degraded", "exact_shapley", "anchors", "constant", "random", "gaussian_random", "blurred_random")
"""Explainers that are not drawn unless they are asked for: controls without content, and what takes too long or another classifier."""


def _parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "xaibench explain", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", type=Path, help="the image's file")
    parser.add_argument("--target", required=True, help="import path of the network, such as my_package.MyNet")
    parser.add_argument("--weights", type=Path, required=True, help="its weights: .safetensors, or a state dict of torch.save")
    parser.add_argument("--arguments", nargs="+", default=[], metavar="NAME:VALUE", help="arguments of the target")
    parser.add_argument("--size", type=int, required=True, help="height and width of the network's images, which the image is fitted to")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3)
    parser.add_argument("--mean", type=float, nargs="+", default=[0.0], help="what the network expects to be subtracted from [0, 1]")
    parser.add_argument("--std", type=float, nargs="+", default=[1.0], help="and to divide by")
    parser.add_argument("--class", dest="explained", help="the class to explain, its name or number (default: the predicted one)")
    parser.add_argument("--explainers", nargs="+", help="names, as `xaibench list explainers` has them (default: nearly all)")
    parser.add_argument("--classes", help="the classes' names, in the order of the outputs: cat,dog,...")
    parser.add_argument(
        "--no-rewrite", dest="rewrite", action="store_false", help="for a network that cannot be traced: explain it as it is"
    )
    parser.add_argument("--background", type=Path, help='a folder of images that stand for "absent"')
    parser.add_argument("--out", type=Path, default=Path("explanations.png"), help="the picture: png, svg or pdf")
    options = parser.parse_args(argv)
    if options.size < 1:
        raise ConfigurationError(f"--size {options.size}: expected a number of pixels above 0")
    if options.out.suffix not in SUFFIXES or not options.out.absolute().parent.is_dir():
        raise ConfigurationError(f"--out {options.out}: expected a file {', '.join(SUFFIXES)} in a folder that is there")
    return options


def _usual() -> list[str]:
    from xaibench.configuration import conf_folder

    return sorted(path.stem for path in (conf_folder() / "explainer").glob("*.yaml") if path.stem not in SPECIAL)


def _place(asked: str, classes: list[str]) -> int:
    places = {str(place): place for place in range(len(classes))} | {name: place for place, name in enumerate(classes)}
    if asked not in places:
        raise ConfigurationError(f"--class {asked}: expected a class below {len(classes)}, or one of {', '.join(classes)}")
    return places[asked]


def _classes(options: argparse.Namespace, count: int) -> list[str]:
    """A name for each output."""
    names = options.classes.split(",") if options.classes else [str(place) for place in range(count)]
    if len(names) != count:
        raise ConfigurationError(
            f"--classes {options.classes}: expected {count} names, as the network has so many outputs, got {len(names)}"
        )
    return names


def _absent(options: argparse.Namespace, image: Tensor) -> Tensor:
    """The images that stand for "absent"."""
    import torch

    if options.background is None:
        return torch.stack([torch.full_like(image[0], value) for value in CONSTANTS])
    paths = sorted(options.background.iterdir()) if options.background.is_dir() else []
    if not paths:
        raise ConfigurationError(f"--background {options.background}: expected a folder of images")
    return _read(options, paths)


def _read(options: argparse.Namespace, paths: list[Path]) -> Tensor:
    """(N, C, H, W)."""
    import torch

    from xaibench.datasets.image_folder import read_image

    return torch.stack([read_image(path, options.size, options.size, options.channels) for path in paths])
