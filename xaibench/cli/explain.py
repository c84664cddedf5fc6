"""`xaibench explain`: one picture of what all methods say about an image and a network of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from xaibench.component import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = """examples:
  xaibench explain cat.jpg --target torchvision.models.resnet18 --weights resnet18.safetensors --size 224 \\
      --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225
  xaibench explain seven.png --target my_networks.Net --weights net.pt --size 28 --channels 1 --explainers grad_cam lime --class 7

Each map is on a scale of its own: red speaks for the class, blue against it, white is 0. Methods that need images which stand for
"absent" take those of --background, or else a black, a gray and a white one. What a network does not allow is left out, with the reason."""

CONSTANTS = (0.0, 0.5, 1.0)


def main(argv: list[str]) -> int:
    """Write the picture."""
    options = _parsed(argv)
    import logging

    import torch

    from xaibench import evaluation
    from xaibench.configuration import conf_folder
    from xaibench.figures.maps import sheet
    from xaibench.models.checkpoint import Checkpoint, prepared

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    made = Checkpoint(options.target, str(options.weights), tuple(options.arguments))
    network = prepared(made.network(), options.channels, tuple(options.mean), tuple(options.std), rewrite=True)
    image = _read(options, [options.image])
    with torch.inference_mode():
        probabilities = network(image).softmax(1)[0]
    target = int(probabilities.argmax()) if options.explained is None else options.explained
    if not 0 <= target < len(probabilities):
        raise ConfigurationError(f"--class {target}: expected a class below {len(probabilities)}")
    names = options.explainers or sorted(path.stem for path in (conf_folder() / "explainer").glob("*.yaml") if path.stem not in SPECIAL)
    paths = sorted(options.background.iterdir()) if options.background else []
    absent = _read(options, paths) if paths else torch.stack([torch.full_like(image[0], value) for value in CONSTANTS])
    known = (absent, torch.zeros(len(absent), dtype=torch.int64))
    found = evaluation.explain(network, image, names, train=known, targets=[target], rewrite=False)
    for place in probabilities.argsort(descending=True)[:3].tolist():
        print(f"class {place}: {probabilities[place]:.1%}")
    title = f"{options.image.name}: class {target} ({probabilities[target]:.1%})"
    sheet(image[0].numpy(), {name: values[0, 0] for name, values in found.items()}, title, options.out)
    print(f"{len(found)} explanations of class {target} in {options.out}")
    return 0


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
    parser.add_argument("--class", type=int, dest="explained", help="the class to explain (default: the predicted one)")
    parser.add_argument("--explainers", nargs="+", help="names, as `xaibench list explainers` has them (default: nearly all)")
    parser.add_argument("--background", type=Path, help='a folder of images that stand for "absent"')
    parser.add_argument("--out", type=Path, default=Path("explanations.png"), help="the picture: png, svg or pdf")
    return parser.parse_args(argv)


def _read(options: argparse.Namespace, paths: list[Path]) -> Tensor:
    """(N, C, H, W)."""
    import torch

    from xaibench.datasets.image_folder import read_image

    return torch.stack([read_image(path, options.size, options.size, options.channels) for path in paths])
