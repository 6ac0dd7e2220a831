"""What a step computes. The loop knows a task only through this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

from pochi_cli.data.batches import Loader, Loaders
from pochi_cli.data.shares import Portion
from pochi_cli.engine.losses import SampleLosses
from pochi_cli.engine.totals import EpochTotals
from pochi_cli.runs.epochs import EpochRecord

B_contra = TypeVar("B_contra", contravariant=True)

Metrics = Mapping[str, float | None]
"""What was measured of a model, by the names that its task's records have for it."""

OnBatch = Callable[[int, Tensor, Tensor], None]
"""Told the number of batches done, and outputs and targets of the last one."""


@dataclass(frozen=True)
class Watch:
    """Who is told while a model is judged.

    Attributes:
        batch: Told of each batch.
        round: Told the number of batches done, each time that every process has done one.
        is_gathered: Whether `batch` is told of those of other processes, too.
    """

    batch: OnBatch
    round: Callable[[int], None] = lambda _: None
    is_gathered: bool = False


@dataclass(frozen=True)
class StepInput:
    """A batch as the model gets it.

    Attributes:
        inputs: float32 (N, ...), on the device: images (N, 3, H, W) or vectors (N, D).
        targets: Labels int64 (N,), probabilities float32 (N, K) after mixing; of vectors the inputs
            themselves.
        weight: Sum of the samples' weights, float32 ().
        portion: What of a batch they are that several processes share.
        is_counted: Whether losses and weight are part of the sums: one process counts what all compute.
        scale: By which the loss is multiplied, so that the mean over the processes is the sum over portions.
    """

    inputs: Tensor
    targets: Tensor
    weight: Tensor
    portion: Portion
    is_counted: bool = True
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class EpochFacts:
    """What the loop itself knows of an epoch: the fields of `EpochRecord`."""

    epoch: int
    learning_rate: float
    layer_rates: Mapping[str, float]
    duration_s: float
    samples_per_second: float
    waiting_share: float


class Objective(Protocol[B_contra]):
    """What is learnt from a batch, and how it is judged.

    Attributes:
        metrics: Names of what the record of an epoch holds, in their order.
    """

    @property
    def metrics(self) -> Sequence[str]:
        """Names of what the record of an epoch holds, in their order."""

    def totals(self) -> EpochTotals:
        """Begin to sum what an epoch gives."""

    def prepare(self, batch: B_contra, epoch: int, number: int) -> StepInput:
        """Turn batch `number` of an epoch into what a training step takes, on the device."""

    def outputs(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Compute the model's outputs from the inputs of a step."""

    def training_losses(self, outputs: Tensor, step: StepInput) -> SampleLosses:
        """Compute what is minimised."""

    def validate(self, model: nn.Module, epoch: int, watch: Watch) -> Metrics:
        """Judge a model on the validation data, which there are."""

    def noticed(self) -> Sequence[str]:
        """List what is doubtful and has not been told yet."""

    def record(
        self, facts: EpochFacts, means: Mapping[str, float], validation: Metrics | None
    ) -> EpochRecord:
        """Make the record of an epoch.

        Args:
            facts: What the loop knows of it.
            means: As the epoch's totals give them.
            validation: As `validate` gives it; `None` without validation data.
        """


class Parts(NamedTuple):
    """What of a task the loop works with. What a batch is only the two know, of each other.

    Attributes:
        loaders: The data.
        objective: What a step computes.
        messages, warnings: What to tell the user of how the data are loaded.
        settings: The same, as a run records it.
    """

    loaders: Loaders[Loader[Any]]
    objective: Objective[Any]
    messages: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = MappingProxyType({})
