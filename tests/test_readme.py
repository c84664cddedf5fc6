"""The README shows what the committed results hold, and points to what exists."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

import xaibench
from xaibench.cli.main import main

ROOT = Path(xaibench.__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_standings_are_the_committed_ones():
    shown = TEXT.partition("<!-- grand standings -->")[2].partition("<!-- end of grand standings -->")[0]
    assert shown.strip() == (ROOT / "results" / "grand" / "standings.md").read_text(encoding="utf-8").strip()


def test_every_link_and_picture_exists():
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if not target.startswith("http")]
    assert len(targets) > 5
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_python_example_runs(capsys):
    code = re.search(r"<!-- example: evaluate -->\n```python\n(.*?)```", TEXT, re.DOTALL).group(1)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["gradient", "integrated_gradients", "random"]
    deletion = {line.split()[0]: float(line.split()[1]) for line in lines[-3:]}
    assert deletion["integrated_gradients"] < deletion["random"]


SMALL = """  # in the place of torchvision, which is not installed
from torch import nn


def resnet18(num_classes=1000):
    return nn.Sequential(nn.Conv2d(3, 2, 3, stride=16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, num_classes))
"""


@pytest.mark.parametrize(("command", "classes"), [("explain", 1000), ("run", 5)])
def test_the_command_lines_with_own_files_run(command, classes, tmp_path, monkeypatch, capsys):
    """With small pictures, a small network and few methods, and else as they stand."""
    block = next(part for part in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL) if "model=own/checkpoint" in part)
    lines = [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]
    line = next(line[1:] for line in lines if line[1] == command)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "small_networks.py").write_text(SMALL)
    import small_networks

    safetensors.torch.save_file(small_networks.resnet18(classes).state_dict(), "resnet18.safetensors")
    draw = np.random.default_rng(0)
    for name in ("cat.jpg", *(f"photos/{part}/{label}/1.png" for part in ("train", "test") for label in "abcde")):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(name)
    for place in range(2, 62):
        Image.new("RGB", (40, 40), (place, 0, 0)).save(f"photos/train/{'abcde'[place % 5]}/{place}.png")
    assert "torchvision.models.resnet18" in " ".join(line)
    line = [word.replace("torchvision.models", "small_networks").replace("glob(*)", "gradient,sobel") for word in line]
    more = ["--explainers", "gradient"] if command == "explain" else ["runtime.results=out", "runtime.store=store", "figures=[]"]
    assert main([*line, *more]) == 0, capsys.readouterr().err
    assert Path("explanations.png").exists() if command == "explain" else any(Path("out").rglob("table.csv"))
