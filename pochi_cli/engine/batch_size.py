"""Which batch size fits into memory: the choice for `auto`, and what to say when one did not."""

from __future__ import annotations

import copy
import gc
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.values import show_bytes
from pochi_cli.data.prepare import Data
from pochi_cli.engine.fit import validate
from pochi_cli.engine.footprint import Footprint, largest_batch, measure_footprint, missing_averages
from pochi_cli.engine.memory import held_memory, is_out_of_memory, share_of_memory
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.state import TrainingState
from pochi_cli.errors import MemoryExhaustedError
from pochi_cli.models.freezing import train_mode
from pochi_cli.models.sync_norm import synced_norms

_SPARED = 0.1
"""Share of the memory that a choice leaves free: how much the others take changes."""
_SMALLEST = 2
"""Batch normalisation cannot normalise one image."""

Need = Callable[[int, int], int | None]
"""Bytes that a batch_size with accumulate_steps takes; `None` where trying it ran out of memory."""


@dataclass(frozen=True)
class Cut:
    """How the images of an optimizer step are cut into batches.

    Attributes:
        batch_size, accumulate_steps: As in the config.
        needed: Bytes that it takes.
    """

    batch_size: int
    accumulate_steps: int
    needed: int


def even_cuts(images_per_step: int, most: int) -> list[tuple[int, int]]:
    """List batch_size and accumulate_steps of equal batches, the largest first.

    Args:
        images_per_step: Images that a step takes.
        most: Largest batch size wanted; two images are listed all the same.
    """
    most = max(most, _SMALLEST)
    counts = [count for count in range(1, images_per_step + 1) if images_per_step % count == 0]
    cuts = [(images_per_step // count, count) for count in counts]
    return [(size, count) for size, count in cuts if _SMALLEST <= size <= most]


def halved_cuts(images_per_step: int, most: int) -> list[tuple[int, int]]:
    """List the same for halves of halves, whose batches may make a step of a few images less."""
    counts = [2**power for power in range(images_per_step.bit_length())]
    cuts = [(images_per_step // count, count) for count in counts]
    return [(size, count) for size, count in cuts if _SMALLEST <= size <= most]


def first_fitting(cuts: Iterable[tuple[int, int]], need: Need, usable: float) -> Cut | None:
    """Find the first cut that fits into so many bytes; later ones are not tried."""
    for batch_size, accumulate_steps in cuts:
        needed = need(batch_size, accumulate_steps)
        if needed is not None and needed <= usable:
            return Cut(batch_size, accumulate_steps, needed)
    return None


def decide_batch_size(
    config: ClassificationConfig, data: Data, runtime: Runtime, state: TrainingState
) -> tuple[ClassificationConfig, tuple[str, ...]]:
    """Replace `batch_size = "auto"` by the largest that fits; neither model nor randomness changes.

    The images per step stay what they are, and so does the course of the training as far as it depends on
    them: only how many are computed at once depends on the machine.

    Returns:
        The config with batch_size and accumulate_steps, and what to tell the user.
    """
    if config.batch_size != "auto":
        return config, ()
    images, averages = config.images_per_step, missing_averages(state.optimizer)
    team = runtime.team
    told = [
        one for one in team.gather(share_of_memory(runtime.device, team.place.sharers)) if one is not None
    ]
    available = min(told, default=None)
    if available is None:
        found: Cut | None = Cut(images // config.accumulate_steps, config.accumulate_steps, 0)
        why = "the system does not tell how much memory there is"
    else:
        if runtime.device.type == "cuda":
            need = trial(state.model, averages, runtime, data)
        else:
            need = measure_footprint(config, data, runtime, state.model, averages).needed_bytes

        def need_of_one(batch_size: int, accumulate_steps: int) -> int | None:
            return need(-(-batch_size // team.size), accumulate_steps)

        cuts = even_cuts(images, len(data.train))
        found = first_fitting(cuts, need_of_one, _usable(available, runtime.device))
        why = f"{show_bytes(found.needed)} of {show_bytes(available)}" if found else ""
    found = team.first(found)
    if found is None:
        # The measurement is careful: whether they do fit, training tells.
        found = Cut(*even_cuts(images, _SMALLEST)[-1], 0)
        room = show_bytes(available or 0)
        text = f"batch_size auto: even {found.batch_size} images may not fit into {room}"
    else:
        text = f"batch_size auto: {found.batch_size} images fit ({why})"
    if found.accumulate_steps == 1:
        text += ", a whole step"
    else:
        text += f", so {found.accumulate_steps} batches make a step of {images} images"
    changes = {"batch_size": found.batch_size, "accumulate_steps": found.accumulate_steps}
    return config.model_copy(update=changes), (text,)


def trial(model: nn.Module, averages: int, runtime: Runtime, data: Data) -> Need:
    """Make a function that measures on a CUDA device what really running a step takes.

    Args:
        model: A copy of it is run.
        averages: Bytes that the optimizer will take.
        runtime: Device, precision and layout.
        data: Size and number of the images.
    """
    device = runtime.device

    def need(batch_size: int, accumulate_steps: int) -> int | None:
        images = largest_batch(batch_size, len(data.train))
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_reserved(device)
        try:
            with torch.random.fork_rng([device]):
                # Of a step's later batches all are alike: the gradients are there already.
                _run_step(model, averages, runtime, (images, 3, *data.size), min(accumulate_steps, 2))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            torch.cuda.empty_cache()
        return torch.cuda.max_memory_reserved(device) - before

    return need


def _run_step(
    model: nn.Module, averages: int, runtime: Runtime, shape: tuple[int, ...], batches: int
) -> None:
    """Run the batches of a step on a copy of the model, beside memory for the optimizer's averages."""
    held = torch.empty(averages, dtype=torch.uint8, device=runtime.device)
    copied = copy.deepcopy(model).to(memory_format=runtime.memory_format)
    train_mode(copied)
    for _ in range(batches):
        pixels = torch.zeros(shape, device=runtime.device).to(memory_format=runtime.memory_format)
        with runtime.autocast():
            logits = copied(pixels)
        loss = F.cross_entropy(
            logits.float(), torch.zeros(shape[0], dtype=torch.int64, device=runtime.device)
        )
        loss.backward()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(runtime.device)
    del held


_OTHER_WAYS = 'use smaller images, a smaller model or precision = "bf16", or free memory'


@contextmanager
def explaining_memory(
    config: ClassificationConfig, data: Data, runtime: Runtime, state: TrainingState
) -> Iterator[None]:
    """Tell of a lack of memory inside the block with numbers, and with a batch size that would fit.

    Raises:
        MemoryExhaustedError: Memory ran out.
    """
    averages = missing_averages(state.optimizer)
    held = held_memory(runtime.device)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        validating = any(frame.f_code is validate.__code__ for frame in frames)
        del frames
        _let_go(error, runtime, state)
        for norm in synced_norms(state.model):
            norm.is_whole = True  # the other processes do not take part in what is measured
        available = share_of_memory(runtime.device, runtime.team.place.sharers)
        if available is not None:
            # Not all that the steps took goes back to the system; the next process has it again.
            available += max(0, held_memory(runtime.device) - held)
        size = data.val_size if validating and data.val_size else data.size
        message = f"out of memory {'in validation ' if validating else ''}with batch_size {config.batch_size}"
        message += f" ({_described(config, size, runtime)})"
        try:
            footprint = measure_footprint(config, data, runtime, state.model, averages)
        except (RuntimeError, MemoryError) as second:
            if not is_out_of_memory(second):
                raise
            if available is not None:
                message += f": {show_bytes(available)} are left, too little to measure what would fit"
            hint = f"try batch_size = {_SMALLEST}; or {_OTHER_WAYS}"
            raise MemoryExhaustedError(message, hint=hint) from error
        text, hint = _numbers(config, footprint, available, runtime.team.size, validating=validating)
        raise MemoryExhaustedError(f"{message}: {text}", hint=hint) from error


def _let_go(error: BaseException, runtime: Runtime, state: TrainingState) -> None:
    """Free what the failed step holds: in its frames, in the allocator, and as gradients."""
    traceback.clear_frames(error.__traceback__)
    state.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if runtime.device.type == "cuda":
        torch.cuda.empty_cache()


def _numbers(
    config: ClassificationConfig,
    footprint: Footprint,
    available: int | None,
    processes: int,
    *,
    validating: bool,
) -> tuple[str, str]:
    """Say what a process needed and what there was for it, and what would fit."""

    def need(batch_size: int, accumulate_steps: int) -> int:
        if validating:
            return footprint.validation_bytes(batch_size)
        return footprint.needed_bytes(-(-batch_size // processes), accumulate_steps)

    needed = need(config.images_per_batch, config.accumulate_steps)
    text = f"a {'batch' if validating else 'step'} needs about {show_bytes(needed)}"
    # It did not fit, whatever the numbers say: they know nothing of what others took for a moment.
    usable = needed - 1.0
    if available is not None:
        text += f", {show_bytes(available)} are available"
        usable = min(usable, _usable(available, footprint.device))
    images = config.images_per_step
    whole = footprint.val_images if validating else footprint.train_images
    most = min(config.images_per_batch, whole) - 1
    cuts = sorted({*even_cuts(images, most), *halved_cuts(images, most)}, reverse=True)
    cut = first_fitting(cuts, need, usable)
    if cut is None:
        if config.images_per_batch <= _SMALLEST:
            return text, _OTHER_WAYS
        smallest = f"batch_size = {_SMALLEST} and accumulate_steps = {max(1, images // _SMALLEST)}"
        return text, f"try {smallest}, though even that may not fit; or {_OTHER_WAYS}"
    made = cut.batch_size * cut.accumulate_steps
    kept = f"the same {images}" if made == images else f"{made} instead of {images}"
    return text, (
        f"set batch_size = {cut.batch_size} and accumulate_steps = {cut.accumulate_steps} "
        f'(about {show_bytes(cut.needed)}, {kept} images per step), or batch_size = "auto"'
    )


def _described(config: ClassificationConfig, size: Size, runtime: Runtime) -> str:
    return f"3 x {size[0]} x {size[1]} px, {config.model_name}, {runtime.precision}, {runtime.device}"


def _usable(available: int, device: torch.device) -> float:
    whole = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else available
    return available - _SPARED * whole
