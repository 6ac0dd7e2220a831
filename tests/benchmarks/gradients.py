"""What tracing adds to a training step of resnet18: `python tests/benchmarks/gradients.py [SIZE...]`.

Traced and untraced steps of one model take turns, so that what else the machine does meets both. The time
that the tracer itself takes, and what the end of an epoch costs, are printed beside the ratio: a difference
of 2 % of a step is less than what a busy machine does to it.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import torch
from torch import nn
from torchvision.models import resnet18

from pochi_cli.config.recording import GradientTrackingConfig
from pochi_cli.engine.gradients import GradientTracer, NoTracer, choose_traced

BATCH = 16
STEPS_OF = {224: 40, 64: 300}
"""How often each kind of step is timed."""


def measure(size: int) -> str:
    """Time steps with and without the tracer."""
    torch.manual_seed(0)
    model = resnet18(num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images, labels = torch.randn(BATCH, 3, size, size), torch.arange(BATCH) % 10
    settings = GradientTrackingConfig()
    tracer = GradientTracer(choose_traced(model, settings.exclude_patterns, by_block=True), settings, 1)
    tracer.begin(1, 0)
    tracing: list[float] = []

    def step(by: GradientTracer | NoTracer) -> float:
        started = time.perf_counter()
        nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        before = time.perf_counter()
        by.step()
        tracing.append(time.perf_counter() - before)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - started

    for _ in range(3):
        step(tracer)
    tracing.clear()
    untraced: list[float] = []
    traced: list[float] = []
    pair: list[tuple[list[float], GradientTracer | NoTracer]] = [(untraced, NoTracer()), (traced, tracer)]
    for _ in range(STEPS_OF.get(size, 100)):
        for times, by in pair:
            times.append(step(by))
        pair.reverse()
    started = time.perf_counter()
    tracer.end()
    ended = time.perf_counter() - started
    alone = sorted(tracing)[len(tracing) // 2 :]  # the other half traced nothing
    ratio, share = median(traced) / median(untraced) - 1, median(alone) / median(untraced)
    return (
        f"{size:>4} px: step {1e3 * median(untraced):.2f} ms untraced, {1e3 * median(traced):.2f} ms traced: "
        f"{ratio:+.2%}; the tracer itself {1e3 * median(alone):.3f} ms, {share:.2%}; "
        f"end of an epoch of {len(traced)} steps {1e3 * ended:.1f} ms"
    )


def main() -> None:
    """Print one line for each size."""
    for size in map(int, sys.argv[1:] or ("224", "64")):
        sys.stdout.write(measure(size) + "\n")


if __name__ == "__main__":
    main()
