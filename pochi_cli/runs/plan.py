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
class VectorFacts:
    """What is known of vectors.

    Attributes:
        train_rows, val_rows: Rows to train on, and held out.
        dim: Dimensions of each.
    """

    train_rows: int
    val_rows: int
    dim: int


@dataclass(frozen=True)
class StepsPlan:
    """How an epoch is made up.

    Attributes:
        train_images, val_images: Images per epoch, or vectors.
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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a config of any task will do.

    Attributes:
        task: What is learnt.
        model_name: What the model is called.
        parameters, frozen_parameters: How many numbers the model holds, and is not to change, where known.
        steps: The epoch's make-up, where the data are known.
        accumulate_steps, epochs: As configured.
        optimizer, optimizer_params, scheduler, scheduler_params, warmup_epochs: As configured.
        extras: Regularisation and the like that is switched on, by key.
        rate_epochs: The epochs at which the groups list their rates.
        groups: The parameter groups.
        numbered_checkpoints: How many of them will be kept.
        writes: The files of the run.
        search: The table of the hyper-parameter search, if there is one.
        device, precision, seed: As configured; the device `auto` where none is.
    """

    task: str
    model_name: str
    parameters: int | None
    frozen_parameters: int | None
    steps: StepsPlan | None
    accumulate_steps: int
    epochs: int
    optimizer: str
    optimizer_params: dict[str, Any]
    scheduler: str | None
    scheduler_params: dict[str, Any] | None
    warmup_epochs: int
    extras: dict[str, Any]
    rate_epochs: tuple[int, ...]
    groups: tuple[RateGroup, ...]
    numbered_checkpoints: int
    writes: tuple[str, ...]
    search: dict[str, Any] | None
    device: str
    precision: str
    seed: int

    def to_record(self) -> dict[str, Any]:
        """Make a record for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class VectorPlan(Plan):
    """What an embedding config will do.

    Attributes:
        train_vectors, holdout, batch_size: As configured.
        dim: Dimensions of the vectors, where known.
        hidden_dims, latent_dim, init: As configured.
        loss: Its name and its arguments that differ from their defaults, by key.
        recall_ks, recall_every_epochs, metric: Which recalls are measured, and how often.
    """

    train_vectors: str
    holdout: float
    batch_size: int
    dim: int | None
    hidden_dims: tuple[int, ...]
    latent_dim: int
    init: str
    loss: dict[str, Any]
    recall_ks: tuple[int, ...]
    recall_every_epochs: int
    metric: str


@dataclass(frozen=True, kw_only=True)
class ImagePlan(Plan):
    """What a classification config will do.

    Attributes:
        stem: `small` or `imagenet`, `auto` while the images' size is not known; `None` without a choice.
        num_classes: Number of classes, where it is known.
        backbone_parameters: How many parameters the model holds without its head, where known.
        weights: `torchvision`, `random`, or a file.
        train_data, val_data: Where the images come from; `None` without validation.
        input_size, val_input_size: Height and width of the tensors, where known.
        batch_size: As configured.
        images_per_step: Images that an optimizer step takes.
        train_transform, val_transform: The steps with all their arguments.
        class_weights, channels_last, num_workers: As configured.
    """

    stem: str | None
    num_classes: int | None
    backbone_parameters: int | None
    weights: str
    train_data: str
    val_data: str | None
    input_size: Size | None
    val_input_size: Size | None
    batch_size: int | str
    images_per_step: int
    train_transform: tuple[dict[str, Any], ...]
    val_transform: tuple[dict[str, Any], ...] | None
    class_weights: str | tuple[float, ...]
    channels_last: str | bool
    num_workers: str | int
