"""What a valid config will do, before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pochi_cli.config.batches import batch_starts
from pochi_cli.config.catalogue import CATALOGUE, parameter_counts, uses_small_stem
from pochi_cli.config.data import NAMED_DATASETS
from pochi_cli.config.patterns import assign, matches
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.schedule import learning_rate
from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.nested import AnyStep, final_size
from pochi_cli.runs.layout import RunLayout

_MOST_RATES = 1000
"""Epochs whose rates a plan lists; of more, evenly spread ones."""


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
        batches_per_epoch: Batches to train on.
        steps_per_epoch: Steps of the optimizer.
        steps: Steps of the optimizer in all epochs.
    """

    train_images: int
    val_images: int
    batches_per_epoch: int
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
        train_transform, val_transform: The steps with all their arguments.
        optimizer, optimizer_params, scheduler, scheduler_params, warmup_epochs: As configured.
        extras: Regularisation and the like that is switched on, by key.
        class_weights: As configured.
        rate_epochs: The epochs at which the groups list their rates.
        groups: The parameter groups.
        numbered_checkpoints: How many of them will be kept.
        writes: The files of the run.
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
    batch_size: int
    accumulate_steps: int
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
    device: str
    precision: str
    channels_last: str | bool
    num_workers: str | int
    seed: int

    def to_record(self) -> dict[str, Any]:
        """Make a record for JSON."""
        return asdict(self)


def make_plan(config: ClassificationConfig, facts: DataFacts | None = None) -> Plan:
    """Work out what training a config will do.

    Args:
        config: The config.
        facts: What is known of the data, if they were looked at.
    """
    facts = facts or _known_facts(config)
    num_classes = len(facts.class_names) if facts else config.num_classes
    size = facts.input_size if facts else final_size(config.train_transform)
    val_steps = config.val_transform
    stem = _stem(config, size)
    is_counted = num_classes is not None and stem != "auto"
    counts = parameter_counts(config.model_name, num_classes or 1, small_stem=stem == "small")
    frozen = {name for name in counts if any(matches(pattern, name) for pattern in config.freeze)}
    epochs = _sampled(config.epochs)
    return Plan(
        model_name=config.model_name,
        stem=stem,
        num_classes=num_classes,
        parameters=sum(counts.values()) if is_counted else None,
        frozen_parameters=sum(counts[name] for name in frozen) if is_counted else None,
        backbone_parameters=None if stem == "auto" else _backbone(config, counts),
        weights=config.weights or ("torchvision" if config.pretrained else "random"),
        train_data=config.train_data_root or config.dataset,
        val_data=_validation(config),
        input_size=size,
        val_input_size=facts.val_input_size if facts else _val_size(config),
        steps=_steps(config, facts) if facts else None,
        batch_size=config.batch_size,
        accumulate_steps=config.accumulate_steps,
        epochs=config.epochs,
        train_transform=_dumped(config.train_transform, config),
        val_transform=None if val_steps is None else _dumped(val_steps, config),
        optimizer=config.optimizer,
        optimizer_params=config.optimizer_params.model_dump(mode="json"),
        scheduler=config.scheduler,
        scheduler_params=(
            None if config.scheduler_params is None else config.scheduler_params.model_dump(mode="json")
        ),
        warmup_epochs=config.warmup_epochs,
        extras=_extras(config),
        class_weights=config.class_weights,
        rate_epochs=epochs,
        groups=tuple(_groups(config, counts, frozen, epochs, is_counted=is_counted)),
        numbered_checkpoints=-(-config.epochs // config.save_interval),
        writes=tuple(_writes(config)),
        device=config.device or "auto",
        precision=config.precision,
        channels_last=config.channels_last,
        num_workers=config.num_workers,
        seed=config.seed,
    )


def _known_facts(config: ClassificationConfig) -> DataFacts | None:
    named = NAMED_DATASETS.get(config.dataset)
    if named is None or config.val_split is not None:
        return None
    return DataFacts(
        named.train_images,
        named.val_images,
        named.class_names,
        final_size(config.train_transform, named.image_size),
        _val_size(config, named.image_size),
    )


def _val_size(config: ClassificationConfig, image_size: Size | None = None) -> Size | None:
    return None if config.val_transform is None else final_size(config.val_transform, image_size)


def _stem(config: ClassificationConfig, size: Size | None) -> str | None:
    if not CATALOGUE[config.model_name].has_small_stem:
        return None
    if config.stem == "auto" and size is not None:
        return "small" if uses_small_stem(config.model_name, config.stem, size) else "imagenet"
    return config.stem


def _backbone(config: ClassificationConfig, counts: Mapping[str, int]) -> int:
    head = f"{CATALOGUE[config.model_name].head}."
    return sum(count for name, count in counts.items() if not name.startswith(head))


def _sampled(epochs: int) -> tuple[int, ...]:
    if epochs <= _MOST_RATES:
        return tuple(range(1, epochs + 1))
    return tuple(1 + position * (epochs - 1) // (_MOST_RATES - 1) for position in range(_MOST_RATES))


def _validation(config: ClassificationConfig) -> str | None:
    if config.val_data_root is not None:
        return config.val_data_root
    if config.val_split is not None:
        return f"{100 * config.val_split:g} % of the training data, class by class"
    return config.dataset if config.has_validation else None


def _steps(config: ClassificationConfig, facts: DataFacts) -> StepsPlan:
    # A skipped image leaves its place in a batch empty: batches and steps stay as many.
    batches = len(batch_starts(facts.train_images + facts.left_out, config.batch_size))
    steps = -(-batches // config.accumulate_steps)
    return StepsPlan(
        facts.train_images, facts.val_images, batches, steps, steps * config.epochs, facts.left_out
    )


def _dumped(steps: Iterable[AnyStep], config: ClassificationConfig) -> tuple[dict[str, Any], ...]:
    """Write steps with all their arguments; Normalize with the config's mean and std where it has none."""
    dumped = [step.model_dump(mode="json", exclude_none=True) for step in steps]
    for step in dumped:
        if step["name"] == "Normalize":
            step.setdefault("mean", list(config.mean))
            step.setdefault("std", list(config.std))
    return tuple(dumped)


def _extras(config: ClassificationConfig) -> dict[str, Any]:
    names = ("label_smoothing", "mixup_alpha", "cutmix_alpha", "clip_grad_norm", "ema_decay", "freeze")
    extras: dict[str, Any] = {name: value for name in names if (value := getattr(config, name))}
    if config.sampler != "shuffle":
        extras["sampler"] = config.sampler
    if config.early_stopping.enabled:
        extras["early_stopping"] = config.early_stopping.model_dump(mode="json", exclude={"enabled"})
    return extras


def _groups(
    config: ClassificationConfig,
    counts: Mapping[str, int],
    frozen: set[str],
    epochs: tuple[int, ...],
    *,
    is_counted: bool,
) -> Iterable[RateGroup]:
    chosen = assign(config.layer_rates, (name for name in counts if name not in frozen))
    for pattern, base in (*config.layer_rates.items(), (None, config.learning_rate)):
        names = [name for name, by in chosen.items() if by == pattern]
        if names:
            rates = tuple(learning_rate(config, base, epoch) for epoch in epochs)
            yield RateGroup(pattern, sum(counts[name] for name in names) if is_counted else None, base, rates)


def _writes(config: ClassificationConfig) -> Iterable[str]:
    layout = RunLayout(Path(config.work_dir) / "<date>_<number>", "<time>")
    yield from map(str, (layout.config_toml, layout.config_json, layout.run_json, layout.history_json))
    yield str(layout.log)
    yield str(layout.latest_model)
    if config.has_validation:
        yield str(layout.best_model)
    yield str(layout.models / layout.checkpoint_pattern)
    if config.enable_metrics_export:
        kinds = ["loss", "accuracy", *(["layer_wise_lr"] if config.layer_rates else [])]
        yield str(layout.metrics_csv)
        yield from (str(layout.metrics_figure(kind)) for kind in kinds)
