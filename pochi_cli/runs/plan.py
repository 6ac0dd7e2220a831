"""What a valid config will do, before anything is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pochi_cli.config.steps.arguments import Size


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data.

    Attributes:
        train_images: Images to train on.
        val_images: Images to validate on.
        class_names: The classes, in the order of their labels.
        input_size, val_input_size: Height and width of the tensors; `None` where they are not one for all, or
            there is no validation.
        left_out: Training images that cannot be decoded and are skipped; not counted above.
    """

    train_images: int
    val_images: int
    class_names: tuple[str, ...]
    input_size: Size | None
    val_input_size: Size | None
    left_out: int = 0


@dataclass(frozen=True)
class StepsPlan:
    """How an epoch is made up.

    Attributes:
        train_images, val_images: Images per epoch.
        left_out: Training images that are skipped; not counted above.
        batches_per_epoch: Batches to train on; `None` while the batches' size is not decided.
        steps_per_epoch: Steps of the optimizer.
        steps: Steps of the optimizer in all epochs.
    """

    train_images: int
    val_images: int
    batches_per_epoch: int | None
    steps_per_epoch: int
    steps: int
    left_out: int


@dataclass(frozen=True)
class RateGroup:
    """Parameters that share a learning rate.

    Attributes:
        pattern: The pattern that chooses them; `None` for those that no pattern matches.
        parameters: How many numbers they hold; `None` while the number of classes is not known.
        learning_rate: The configured rate.
        rates: The rates used, at the plan's `rate_epochs`.
    """

    pattern: str | None
    parameters: int | None
    learning_rate: float
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What a config will do.

    Attributes:
        model_name: The model.
        stem: `small` or `imagenet`, `auto` while the images' size is not known; `None` without a choice.
        num_classes: Number of classes, where it is known.
        parameters, frozen_parameters: How many numbers the model holds, and is not to change, where known.
        backbone_parameters: How many it holds without its head, where known.
        weights: `torchvision`, `random`, or a file.
        train_data, val_data: Where the images come from; `None` without validation.
        input_size, val_input_size: Height and width of the tensors, where known.
        steps: The epoch's make-up, where the data are known.
        batch_size, accumulate_steps, epochs: As configured.
        images_per_step: Images that an optimizer step takes.
        train_transform, val_transform: The steps with all their arguments.
        optimizer, optimizer_params, scheduler, scheduler_params, warmup_epochs: As configured.
        extras: Regularisation and the like that is switched on, by key.
        class_weights: As configured.
        rate_epochs: The epochs at which the groups list their rates.
        groups: The parameter groups.
        numbered_checkpoints: How many of them will be kept.
        writes: The files of the run.
        search: The table of the hyper-parameter search, if there is one.
        device, precision, channels_last, num_workers, seed: As configured; the device `auto` where none is.
    """

    model_name: str
    stem: str | None
    num_classes: int | None
    parameters: int | None
    frozen_parameters: int | None
    backbone_parameters: int | None
    weights: str
    train_data: str
    val_data: str | None
    input_size: Size | None
    val_input_size: Size | None
    steps: StepsPlan | None
    batch_size: int | str
    accumulate_steps: int
    images_per_step: int
    epochs: int
    train_transform: tuple[dict[str, Any], ...]
    val_transform: tuple[dict[str, Any], ...] | None
    optimizer: str
    optimizer_params: dict[str, Any]
    scheduler: str | None
    scheduler_params: dict[str, Any] | None
    warmup_epochs: int
    extras: dict[str, Any]
    class_weights: str | tuple[float, ...]
    rate_epochs: tuple[int, ...]
    groups: tuple[RateGroup, ...]
    numbered_checkpoints: int
    writes: tuple[str, ...]
    search: dict[str, Any] | None
    device: str
    precision: str
    channels_last: str | bool
    num_workers: str | int
    seed: int

    def to_record(self) -> dict[str, Any]:
        """Make a record for JSON."""
        return asdict(self)
