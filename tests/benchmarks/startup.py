"""How long the quick commands take, beside an empty Python: `python tests/benchmarks/startup.py`."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

CONFIGS = Path(__file__).parent.parent.parent / "configs"
ROUNDS = 10

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
WRONG = "epoch = 3\nmodel_name = 'resnet81'\n[early_stoping]\npatience = 0\n"


def write_runs(work_dir: Path) -> None:
    """Write as much of many runs as a list of them reads."""
    for number in range(1, RUNS + 1):
        directory = work_dir / f"20261120_{number:03d}"
        directory.mkdir(parents=True)
        record = {**RECORD, "id": directory.name, "experiment_id": str(uuid.uuid4())}
        (directory / "run.json").write_text(json.dumps(record, indent=2))
        (directory / ".lock").touch()


def main() -> None:
    """Run the commands in turn, and print the median of each and its ratio to the empty Python."""
    with tempfile.TemporaryDirectory() as directory:
        wrong = Path(directory) / "wrong.toml"
        wrong.write_text(WRONG)
        work_dir = Path(directory) / "runs"
        write_runs(work_dir)
        commands = {
            "python -c pass": ["-c", "pass"],
            "pochi --help": ["-m", "pochi_cli", "--help"],
            "pochi validate-config layerwise.toml": [
                "-m", "pochi_cli", "validate-config", str(CONFIGS / "layerwise.toml")
            ],
            "pochi validate-config wrong.toml": ["-m", "pochi_cli", "validate-config", str(wrong)],
            "pochi schema": ["-m", "pochi_cli", "schema"],
            f"pochi runs ({RUNS:,} of them)": ["-m", "pochi_cli", "runs", "--work-dir", str(work_dir)],
            f"pochi runs --json ({RUNS:,} of them)": [
                "-m", "pochi_cli", "runs", "--json", "--work-dir", str(work_dir)
            ],
            "pochi runs show (one of 1,000)": [
                "-m", "pochi_cli", "runs", "show", "--work-dir", str(work_dir)
            ],
        }  # fmt: skip
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, arguments in commands.items():
                started = time.perf_counter()
                subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=False)
                times[name].append(time.perf_counter() - started)
    empty = median(times["python -c pass"])
    for name, taken in times.items():
        sys.stdout.write(f"{name:40} {median(taken):6.3f} s  {median(taken) / empty:6.1f} x\n")


if __name__ == "__main__":
    main()
