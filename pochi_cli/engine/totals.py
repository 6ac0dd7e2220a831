"""Sums over an epoch that stay on the device until they are asked for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pochi_cli.engine.losses import SampleLosses
from pochi_cli.engine.runtime import Runtime
from pochi_cli.errors import NonFiniteLossError

_NEVER = 2**62
_REMEDY = (
    'lower learning_rate, add warmup_epochs or clip_grad_norm, or use precision = "fp32"; '
    "what was saved last is kept"
)


class EpochTotals:
    """Sums of loss, weight, correct predictions and samples; adding to them never waits for the device.

    Args:
        runtime: Device and dtype of the sums.

    Attributes:
        images: Samples that this process added.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._sums = torch.zeros(4, dtype=runtime.sum_dtype, device=runtime.device)
        self.images = 0

    @torch.no_grad()
    def add(self, losses: SampleLosses, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            losses: Of the batch.
            logits: (N, K).
            labels: int64 (N,), or probabilities (N, K), whose largest counts as the label.
        """
        truth = labels.argmax(1) if labels.is_floating_point() else labels
        dtype = self._sums.dtype
        self._sums += torch.stack(
            [
                losses.losses.to(dtype).sum(),
                losses.weight.to(dtype),
                (logits.argmax(1) == truth).sum().to(dtype),
                torch.full((), float(len(truth)), dtype=dtype, device=self._sums.device),
            ]
        )
        self.images += len(truth)

    def read(self) -> tuple[float, float]:
        """Wait for the device.

        Returns:
            Mean loss, and accuracy in percent; NaN for both before the first sample.
        """
        loss, weight, correct, count = self._sums.tolist()
        if count == 0:
            return math.nan, math.nan
        return loss / weight, 100 * correct / count

    def count(self) -> int:
        """Wait for the device, and count the samples of the epoch, those of earlier sessions included."""
        return int(self._sums[3])

    def state(self) -> list[float]:
        """The sums as plain numbers, exact in float64."""
        sums: list[float] = self._sums.tolist()
        return sums

    def restore(self, state: list[float]) -> None:
        """Go on from the sums of an interrupted epoch."""
        self._sums.copy_(torch.tensor(state, dtype=self._sums.dtype))


class FiniteGuard:
    """Remembers on the device the first step whose loss was not finite.

    Args:
        runtime: Its device.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._first = torch.full((), _NEVER, dtype=torch.int64, device=runtime.device)
        # Reading costs nothing on the CPU; on other devices it would stop the pipeline at every step.
        self.checks_every_step = runtime.device.type == "cpu"

    @torch.no_grad()
    def see(self, loss: Tensor, step: int) -> None:
        """Look at a step's loss without waiting for the device."""
        keep = torch.isfinite(loss) | (self._first != _NEVER)
        self._first = torch.where(keep, self._first, step)

    def check(self, model: torch.nn.Module, epoch: int, now: int) -> None:
        """Wait for the device, and stop if a loss was not finite.

        Args:
            model: With its gradients.
            epoch: From 1.
            now: The step that they are of.

        Raises:
            NonFiniteLossError: Names the step and, if it was this very one, the first parameter whose
                gradient is not finite: later none is.
        """
        step = int(self._first)
        if step == _NEVER:
            return
        place = f"the loss is not finite at epoch {epoch}, step {step}"
        if step != now:
            raise NonFiniteLossError(f"{place} (seen at step {now})", _REMEDY)
        culprit = next(
            (
                name
                for name, parameter in model.named_parameters()
                if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
            ),
            None,
        )
        where = f"; the first parameter with a gradient that is not finite is {culprit}" if culprit else ""
        raise NonFiniteLossError(f"{place}{where}", _REMEDY)


@torch.no_grad()
def check_weights(model: torch.nn.Module, epoch: int, step: int) -> None:
    """Wait for the device, and stop if a step left a weight or a running statistic that is not finite.

    Its loss may have been finite: the next one would tell, after such weights had been saved.

    Raises:
        NonFiniteLossError: Names the first of them.
    """
    named = [(name, value) for name, value in model.state_dict().items() if value.is_floating_point()]
    finite = torch.stack([torch.isfinite(value).all() for _, value in named]).tolist()
    if not all(finite):
        name, _ = named[finite.index(False)]
        raise NonFiniteLossError(f"{name} is not finite after epoch {epoch}, step {step}", _REMEDY)
