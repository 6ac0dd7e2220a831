"""Estimated and measured memory of training steps on the CPU: `python tests/benchmarks/memory.py [CASE...]`.

A case is `model:pixels:images:precision:layout`. Each trains three steps in a process of its own; what it
takes is the growth of its largest resident size and of its largest address space.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

CASES = (
    "resnet18:32:512:fp32:contiguous",
    "resnet18:32:2048:fp32:contiguous",
    "resnet18:64:64:fp32:contiguous",
    "resnet18:64:256:fp32:contiguous",
    "resnet18:64:256:fp32:channels_last",
    "resnet18:64:1024:fp32:contiguous",
    "resnet18:64:1024:bf16:contiguous",
    "resnet18:224:16:fp32:contiguous",
    "resnet18:224:96:fp32:contiguous",
    "vgg11_bn:64:128:fp32:contiguous",
    "vgg11_bn:224:16:fp32:contiguous",
    "mobilenet_v3_small:64:256:fp32:contiguous",
    "mobilenet_v3_small:224:128:fp32:contiguous",
    "vit_b_16:224:8:fp32:contiguous",
    "vit_b_16:224:24:fp32:contiguous",
    "vit_b_16:224:8:bf16:contiguous",
)
STEPS = 3


def main() -> None:
    """Print a line for each case."""
    cases = sys.argv[1:] or CASES
    sys.stdout.write(f"{'MiB':44}{'tensors':>9}{'estimate':>9}{'resident':>9}{'address':>9}{'share':>7}\n")
    for case in cases:
        command = [sys.executable, __file__, "--measure", case]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        tensors, estimate, resident, address = (round(size / 2**20) for size in json.loads(run.stdout))
        share = max(resident, address) / estimate
        sys.stdout.write(f"{case:44}{tensors:9}{estimate:9}{resident:9}{address:9}{share:7.2f}\n")
        sys.stdout.flush()


def measure(case: str) -> list[int]:
    """Train some steps of a case.

    Returns:
        Bytes of the tensors alone, of the estimate, and of what the process took.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torchvision.models import get_model

    from pochi_cli.allocator import keep_freed_memory
    from pochi_cli.engine.footprint import Footprint, measure_pass, missing_averages
    from pochi_cli.engine.runtime import Runtime

    keep_freed_memory()  # as the command does
    name, pixels, count, precision, layout = case.split(":")
    edge, images = int(pixels), int(count)
    assert precision in ("fp32", "bf16")
    runtime = Runtime(torch.device("cpu"), precision, layout == "channels_last", torch.get_num_threads())  # type: ignore[arg-type]
    model = get_model(name, weights=None, num_classes=4).to(memory_format=runtime.memory_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, fused=True)
    footprint = Footprint(
        device=runtime.device,
        training=measure_pass(model, runtime, (edge, edge), training=True),
        validation=None,
        gradients=sum(parameter.nbytes for parameter in model.parameters()),
        averages=missing_averages(optimizer),
        image=3 * edge * edge * 4,
        val_image=0,
        train_images=images,
        val_images=0,
        copies=1,
        batches_ahead=0,
    )
    torch.nn.Conv2d(3, 8, 3)(torch.ones(2, 3, 32, 32)).sum().backward()  # threads and kernels are there

    before = _taken("VmRSS"), _taken("VmPeak")
    for _ in range(STEPS):
        batch = torch.randn(images, 3, edge, edge).to(memory_format=runtime.memory_format)
        with runtime.autocast():
            logits = model(batch)
        F.cross_entropy(logits.float(), torch.zeros(images, dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before[0]
    address = _taken("VmPeak") - before[1]
    return [footprint.step_tensors(images, 1), footprint.step_bytes(images, 1), resident, address]


def _taken(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(key)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        json.dump(measure(sys.argv[2]), sys.stdout)
    else:
        main()
