"""What a step of a classifier's training computes, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from torch import Tensor, nn

from pochi_cli.data.batches import Loader
from pochi_cli.data.datasets import Batch
from pochi_cli.data.shares import Portion, whole
from pochi_cli.engine.distributed import counting
from pochi_cli.engine.evaluate import evaluate
from pochi_cli.engine.features import Tail
from pochi_cli.engine.losses import CrossEntropy, SampleLosses
from pochi_cli.engine.mixing import Mixing, NoMixing
from pochi_cli.engine.objectives import EpochFacts, Metrics, StepInput, Watch
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.totals import ClassificationTotals
from pochi_cli.runs.epochs import ClassificationEpoch


class ClassificationObjective:
    """Cross-entropy, with MixUp or CutMix and label smoothing in training only.

    Args:
        training_loss: With label smoothing.
        validation_loss: Without.
        mixing: MixUp, CutMix or neither.
        runtime: Device, precision and layout.
        validation: The validation data, if there are any.
        tail: What computes the logits from features, if those are what a batch holds.
    """

    metrics = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")

    def __init__(
        self,
        training_loss: CrossEntropy,
        validation_loss: CrossEntropy,
        mixing: Mixing | NoMixing,
        runtime: Runtime,
        validation: Loader[Batch] | None,
        tail: Tail | None = None,
    ) -> None:
        self._team = runtime.team
        self._tail = tail
        self._training_loss = training_loss.to(runtime.device)
        self._validation_loss = validation_loss.to(runtime.device)
        self._mixing = mixing
        self._runtime = runtime
        self._validation = validation

    def totals(self) -> ClassificationTotals:
        """Begin to sum what an epoch gives."""
        return ClassificationTotals(self._runtime)

    def prepare(self, batch: Batch, epoch: int, number: int) -> StepInput:
        """Move a batch to the device, mix and weigh it."""
        moved = _moved(batch, self._runtime)
        portion = batch.portion or whole(len(batch))
        images, targets = self._mixed(moved.images, moved.labels, portion, epoch, number)
        weight = self._training_loss.weight_of(targets)
        return StepInput(images, targets, weight, portion, *counting(self._team, portion))

    def _mixed(
        self, images: Tensor, labels: Tensor, portion: Portion, epoch: int, number: int
    ) -> tuple[Tensor, Tensor]:
        """Mix images with any of the whole batch, whichever process has loaded them."""
        if isinstance(self._mixing, NoMixing) or portion.is_whole:
            return self._mixing(images, labels, epoch, number)
        all_images, all_labels = (self._team.merge(part, portion) for part in (images, labels))
        mixed, targets = self._mixing(all_images, all_labels, epoch, number)
        own = slice(portion.start, portion.stop)
        return mixed[own].contiguous(memory_format=self._runtime.memory_format), targets[own]

    def outputs(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Compute the logits of images, or of their features."""
        outputs: Tensor = model(inputs) if self._tail is None else self._tail(model, inputs)
        return outputs

    def training_losses(self, outputs: Tensor, step: StepInput) -> SampleLosses:
        """Compute the smoothed, weighted cross-entropy of each sample."""
        losses: SampleLosses = self._training_loss(outputs, step.targets)
        return losses

    def validate(self, model: nn.Module, epoch: int, watch: Watch) -> Metrics:  # noqa: ARG002
        """Compute loss and accuracy over all validation images, independent of the batches' sizes."""
        assert self._validation is not None
        means = evaluate_images(
            model,
            partial(self.outputs, model),
            self._validation_loss,
            self._validation.batches(epoch=0),
            len(self._validation),
            self._runtime,
            watch,
        )
        return {f"val_{name}": mean for name, mean in means.items()}

    def noticed(self) -> Sequence[str]:
        """Nothing is."""
        return ()

    def record(
        self, facts: EpochFacts, means: Mapping[str, float], validation: Metrics | None
    ) -> ClassificationEpoch:
        """Make the record of an epoch."""
        train = {f"train_{name}": mean for name, mean in means.items()}
        return ClassificationEpoch(**asdict(facts), **train, **(validation or {}))  # type: ignore[arg-type]  # by name


def evaluate_images(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    loss: CrossEntropy,
    batches: Iterable[tuple[int, Batch]],
    count: int,
    runtime: Runtime,
    watch: Watch,
) -> dict[str, float]:
    """Compute loss and accuracy over all images; both are independent of the batches' sizes.

    Args:
        model: Set to eval mode.
        forward: What computes its logits from a batch.
        loss: On the device.
        batches: Numbered, on the CPU; those that this process takes.
        count: How many there are in all.
        runtime: Device, precision and layout.
        watch: Told of each batch's logits and labels.

    Returns:
        `loss`, sum(w_i l_i) / sum(w_i), and `accuracy` in percent.
    """

    def losses(outputs: Tensor, step: StepInput) -> SampleLosses:
        found: SampleLosses = loss(outputs, step.targets)
        return found

    def steps() -> Iterator[tuple[int, StepInput]]:
        for number, batch in batches:
            moved = _moved(batch, runtime)
            weight = loss.weight_of(moved.labels)
            yield number, StepInput(moved.images, moved.labels, weight, whole(len(batch)))

    totals = ClassificationTotals(runtime)
    return evaluate(model, forward, losses, steps(), count, totals, runtime, watch)


def _moved(batch: Batch, runtime: Runtime) -> Batch:
    return batch.to(runtime.device, channels_last=runtime.channels_last)
