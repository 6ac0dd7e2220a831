"""What it costs to train with two processes: `python tests/benchmarks/distributed.py [SIZE...]`.

One process with all cores and two with half of them each train resnet18 on the same batch, by turns. Printed
are images per second, their ratio, and the share of two processes' time that goes into communication: beside
steps that average their gradients others leave it out.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from statistics import median

from pochi_cli.cores import usable_cores

WORKER = "tests.benchmarks.peers.shared_steps"
BATCH = 32
"""Images of all processes."""
STEPS_OF = {224: 12, 64: 60}
ROUNDS = 3


def measure(size: int, processes: int) -> dict[str, float]:
    """Run steps; returns seconds of one, `shared` and `unshared`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    told |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    arguments = [str(size), str(BATCH // processes), str(STEPS_OF.get(size, 30))]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", WORKER, *arguments],
            env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("a process failed")
    found: dict[str, float] = json.loads(answers[0].splitlines()[-1])
    return found


def main() -> None:
    """Print a line for each size."""
    cores = usable_cores()
    sys.stdout.write(f"resnet18, {BATCH} images a step, {cores} cores\n")
    for size in [int(argument) for argument in sys.argv[1:]] or [64, 224]:
        one, two, shares = [], [], []
        for _ in range(ROUNDS):
            one.append(BATCH / measure(size, 1)["shared"])
            pair = measure(size, 2)
            two.append(BATCH / pair["shared"])
            shares.append(1 - pair["unshared"] / pair["shared"])
        ratios = [pair / alone for pair, alone in zip(two, one, strict=True)]
        sys.stdout.write(
            f"{size:4} px: one process {median(one):6.1f} images/s, two {median(two):6.1f}; "
            f"two / one {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), "
            f"communication {median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
