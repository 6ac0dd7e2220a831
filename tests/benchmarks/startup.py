"""How long commands take that should be quick: `python tests/benchmarks/startup.py [commands] [train]`.

`commands`: those that do without torch, beside an empty Python. `train`: what a training takes before its
first step and after its last batch, on the digits and on a few photographs, beside the import of torch and
torchvision alone. All take turns in rounds; printed are the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from pochi_cli.data.digits import digits_root

CONFIGS = Path(__file__).parent.parent.parent / "configs"
MARKED = Path(__file__).parent / "marked_train.py"
ROUNDS = 10
TRAINING_ROUNDS = 5
IMPORTS = "import os, torch, torchvision; os._exit(0)"  # without clearing up, which is no part of it

RUNS = 1000
RECORD: dict[str, Any] = {
    "task": "classification",
    "model_name": "resnet18",
    "status": "running",  # the slowest: its lock is looked at
    "started_at": "2026-11-20T12:30:05+00:00",
    "stamp": "20261120_123005",
    "epochs": 50,
    "epochs_done": 12,
    "best_value": 99.72,
    "best_epoch": 11,
    "class_names": [f"class {number}" for number in range(100)],
    "data_fingerprint": "0123456789abcdef" * 4,
    "process_id": 1,
    "host": socket.gethostname(),
    "environment": {"torch": "2.6.0"},
    "settings": {"device": "cpu"},
}
PHOTOS = """
train_data_root = "{root}/train"
val_data_root = "{root}/val"
model_name = "resnet18"
pretrained = false
epochs = 1
batch_size = 16
learning_rate = 0.01
train_transform = [
  {{ name = "RandomResizedCrop", size = 224 }}, {{ name = "ToTensor" }}, {{ name = "Normalize" }},
]
val_transform = [
  {{ name = "Resize", size = 256 }}, {{ name = "CenterCrop", size = 224 }},
  {{ name = "ToTensor" }}, {{ name = "Normalize" }},
]
"""
WRONG = "epoch = 3\nmodel_name = 'resnet81'\n[early_stoping]\npatience = 0\n"


def write_runs(work_dir: Path) -> None:
    """Write as much of many runs as a list of them, and what is told of one, reads."""
    config = (CONFIGS / "quickstart.toml").read_bytes()
    for number in range(1, RUNS + 1):
        directory = work_dir / f"20261120_{number:03d}"
        directory.mkdir(parents=True)
        record = {**RECORD, "id": directory.name, "experiment_id": str(uuid.uuid4())}
        (directory / "run.json").write_text(json.dumps(record, indent=2))
        (directory / "config.toml").write_bytes(config)
        (directory / ".lock").touch()


def write_photos(root: Path, images: int) -> None:
    """JPEGs that are as hard to decode as photographs: smooth noise."""
    random = np.random.default_rng(0)
    for at in range(images):
        small = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        path = root / str(at % 2) / f"{at}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)


def time_command(*arguments: str, code: int = 0) -> float:
    """Seconds that a Python process takes, which ends with that code."""
    started = time.perf_counter()
    command, nowhere = [sys.executable, *arguments], subprocess.DEVNULL
    done = subprocess.run(command, stdout=nowhere, stderr=subprocess.PIPE, text=True, check=False)
    taken = time.perf_counter() - started
    if done.returncode != code:
        raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stderr}")
    return taken


def compare_commands(directory: Path) -> None:
    """Print the median of each quick command, and its ratio to the empty Python."""
    wrong = directory / "wrong.toml"
    wrong.write_text(WRONG)
    work_dir = directory / "runs"
    write_runs(work_dir)
    pochi = ("-m", "pochi_cli")
    commands = {
        "python -c pass": ["-c", "pass"],
        "pochi --help": [*pochi, "--help"],
        "pochi validate-config layerwise.toml": [*pochi, "validate-config", str(CONFIGS / "layerwise.toml")],
        "pochi validate-config wrong.toml": [*pochi, "validate-config", str(wrong)],
        "pochi schema": [*pochi, "schema"],
        f"pochi runs ({RUNS:,} of them)": [*pochi, "runs", "--work-dir", str(work_dir)],
        f"pochi runs --json ({RUNS:,} of them)": [*pochi, "runs", "--json", "--work-dir", str(work_dir)],
        "pochi runs show (one of 1,000)": [*pochi, "runs", "show", "--work-dir", str(work_dir)],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, arguments in commands.items():
            times[name].append(time_command(*arguments, code=int(str(wrong) in arguments)))
    empty = median(times["python -c pass"])
    for name, taken in times.items():
        sys.stdout.write(f"{name:40} {median(taken):6.3f} s  {median(taken) / empty:6.1f} x\n")


def time_training(directory: Path, *arguments: str) -> dict[str, float]:
    """Train, and tell how long what is not training took.

    Returns:
        Seconds until torch is loaded, until the first step is done, and from the last batch to the end.
    """
    marks = directory / "marks.json"
    environment = {**os.environ, "POCHI_CACHE_DIR": str(directory / "cache")}
    command = [sys.executable, str(MARKED), str(marks), *arguments, "--work-dir", str(directory / "trained")]
    started = time.time()
    subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    ended = time.time()
    at = json.loads(marks.read_text())
    return {
        "torch loaded": at["loaded"] - started,
        "first step done": at["first"] - started,
        "last batch to end": ended - at["last"],
    }


def compare_trainings(directory: Path) -> None:
    """Print what trainings take beside their work, and the import of torch and torchvision alone."""
    write_photos(directory / "photos" / "train", 32)
    write_photos(directory / "photos" / "val", 8)
    photos = directory / "photos.toml"
    photos.write_text(PHOTOS.format(root=directory / "photos"))
    trainings = {
        "digits": [str(CONFIGS / "quickstart.toml"), "--epochs", "1"],
        "photographs": [str(photos)],
    }
    digits_root(directory / "cache")  # made at the first use of all
    times: dict[str, list[float]] = {}
    for _ in range(TRAINING_ROUNDS):
        alone = time_command("-c", IMPORTS)
        times.setdefault("import torch, torchvision", []).append(alone)
        for name, arguments in trainings.items():
            for what, taken in time_training(directory, *arguments).items():
                times.setdefault(f"pochi train, {name}: {what}", []).append(taken)
    for name, several in times.items():
        sys.stdout.write(f"{name:48} {median(several):6.3f} s\n")


def main() -> None:
    """Compare what was asked for, or all."""
    parts = {"commands": compare_commands, "train": compare_trainings}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="commands|train")
    with tempfile.TemporaryDirectory() as directory:
        for name in parser.parse_args().parts or parts:
            parts[name](Path(directory))


if __name__ == "__main__":
    main()
