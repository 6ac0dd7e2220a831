"""How long forward passes take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from pochi_cli.engine.memory import is_out_of_memory
from pochi_cli.engine.preserving import untouched
from pochi_cli.inspection.model_costs import Speed, SpeedSweep, summarise
from pochi_cli.inspection.model_probing import batch_of

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_FEWEST_RUNS, _MOST_RUNS = 3, 50
_LONGEST_S = 0.2
"""For the runs of one batch size, unless the fewest take longer."""
_WARM_UPS = 2


def measure_speed(
    model: nn.Module,
    *inputs: Tensor,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    budget_s: float = 6.0,
    precision: str = "fp32",
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    on_batch_size: Callable[[], None] = lambda: None,
) -> SpeedSweep:
    """Measure forward passes in eval mode, without gradients, after warming up.

    Each run is timed for itself, and the device waited for. Larger batches are left out where what is left of
    the budget is likely to be too little for them, or where the memory is. Afterwards the model and all
    random states are bit-identical.

    Args:
        model: Any network, on the device of its inputs.
        inputs: Its positional arguments; the first dimension of each counts the samples. Batches are made of
            copies of the first.
        batch_sizes: Rising.
        budget_s: Seconds for all of them; the first is always measured.
        precision: What `autocast` makes of the arithmetic, for the record.
        autocast: Makes the context of the forward pass.
        on_batch_size: Called when one is done, or left out.
    """
    device = inputs[0].device if inputs else torch.device("cpu")
    speeds: list[Speed] = []
    end = time.perf_counter() + budget_s
    with untouched(model), torch.inference_mode(), autocast():
        model.eval()
        for position, batch_size in enumerate(batch_sizes):
            left = end - time.perf_counter()
            if speeds and left < _expected(speeds[-1], batch_size):
                break
            until = time.perf_counter() + min(_LONGEST_S, left / (len(batch_sizes) - position))
            try:
                durations = _durations(model, batch_of(inputs, batch_size), device, until)
            except (RuntimeError, MemoryError) as error:
                if not speeds or not is_out_of_memory(error):
                    raise
                break
            speeds.append(summarise(batch_size, durations))
            on_batch_size()
    for _ in batch_sizes[len(speeds) :]:
        on_batch_size()
    return SpeedSweep(
        speeds=tuple(speeds),
        left_out=tuple(batch_sizes[len(speeds) :]),
        device=str(device),
        threads=torch.get_num_threads() if device.type == "cpu" else None,
        precision=precision,
    )


def _expected(last: Speed, batch_size: int) -> float:
    """Expect how many seconds the fewest runs of a batch will take."""
    return (1 + _FEWEST_RUNS) * batch_size / last.batch_size * last.median_ms / 1000


def _durations(
    model: nn.Module, inputs: tuple[Tensor, ...], device: torch.device, until: float
) -> list[float]:
    for done in range(_WARM_UPS):
        model(*inputs)
        _wait(device)
        if done + 1 < _WARM_UPS and time.perf_counter() > until:
            break
    durations: list[float] = []
    while len(durations) < _FEWEST_RUNS or (len(durations) < _MOST_RUNS and time.perf_counter() < until):
        start = time.perf_counter()
        model(*inputs)
        _wait(device)
        durations.append(time.perf_counter() - start)
    return durations


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
