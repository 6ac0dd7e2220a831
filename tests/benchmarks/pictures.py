"""How long ten pictures of a gradient trace take: `python tests/benchmarks/pictures.py [EPOCHS LAYERS]`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

ROUNDS = 3


def write_trace(path: Path, epochs: int, layers: int) -> None:
    """Write norms that fall over the epochs and over the layers."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        file.write(
            ",".join(("epoch", *(f"layer{n // 12}.{n % 12}.conv.weight" for n in range(layers)))) + "\n"
        )
        for epoch in range(1, epochs + 1):
            norms = np.exp(
                -3 * epoch / epochs - np.arange(layers) / layers + 0.1 * random.normal(size=layers)
            )
            file.write(",".join((str(epoch), *map(str, norms))) + "\n")


def main() -> None:
    """Run the command, and print the median of its wall-clock and of its processor time."""
    epochs, layers = map(int, sys.argv[1:] or ("100", "62"))
    wall, processor = [], []
    with tempfile.TemporaryDirectory() as directory:
        csv = Path(directory) / "trace.csv"
        write_trace(csv, epochs, layers)
        for _ in range(ROUNDS):
            started, before = time.perf_counter(), os.times()
            subprocess.run(
                [sys.executable, "-m", "pochi_cli", "plot", "gradients", str(csv)],
                stdout=subprocess.DEVNULL,
                check=True,
            )
            after = os.times()
            wall.append(time.perf_counter() - started)
            processor.append(
                after.children_user + after.children_system - before.children_user - before.children_system
            )
    sys.stdout.write(
        f"ten pictures of {epochs} epochs x {layers} layers: {median(wall):.2f} s, "
        f"{median(processor):.2f} s of a processor\n"
    )


if __name__ == "__main__":
    main()
