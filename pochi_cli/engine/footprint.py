"""How much memory a training step takes, measured on a few images."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pochi_cli.allocator import keeps_freed_memory
from pochi_cli.config.batches import batch_starts
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.steps.arguments import Size
from pochi_cli.cores import usable_cores
from pochi_cli.data.loading import resolve_workers
from pochi_cli.data.prepare import Data
from pochi_cli.data.transforms import is_finished_in_batches
from pochi_cli.engine.preserving import untouched
from pochi_cli.engine.runtime import Runtime
from pochi_cli.models.freezing import train_mode

_FEW = (2, 4)
"""Batch sizes that are measured; batch normalisation cannot normalise one image."""

# Beyond its tensors a process takes what kernels need for themselves, and what lies idle: on the CPU, blocks
# lie in one heap, whose gaps larger ones cannot use. tests/benchmarks/memory.py measures it; these cover what
# it found.
_SHARE = 0.15
_GAPS = 0.75
_MOST_GAPS = 384 * 2**20
_MOST_GAPS_KEPT = 896 * 2**20
"""Where the process keeps what it frees: larger blocks lie in the heap then."""


@dataclass(frozen=True)
class ForwardPass:
    """What the tensors of a forward pass take at its peak, in bytes.

    Attributes:
        fixed: However many images there are, such as weights in half precision.
        per_image: For each image, itself included.
        largest: Of it the largest single tensor.
    """

    fixed: float
    per_image: float
    largest: float


@dataclass(frozen=True)
class Footprint:
    """What a training takes beyond what it holds between two steps.

    Attributes:
        device: Where it runs.
        training: The forward pass of a training step, with all that it keeps for the backward pass.
        validation: That of validation, without; `None` without validation.
        gradients: Bytes of all gradients.
        averages: Bytes of the optimizer's averages that its first step will make.
        image, val_image: Bytes of an image of training and of validation.
        train_images, val_images: How many there are.
        copies: How often each image of a step is held.
        batches_ahead: Batches that are loaded beforehand, counted in batches of float32.
    """

    device: torch.device
    training: ForwardPass
    validation: ForwardPass | None
    gradients: int
    averages: int
    image: int
    val_image: int
    train_images: int
    val_images: int
    copies: int
    batches_ahead: float

    def step_tensors(self, batch_size: int, accumulate_steps: int) -> int:
        """Count the bytes of an optimizer step's tensors at its peak.

        Args:
            batch_size: Images per batch.
            accumulate_steps: Batches per step.
        """
        images = largest_batch(batch_size, self.train_images)
        # When the forward pass ends all that it saved is there, and of a step's later batches the gradients,
        # too. Then the backward pass makes gradients of activations, and frees what was saved.
        peak = self.training.fixed + images * (self.training.per_image + self.training.largest)
        waiting: float = min(batch_size * accumulate_steps, self.train_images) * self.copies - images
        waiting += batch_size * self.batches_ahead
        return int(peak + waiting * self.image) + self.gradients + self.averages

    def step_bytes(self, batch_size: int, accumulate_steps: int) -> int:
        """Estimate what the process takes for an optimizer step; for the arguments see `step_tensors`."""
        return with_overhead(self.device, self.step_tensors(batch_size, accumulate_steps))

    def validation_bytes(self, batch_size: int) -> int:
        """Estimate what the process takes for a batch of validation; 0 without."""
        if self.validation is None:
            return 0
        images = min(batch_size, self.val_images)
        peak = self.validation.fixed + images * self.validation.per_image
        return with_overhead(self.device, int(peak + images * self.batches_ahead * self.val_image))

    def needed_bytes(self, batch_size: int, accumulate_steps: int) -> int:
        """Estimate what the process takes for the whole training."""
        return max(self.step_bytes(batch_size, accumulate_steps), self.validation_bytes(batch_size))


def with_overhead(device: torch.device, tensors: int) -> int:
    """Estimate the bytes that a process takes on a device for so many bytes of a step's tensors."""
    most = _MOST_GAPS_KEPT if keeps_freed_memory() else _MOST_GAPS
    gaps = min(_GAPS * tensors, most) if device.type == "cpu" else 0
    return int(tensors * (1 + _SHARE) + gaps)


def measure_footprint(
    config: ClassificationConfig, data: Data, runtime: Runtime, model: nn.Module, averages: int
) -> Footprint:
    """Measure a training on a few images; neither the model nor any random state changes.

    Args:
        config: The resolved config.
        data: The prepared data.
        runtime: Device, precision and layout.
        model: The model that is trained.
        averages: What `missing_averages` said before the first step.
    """
    on_cpu = runtime.device.type == "cpu"
    changes_images = runtime.channels_last or config.mixup_alpha > 0 or config.cutmix_alpha > 0
    validation = None
    if data.val_size is not None:
        validation = measure_pass(model, runtime, data.val_size, training=False)
    return Footprint(
        device=runtime.device,
        training=measure_pass(model, runtime, data.size, training=True),
        validation=validation,
        gradients=_bytes(parameter for parameter in model.parameters() if parameter.requires_grad),
        averages=averages,
        image=_bytes([torch.empty(3, *data.size, device="meta")]),
        val_image=_bytes([torch.empty(3, *(data.val_size or (0, 0)), device="meta")]),
        train_images=len(data.train),
        val_images=len(data.val) if data.val else 0,
        copies=2 if on_cpu and changes_images else 1,
        # torch's loader keeps two batches ready per process; for other devices they wait in main memory.
        # Without processes there are, while the next batch is stacked, its images and the batch before.
        batches_ahead=_batches_ahead(config, runtime) if on_cpu else 0,
    )


def _batches_ahead(config: ClassificationConfig, runtime: Runtime) -> float:
    cores = max(1, usable_cores() // runtime.team.place.sharers)
    batches = 2 * max(1, resolve_workers(config.num_workers, runtime.device.type, cores))
    return batches / 4 if is_finished_in_batches(config.train_transform) else batches


def largest_batch(batch_size: int, images: int) -> int:
    """Count the images of the largest batch of an epoch: a last image alone joins the batch before."""
    starts = [*batch_starts(images, batch_size), images]
    return max(end - start for start, end in pairwise(starts))


def measure_pass(model: nn.Module, runtime: Runtime, size: Size, *, training: bool) -> ForwardPass:
    """Measure forward passes of a few images without content.

    Args:
        model: Its own weights and buffers are not counted.
        runtime: Device, precision and layout.
        size: Height and width of the images.
        training: Whether what a backward pass needs is kept.
    """
    small, large = (_live_bytes(model, runtime, images, size, training=training) for images in _FEW)
    more = _FEW[1] - _FEW[0]
    per_image = (large.peak - small.peak) / more
    return ForwardPass(
        fixed=max(0.0, small.peak - _FEW[0] * per_image),
        per_image=per_image,
        # Both passes make the same tensors; those of one size in both are of weights.
        largest=max(b - a for a, b in zip(small.sizes, large.sizes, strict=False)) / more,
    )


def missing_averages(optimizer: torch.optim.Optimizer) -> int:
    """Count the bytes of the running averages that an optimizer makes in its first step."""
    match optimizer:
        case torch.optim.SGD():
            averages = 1 if optimizer.defaults["momentum"] > 0 else 0
        case _:  # Adam and AdamW
            averages = 3 if optimizer.defaults["amsgrad"] else 2
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return averages * _bytes(parameter for parameter in parameters if parameter not in optimizer.state)


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that operations make, from their making to their end.

    Args:
        there: Tensors that are not counted.

    Attributes:
        peak: Largest number of bytes that lived at once.
        sizes: Bytes of every storage, in the order in which they were made.
        course: Bytes that lived when each of them had been made.
    """

    def __init__(self, there: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self.sizes: list[int] = []
        self.course: list[int] = []
        self._live = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in there}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and see what it returns."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            # A sparse tensor is made of strided ones, which are seen when they are made.
            if isinstance(tensor, Tensor) and tensor.layout is torch.strided:
                self._see(tensor.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        size, address = storage.nbytes(), storage.data_ptr()
        if address in self._known:  # a view, or changed in place
            return
        self._known.add(address)
        self._live += size
        self.peak = max(self.peak, self._live)
        self.sizes.append(size)
        self.course.append(self._live)
        weakref.finalize(storage, self._end, address, size)

    def _end(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._live -= size


def _live_bytes(model: nn.Module, runtime: Runtime, images: int, size: Size, *, training: bool) -> LiveBytes:
    live = LiveBytes([*model.parameters(), *model.buffers()])
    with untouched(model), live:
        if training:
            train_mode(model)
        else:
            model.eval()
        pixels = torch.zeros(images, 3, *size, device=runtime.device).to(memory_format=runtime.memory_format)
        with torch.set_grad_enabled(training), runtime.autocast():
            model.forward(pixels)  # not model(...): it may be compiled, for other batches than these
    return live


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
