"""Steps of one of several processes: `SIZE IMAGES STEPS`; the first tells the seconds of a step."""

from __future__ import annotations

import json
import sys
import time
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torchvision.models import resnet18

from pochi_cli.cores import usable_cores
from pochi_cli.data.shares import Portion, whole
from pochi_cli.engine.distributed import joined
from pochi_cli.engine.runtime import native_half
from pochi_cli.ranks import launched_rank


def main() -> None:
    """Time steps that average their gradients, and in turn some that don't."""
    size, images, steps = map(int, sys.argv[1:])
    place, device = launched_rank(), torch.device("cpu")
    torch.set_num_threads(max(1, usable_cores() // place.local_world_size))
    torch.manual_seed(0)
    model = resnet18(num_classes=10).to(memory_format=torch.channels_last)
    is_half = native_half(device) is not None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    batch = torch.randn(images, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(images) % 10
    start = place.rank * images
    portion = Portion(start, start + images, images * place.world_size)
    with joined(place, device) as team:
        forward = team.forward(model, lambda network, inputs: network(inputs))

        def step(*, is_last: bool) -> float:
            started = time.perf_counter()
            weight = team.sum(torch.tensor(float(images)))
            with forward.batch(portion if is_last else whole(images), is_last=is_last):
                with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                    logits: Any = forward(batch)
                loss = F.cross_entropy(logits.float(), labels, reduction="sum") / weight
                loss.backward()  # type: ignore[no-untyped-call]
            team.sum(torch.zeros(5, dtype=torch.float64))
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            forward.average_buffers()
            team.counts(0)
            return time.perf_counter() - started

        times: dict[bool, list[float]] = {True: [], False: []}
        for number in range(steps + 3):
            for is_last in (True, False):
                taken = step(is_last=is_last)
                if number >= 3:
                    times[is_last].append(taken)
    if place.is_first:
        told = {"shared": median(times[True]), "unshared": median(times[False])}
        sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
