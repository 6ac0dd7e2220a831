"""What the monitor adds to a training step of resnet18: `python tests/benchmarks/monitor.py [SIZE...]`.

Monitored and other steps of one model take turns, so that what else the machine does meets both; of the
monitored ones every tenth measures the updates. The time that the monitor itself takes, and what the end of
an epoch costs, are printed beside the ratio: 2 % of a step is less than what a busy machine does to it.
"""

from __future__ import annotations

import sys
import time
from statistics import mean, median

import torch
from torch import nn
from torchvision.models import resnet18

from pochi_cli.config.recording import MonitorConfig
from pochi_cli.engine.monitor import NoMonitor, TrainingMonitor

BATCH = 16
STEPS_OF = {224: 40, 64: 300}
"""How often each kind of step is timed."""


def measure(size: int) -> str:
    """Time steps with and without the monitor."""
    torch.manual_seed(0)
    model = resnet18(num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images, labels = torch.randn(BATCH, 3, size, size), torch.arange(BATCH) % 10
    settings = MonitorConfig(enabled=True)
    monitor = TrainingMonitor(model, settings)
    monitoring: list[float] = []

    def step(by: TrainingMonitor | NoMonitor, number: int) -> float:
        started = time.perf_counter()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        before = time.perf_counter()
        by.add(loss, BATCH)
        by.before_step(number)
        taken = time.perf_counter() - before
        optimizer.step()
        before = time.perf_counter()
        by.after_step()
        monitoring.append(taken + time.perf_counter() - before)
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - started

    monitor.begin(0, 1e-3)
    for number in range(1, 4):
        step(monitor, number)
    monitor.begin(1, 1e-3)
    monitoring.clear()
    alone: list[float] = []
    monitored: list[float] = []
    pair: list[tuple[list[float], TrainingMonitor | NoMonitor]] = [(alone, NoMonitor()), (monitored, monitor)]
    for number in range(1, STEPS_OF.get(size, 100) + 1):
        for times, by in pair:
            times.append(step(by, number))
        pair.reverse()
    started = time.perf_counter()
    monitor.end()
    ended = time.perf_counter() - started
    own = sorted(monitoring)[len(monitoring) // 2 :]  # the other half saw nothing
    ratio, share = median(monitored) / median(alone) - 1, mean(own) / median(alone)
    return (
        f"{size:>4} px: step {1e3 * median(alone):.2f} ms alone, {1e3 * median(monitored):.2f} ms monitored: "
        f"{ratio:+.2%}; the monitor itself {1e3 * median(own):.3f} ms in most steps, {1e3 * max(own):.3f} ms "
        f"at most, {1e3 * mean(own):.3f} ms in the mean, {share:.2%}; end of an epoch of {len(monitored)} "
        f"steps {1e3 * ended:.1f} ms"
    )


def main() -> None:
    """Print one line for each size."""
    for size in map(int, sys.argv[1:] or ("224", "64")):
        sys.stdout.write(measure(size) + "\n")


if __name__ == "__main__":
    main()
