"""From a config to its plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pochi_cli.config.batches import batch_starts
from pochi_cli.config.catalogue import CATALOGUE, parameter_counts, uses_small_stem
from pochi_cli.config.named_datasets import NAMED_DATASETS, NamedDataset, PublishedName
from pochi_cli.config.patterns import assign, matches
from pochi_cli.config.root import ClassificationConfig, Config, EmbeddingConfig
from pochi_cli.config.schedule import learning_rate
from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.nested import AnyStep, final_size
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.plan import DataFacts, ImagePlan, Plan, RateGroup, StepsPlan, VectorFacts, VectorPlan

_MOST_RATES = 1000
"""Epochs whose rates a plan lists; of more, evenly spread ones."""


def make_plan(config: Config, facts: DataFacts | VectorFacts | None = None) -> Plan:
    """Work out what training a config will do.

    Args:
        config: The config.
        facts: What is known of the data, if they were looked at.
    """
    if isinstance(config, ClassificationConfig):
        assert not isinstance(facts, VectorFacts)
        return _image_plan(config, facts)
    assert not isinstance(facts, DataFacts)
    return _vector_plan(config, facts)


def _shared(
    config: Config, counts: Mapping[str, int], uncounted: set[str], *, is_counted: bool
) -> dict[str, Any]:
    """Work out the fields that the plans of all tasks have.

    Args:
        config: The config.
        counts: How many numbers each parameter holds.
        uncounted: Parameters of which that is not known.
        is_counted: Whether it is known of the whole model.
    """
    frozen = {name for name in counts if any(matches(pattern, name) for pattern in config.freeze)}
    epochs = _sampled(config.epochs)
    return {
        "task": config.task,
        "model_name": config.network,
        "parameters": sum(counts.values()) if is_counted else None,
        "frozen_parameters": sum(counts[name] for name in frozen) if is_counted else None,
        "accumulate_steps": config.accumulate_steps,
        "epochs": config.epochs,
        "optimizer": config.optimizer,
        "optimizer_params": config.optimizer_params.model_dump(mode="json"),
        "scheduler": config.scheduler,
        "scheduler_params": (
            None if config.scheduler_params is None else config.scheduler_params.model_dump(mode="json")
        ),
        "warmup_epochs": config.warmup_epochs,
        "extras": _extras(config),
        "rate_epochs": epochs,
        "groups": tuple(_groups(config, counts, frozen, epochs, uncounted)),
        "numbered_checkpoints": -(-config.epochs // config.save_interval),
        "writes": tuple(_writes(config)),
        "search": None if config.optuna is None else config.optuna.model_dump(mode="json", exclude_none=True),
        "device": config.device or "auto",
        "precision": config.precision,
        "seed": config.seed,
    }


def _vector_plan(config: EmbeddingConfig, facts: VectorFacts | None) -> VectorPlan:
    dim = None if facts is None else facts.dim
    counts = encoder_parameters(config, dim or 0)
    first = {"projection.weight", f"{'hidden.0' if config.hidden_dims else config.head}.weight"}
    steps = None
    if facts is not None:
        batches = len(batch_starts(facts.train_rows, config.batch_size))
        per_epoch = -(-batches // config.accumulate_steps)
        steps = StepsPlan(
            facts.train_rows, facts.val_rows, batches, per_epoch, per_epoch * config.epochs, left_out=0
        )
    return VectorPlan(
        **_shared(config, counts, set() if dim else first & counts.keys(), is_counted=dim is not None),
        steps=steps,
        train_vectors=config.train_vectors,
        holdout=config.holdout,
        batch_size=config.batch_size,
        dim=dim,
        hidden_dims=config.hidden_dims,
        latent_dim=config.latent_dim,
        init=config.init,
        loss={"loss_function": config.loss_function, **config.loss_arguments()},
        recall_ks=config.measured_ks,
        recall_every_epochs=config.recall_every_epochs or config.save_interval,
        metric=config.metric,
    )


def encoder_parameters(config: EmbeddingConfig, dim: int) -> dict[str, int]:
    """Count the numbers of an encoder's parameters, by their names.

    Args:
        config: Widths and start.
        dim: Dimensions of the vectors.
    """
    widths = [dim, *config.hidden_dims, config.latent_dim]
    shapes = list(pairwise(widths))
    if config.init == "pca_residual":
        shapes.insert(0, (dim, config.latent_dim))
    sizes = [size for before, after in shapes for size in (before * after, after)]
    return dict(zip(config.parameter_names, sizes, strict=True))


def _image_plan(config: ClassificationConfig, facts: DataFacts | None) -> ImagePlan:
    named = NAMED_DATASETS.get(config.dataset)
    image_size = named.image_size if named else None
    facts = facts or _known_facts(config, named)
    size = facts.input_size if facts else final_size(config.train_transform, image_size)
    num_classes = len(facts.class_names) if facts else config.num_classes
    if named and num_classes is None:
        num_classes = len(named.class_names)
    val_steps = config.val_transform
    stem = _stem(config, size)
    is_counted = num_classes is not None and stem != "auto"
    edge = size[0] if size else None
    counts = parameter_counts(config.model_name, num_classes or 1, small_stem=stem == "small", edge=edge)
    uncounted = _uncounted(config, num_classes, stem, counts)
    return ImagePlan(
        **_shared(config, counts, uncounted, is_counted=is_counted),
        stem=stem,
        num_classes=num_classes,
        backbone_parameters=None if stem == "auto" else _backbone(config, counts),
        weights=config.weights or ("torchvision" if config.pretrained else "random"),
        train_data=_training(config),
        val_data=_validation(config),
        input_size=size,
        val_input_size=facts.val_input_size if facts else _val_size(config, image_size),
        steps=_steps(config, facts) if facts else None,
        batch_size=config.batch_size,
        images_per_step=config.images_per_step,
        train_transform=_dumped(config.train_transform, config),
        val_transform=None if val_steps is None else _dumped(val_steps, config),
        class_weights=config.class_weights,
        channels_last=config.channels_last,
        num_workers=config.num_workers,
    )


def _known_facts(config: ClassificationConfig, named: NamedDataset | None) -> DataFacts | None:
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


def _uncounted(
    config: ClassificationConfig, num_classes: int | None, stem: str | None, counts: Mapping[str, int]
) -> set[str]:
    """Find the parameters of unknown size: the head without the classes, the stem without the images."""
    head = f"{CATALOGUE[config.model_name].head}."
    unknown = {name for name in counts if name.startswith(head)} if num_classes is None else set()
    return unknown | ({"conv1.weight"} if stem == "auto" else set())


def _sampled(epochs: int) -> tuple[int, ...]:
    if epochs <= _MOST_RATES:
        return tuple(range(1, epochs + 1))
    return tuple(1 + position * (epochs - 1) // (_MOST_RATES - 1) for position in range(_MOST_RATES))


def _training(config: ClassificationConfig) -> str:
    if config.train_data_root is None:
        return config.dataset
    is_folder = config.dataset == "folder"
    return config.train_data_root if is_folder else f"{config.dataset} in {config.train_data_root}"


def _validation(config: ClassificationConfig) -> str | None:
    if config.val_data_root is not None:
        return config.val_data_root
    if config.val_split is not None:
        return f"{100 * config.val_split:g} % of the training data, class by class"
    if config.dataset in get_args(PublishedName):
        return f"{config.dataset}, its official test part"
    return config.dataset if config.has_validation else None


def _steps(config: ClassificationConfig, facts: DataFacts) -> StepsPlan:
    # A skipped image leaves its place in a batch empty: batches and steps stay as many.
    images = facts.train_images + facts.left_out
    if config.batch_size == "auto":  # however a step is cut into batches, there are as many steps
        batches, steps = None, len(batch_starts(images, config.images_per_step))
    else:
        batches = len(batch_starts(images, config.batch_size))
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


def _extras(config: Config) -> dict[str, Any]:
    names = ("label_smoothing", "mixup_alpha", "cutmix_alpha", "clip_grad_norm", "ema_decay", "freeze")
    extras: dict[str, Any] = {name: value for name in names if (value := getattr(config, name, None))}
    if isinstance(config, ClassificationConfig) and config.sampler != "shuffle":
        extras["sampler"] = config.sampler
    if config.early_stopping.enabled:
        extras["early_stopping"] = config.early_stopping.model_dump(mode="json", exclude={"enabled"})
    return extras


def _groups(
    config: Config,
    counts: Mapping[str, int],
    frozen: set[str],
    epochs: tuple[int, ...],
    uncounted: set[str],
) -> Iterable[RateGroup]:
    chosen = assign(config.layer_rates, (name for name in counts if name not in frozen))
    for pattern, base in (*config.layer_rates.items(), (None, config.learning_rate)):
        names = [name for name, by in chosen.items() if by == pattern]
        if names:
            rates = tuple(learning_rate(config, base, epoch) for epoch in epochs)
            count = None if uncounted.intersection(names) else sum(counts[name] for name in names)
            yield RateGroup(pattern, count, base, rates)


def _writes(config: Config) -> Iterable[str]:
    layout = RunLayout(Path(config.work_dir) / "<date>_<number>", "<time>")
    yield from map(str, (layout.config_toml, layout.config_json, layout.run_json, layout.history_json))
    yield str(layout.log)
    yield str(layout.latest_model)
    if config.has_validation:
        yield str(layout.best_model)
    yield str(layout.models / layout.checkpoint_pattern)
    if config.enable_metrics_export:
        kinds = ["loss", "accuracy"] if isinstance(config, ClassificationConfig) else ["experiment"]
        kinds += ["layer_wise_lr"] if config.layer_rates else []
        yield str(layout.metrics_csv)
        yield from (str(layout.metrics_figure(kind)) for kind in kinds)
    if config.enable_gradient_tracking:
        yield from map(str, (layout.gradient_trace, layout.gradient_steps))
    if config.monitor.enabled:
        yield from map(str, (layout.monitor_steps, layout.monitor_updates))
    if config.enable_tensorboard:
        yield str(layout.tensorboard / layout.event_pattern)
