"""Estimated and measured memory of training steps: `python tests/benchmarks/model_memory.py [CASE...]`.

A case is `model:pixels:images:precision`. The estimate, from batches of 2 and 4, is held against the largest
number of bytes of tensors that live during a step of so many images, and on a CUDA device against what torch
says was allocated. `resident` is how much the process grew, with what kernels and the allocator take.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

CASES = (
    "resnet18:224:16:fp32",
    "resnet18:224:32:bf16",
    "resnet50:224:16:fp32",
    "vgg11_bn:224:16:fp32",
    "vit_tiny:32:32:fp32",
    "vit_tiny:32:32:bf16",
    "vit_b_16:224:8:fp32",
    "convnext_tiny:224:16:fp32",
    "mobilenet_v3_small:224:32:fp32",
    "densenet121:224:16:fp32",
)


def main() -> None:
    """Print a line for each case."""
    sys.stdout.write(f"{'MiB':32}{'saved':>9}{'est.':>9}{'peak':>9}{'est.':>9}{'ratio':>7}{'resident':>10}\n")
    for case in sys.argv[1:] or CASES:
        command = [sys.executable, __file__, "--measure", case]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        saved, saved_estimate, peak, estimate, resident = (size / 2**20 for size in json.loads(run.stdout))
        sys.stdout.write(f"{case:32}{saved:9.1f}{saved_estimate:9.1f}{peak:9.1f}{estimate:9.1f}")
        sys.stdout.write(f"{estimate / peak:7.3f}{resident:10.1f}\n")
        sys.stdout.flush()


def measure(case: str) -> list[int]:
    """Train two steps of a case with SGD and momentum.

    Returns:
        Bytes of the saved tensors and their estimate, of the peak and its estimate, and of the process.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import Tensor
    from torch.autograd.graph import saved_tensors_hooks
    from torchvision.models import get_model

    from pochi_cli.config.catalogue import MODEL_NAMES
    from pochi_cli.engine.footprint import LiveBytes, missing_averages
    from pochi_cli.engine.runtime import Runtime
    from pochi_cli.inspection.model_memory import measure_training_memory
    from pochi_cli.models.architectures import build_network

    name, pixels, count, precision = case.split(":")
    edge, images = int(pixels), int(count)
    assert precision in ("fp32", "bf16")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    runtime = Runtime(device, precision, channels_last=False, threads=torch.get_num_threads())  # type: ignore[arg-type]
    known = next((known for known in MODEL_NAMES if known == name), None)
    model = (build_network(known, 10, edge) if known else get_model(name, num_classes=10)).to(device)
    batch = torch.rand(images, 3, edge, edge, device=device)
    labels = torch.zeros(images, dtype=torch.int64, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, fused=True)
    state = missing_averages(optimizer)
    before = _resident()
    estimate = measure_training_memory(model, batch[:1], optimizer_state=state, autocast=runtime.autocast).of(
        images
    )

    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def step() -> None:
        with saved_tensors_hooks(note, lambda tensor: tensor), runtime.autocast():
            logits = model(batch)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    step()
    saved.clear()
    held = [*model.parameters(), *model.buffers(), batch]
    held += [value for values in optimizer.state.values() for value in values.values() if value.ndim]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        peak = torch.cuda.max_memory_allocated(device)
    else:
        with LiveBytes(held) as live:
            step()
        peak = live.peak + sum(tensor.nbytes for tensor in held)
    for tensor in held:
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    return [sum(saved.values()), estimate.activations, peak, estimate.peak, _resident() - before]


def _resident() -> int:
    """The largest number of bytes that the process had in main memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        json.dump(measure(sys.argv[2]), sys.stdout)
    else:
        main()
