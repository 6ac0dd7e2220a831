"""Time and memory of training steps with DPLossV2 on the CPU: `python tests/benchmarks/distance_losses.py`.

The plain form of the loss, with a sigmoid for each triple of a batch and torch's own cdist as it chooses to
compute it, takes turns with ours, so that what else the machine does meets both. What a large batch takes is
the growth of the largest resident size of a process of its own. On a machine that has other work, set
OMP_NUM_THREADS=1: threads that wait for each other measure that work.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from pochi_cli.engine.losses import DPLossV2
from pochi_cli.engine.soft_ranks import soft_ranks

INPUTS, LATENTS = 768, 256
TIMED, LARGE = 512, 4096
TAUS = (1.0, 0.1)
STEPS = 7


def main() -> None:
    """Print a line for each measurement."""
    for tau in TAUS:
        sys.stdout.write(compare(tau) + "\n")
        sys.stdout.flush()
    for tau in TAUS:
        for part in ("step", "soft_ranks"):
            command = [sys.executable, __file__, "--measure", part, str(tau)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            duration_s, mebibytes = json.loads(run.stdout)
            took = f"{mebibytes:5.0f} MiB above the process's own, {duration_s:.1f} s"
            sys.stdout.write(f"B = {LARGE}, tau {tau:3}, {part:10}: {took}\n")
            sys.stdout.flush()


def compare(tau: float) -> str:
    """Time steps with the plain form of the loss and with ours."""
    ours = DPLossV2(tau=tau)
    step = build_step(TIMED)
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    pair: list[tuple[str, Callable[[Tensor, Tensor], Tensor]]] = [
        ("plain", lambda x, z: plain(x, z, tau)),
        ("ours", lambda x, z: ours(x, z).total),
    ]
    for _, loss in pair:
        step(loss)
    for _ in range(STEPS):
        for name, loss in pair:
            times[name].append(step(loss))
        pair.reverse()
    theirs, own = median(times["plain"]), median(times["ours"])
    took = f"{1e3 * theirs:.0f} ms plain, {1e3 * own:.0f} ms ours, {theirs / own:.1f} times as fast"
    return f"B = {TIMED:4}, tau {tau:3}, {'step':10}: {took}"


def plain(x: Tensor, z: Tensor, tau: float) -> Tensor:
    """Compute the total of DPLossV2 by its formula."""
    inputs, latents = torch.cdist(x, x), torch.cdist(z, z)
    of_latents, of_inputs = (
        1 + torch.sigmoid((d[:, None, :] - d[:, :, None]) / tau).sum(2) for d in (latents, inputs)
    )
    return F.mse_loss(of_latents, of_inputs) + 0.3 * F.mse_loss(latents, inputs)


def build_step(size: int) -> Callable[[Callable[[Tensor, Tensor], Tensor]], float]:
    """Build what trains a small encoder by one step and says how long that took, in seconds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(INPUTS, INPUTS), nn.ReLU(), nn.Linear(INPUTS, LATENTS))
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randn(size, INPUTS)

    def step(loss: Callable[[Tensor, Tensor], Tensor]) -> float:
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss(x, model(x)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return time.perf_counter() - started

    return step


def measure(part: str, tau: float) -> tuple[float, float]:
    """Take a step with a large batch, or only rank its distances forward and backward.

    Returns:
        Seconds and MiB that it took.
    """
    ours = DPLossV2(tau=tau)
    build_step(8)(lambda x, z: ours(x, z).total)  # threads and kernels are there
    step = build_step(LARGE)
    points = torch.randn(LARGE, INPUTS)
    distances = torch.cdist(points, points).requires_grad_() if part == "soft_ranks" else torch.empty(0)
    before = resident("VmRSS")
    if part == "step":
        return step(lambda x, z: ours(x, z).total), resident("VmHWM") - before
    started = time.perf_counter()
    soft_ranks(distances, tau).backward(torch.ones_like(distances))  # type: ignore[no-untyped-call]
    return time.perf_counter() - started, resident("VmHWM") - before


def resident(key: str) -> float:
    """Find the resident size of this process, MiB: now (VmRSS) or at most (VmHWM).

    Not by getrusage, whose largest size counts the process that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(key)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        json.dump(measure(sys.argv[2], float(sys.argv[3])), sys.stdout)
    else:
        main()
