"""The store under several real processes: killed writers, and two that want the same result."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import torch

from xaibench.store import Artifact, Store

KEY = hashlib.sha256(b"a key").hexdigest()


def artifact() -> Artifact:
    return Artifact({"values": torch.arange(3.0)})


def never() -> Artifact:
    raise AssertionError("computed again")


PROCESS = """
import os, sys, time
from pathlib import Path
import torch
from xaibench import store as module
from xaibench.store import Artifact, Store

root, mode = Path(sys.argv[1]), sys.argv[2]
said = root / "said"
said.mkdir(parents=True, exist_ok=True)

def say(what):
    (said / f"{what}-{os.getpid()}").touch()

def compute():
    say("computing")
    if mode == "compute":
        time.sleep(60)
    if mode == "once":
        time.sleep(0.5)
    return Artifact({"values": torch.arange(1000.0)})

if mode == "write":
    def half(tensors, path):
        Path(path).write_bytes(b"half a payload")
        say("writing")
        time.sleep(60)
    module.safetensors.torch.save_file = half
if mode == "spec":
    def hold(self, target):
        say("writing")
        time.sleep(60)
    Path.rename = hold
say("ready")
while mode == "once" and not (root / "go").exists():
    time.sleep(0.005)
artifact, cached = Store(root / "store").get("explain", "KEY", {"stage": "explain"}, compute)
say("cached" if cached else "computed")
sys.exit(0 if torch.equal(artifact.tensors["values"], torch.arange(1000.0)) else 1)
"""


def start(root: Path, mode: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROCESS).replace("KEY", KEY), str(root), mode])


def said(root: Path, what: str) -> int:
    return len(list((root / "said").glob(f"{what}-*")))


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_two_processes_compute_one_result_and_a_killed_writer_leaves_a_miss(tmp_path, caplog):
    """All processes start together, because starting one takes a second."""
    killed = {mode: tmp_path / mode for mode in ("compute", "write", "spec")}
    victims = {mode: start(root, mode) for mode, root in killed.items()}
    race = tmp_path / "race"
    racers = [start(race, "once") for _ in range(2)]
    try:
        for mode, root in killed.items():
            wait_until(lambda root=root, mode=mode: said(root, "computing" if mode == "compute" else "writing"))
            victims[mode].send_signal(signal.SIGKILL)
            assert victims[mode].wait() == -signal.SIGKILL
            store = Store(root / "store")
            assert not store.has("explain", KEY)
            assert store.read("explain", KEY) is None
            assert store.keys("explain") == []
            assert store.get("explain", KEY, {"stage": "explain"}, artifact)[1] is False  # at once: a dead process holds no lock
            assert store.get("explain", KEY, {"stage": "explain"}, never)[1]
            assert list((root / "store" / "locks").iterdir()) == []
        assert caplog.text == ""  # a miss, but nothing damaged
        wait_until(lambda: said(race, "ready") == 2)
        (race / "go").touch()
        assert [racer.wait(60) for racer in racers] == [0, 0]
    finally:
        for process in [*victims.values(), *racers]:
            process.kill()
            process.wait()
    assert (said(race, "computing"), said(race, "computed"), said(race, "cached")) == (1, 1, 1)
    assert list((race / "store" / "locks").iterdir()) == []
