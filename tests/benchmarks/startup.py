"""How long the quick commands take, beside an empty Python: `python tests/benchmarks/startup.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CONFIGS = Path(__file__).parent.parent.parent / "configs"
ROUNDS = 10

WRONG = "epoch = 3\nmodel_name = 'resnet81'\n[early_stoping]\npatience = 0\n"


def main() -> None:
    """Run the commands in turn, and print the median of each and its ratio to the empty Python."""
    with tempfile.TemporaryDirectory() as directory:
        wrong = Path(directory) / "wrong.toml"
        wrong.write_text(WRONG)
        commands = {
            "python -c pass": ["-c", "pass"],
            "pochi --help": ["-m", "pochi_cli", "--help"],
            "pochi validate-config layerwise.toml": [
                "-m", "pochi_cli", "validate-config", str(CONFIGS / "layerwise.toml")
            ],
            "pochi validate-config wrong.toml": ["-m", "pochi_cli", "validate-config", str(wrong)],
            "pochi schema": ["-m", "pochi_cli", "schema"],
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
