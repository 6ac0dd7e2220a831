"""Sums over an epoch that stay on the device until they are asked for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

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


class EpochTotals(ABC):
    """Sums over an epoch; adding to them never waits for the device.

    What is added counts once it is settled, so that processes can put theirs together before.

    Args:
        runtime: Device and dtype of the sums.
        size: How many there are; the last counts the samples.
    """

    def __init__(self, runtime: Runtime, size: int) -> None:
        self._sums = torch.zeros(size, dtype=runtime.sum_dtype, device=runtime.device)
        self._open = torch.zeros_like(self._sums)

    @abstractmethod
    def add(self, losses: SampleLosses, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            losses: Of the batch.
            outputs: The model's, (N, ...).
            targets: What they are compared with, (N, ...).
        """

    @abstractmethod
    def means_of(self, sums: Sequence[float]) -> dict[str, float]:
        """Name the means that sums as `state` gives them amount to; NaN before the first sample."""

    @torch.no_grad()
    def _add(self, sums: Sequence[Tensor], samples: int) -> None:
        dtype = self._sums.dtype
        count = torch.full((), float(samples), dtype=dtype, device=self._sums.device)
        self._open += torch.stack([*(part.to(dtype) for part in sums), count])

    def take(self) -> Tensor:
        """Take what was added since the last time, (sums,)."""
        taken, self._open = self._open, torch.zeros_like(self._sums)
        return taken

    def settle(self, taken: Tensor) -> None:
        """Count what was taken, by this process or by several."""
        self._sums += taken.to(self._sums)  # what several put together comes from the CPU

    def read(self) -> dict[str, float]:
        """Wait for the device, and tell the means so far by their names."""
        return self.means_of(self.state())

    def count(self) -> int:
        """Wait for the device, and count the samples of the epoch, those of earlier sessions included."""
        return int(self._sums[-1])

    def state(self) -> list[float]:
        """The sums as plain numbers, exact in float64."""
        sums: list[float] = self._sums.tolist()
        return sums

    def restore(self, state: list[float]) -> None:
        """Go on from the sums of an interrupted epoch."""
        self._sums.copy_(torch.tensor(state, dtype=self._sums.dtype))


class ClassificationTotals(EpochTotals):
    """Loss and accuracy (in percent) of a classifier; outputs are logits (N, K).

    Targets are labels, int64 (N,), or probabilities (N, K), whose largest counts as the label.

    Args:
        runtime: Device and dtype of the sums.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime, 4)

    @torch.no_grad()
    def add(self, losses: SampleLosses, outputs: Tensor, targets: Tensor) -> None:
        """Add loss, weight and correct predictions of a batch."""
        truth = targets.argmax(1) if targets.is_floating_point() else targets
        loss = losses.losses.to(self._sums.dtype).sum()
        self._add([loss, losses.weight, (outputs.argmax(1) == truth).sum()], len(truth))

    def means_of(self, sums: Sequence[float]) -> dict[str, float]:
        """`loss` and `accuracy`."""
        loss, weight, correct, count = sums
        return {
            "loss": loss / weight if weight else math.nan,
            "accuracy": 100 * correct / count if count else math.nan,
        }


class DistanceTotals(EpochTotals):
    """The losses of an encoder, means over the batches weighted by their sizes.

    Args:
        runtime: Device and dtype of the sums.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime, 4)

    @torch.no_grad()
    def add(self, losses: SampleLosses, outputs: Tensor, targets: Tensor) -> None:  # noqa: ARG002
        """Add the losses of a batch, of which several processes may have computed outputs."""
        assert losses.terms is not None
        self._add([losses.losses.sum(), *losses.terms], len(targets))

    def means_of(self, sums: Sequence[float]) -> dict[str, float]:
        """`total_loss`, `rank_loss` and `pairdist_loss`."""
        *losses, count = sums
        names = ("total_loss", "rank_loss", "pairdist_loss")
        return {name: loss / count if count else math.nan for name, loss in zip(names, losses, strict=True)}


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
