"""The limit: the training step alone, on one batch in memory."""

from __future__ import annotations

import sys
import time

import torch
import torch.nn.functional as F  # noqa: N812

from pochi_cli.allocator import keep_freed_memory
from tests.benchmarks.peers.by_hand import build_model, memory_format
from tests.benchmarks.peers.job import answer, read_job

WARM_UP = 3


def main() -> None:
    """Time as many steps as the second argument says."""
    job, steps = read_job(), int(sys.argv[2])
    keep_freed_memory()  # as the command does: what makes a step faster belongs to the limit
    torch.manual_seed(0)
    model = build_model(job).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=job.learning_rate, momentum=job.momentum, fused=True)
    images = torch.randn(job.batch_size, 3, job.size, job.size).to(memory_format=memory_format(job))
    labels = torch.arange(job.batch_size) % job.classes
    started = 0.0
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    answer([steps * job.batch_size / (time.perf_counter() - started)])


if __name__ == "__main__":
    main()
