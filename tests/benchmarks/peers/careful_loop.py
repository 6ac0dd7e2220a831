"""A careful loop without a framework: nothing waits for a number, the optimizer is fused, workers persist."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tests.benchmarks.peers.by_hand import build_model, create_loaders, memory_format
from tests.benchmarks.peers.job import Job, answer, read_job


def main() -> None:
    """Train, and answer with the rate of each epoch."""
    job = read_job()
    torch.manual_seed(0)
    model = build_model(job)
    optimizer = torch.optim.SGD(model.parameters(), lr=job.learning_rate, momentum=job.momentum, fused=True)
    train, val = create_loaders(job)
    rates, accuracy = [], None
    for _ in range(job.epochs):
        started = time.perf_counter()
        images = train_epoch(job, model, optimizer, train)
        rates.append(images / (time.perf_counter() - started))
        accuracy = None if val is None else validate(job, model, val)
    answer(rates, accuracy)


def train_epoch(
    job: Job, model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]
) -> int:
    """Train on all batches; returns the number of images."""
    model.train()
    loss_sum, correct, images = torch.zeros(()), torch.zeros((), dtype=torch.int64), 0
    for inputs, labels in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            logits = model(inputs.to(memory_format=memory_format(job)))
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss_sum += loss.detach() * len(labels)
        correct += (logits.argmax(1) == labels).sum()
        images += len(labels)
    return images


@torch.inference_mode()
def validate(job: Job, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Accuracy in percent."""
    model.eval()
    correct, images = torch.zeros((), dtype=torch.int64), 0
    for inputs, labels in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            logits = model(inputs.to(memory_format=memory_format(job)))
        correct += (logits.argmax(1) == labels).sum()
        images += len(labels)
    return 100 * int(correct) / images


if __name__ == "__main__":
    main()
