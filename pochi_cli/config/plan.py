"""What a valid config will do, in words; no data are read."""

from __future__ import annotations

from pochi_cli.config.catalogue import parameter_count, uses_small_stem
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.schedule import learning_rate
from pochi_cli.config.steps.nested import AnyStep, final_size


def describe_plan(config: ClassificationConfig) -> list[tuple[str, str]]:
    """Describe what training the config will do.

    Returns:
        Pairs of a name and a text, in the order of the file.
    """
    plan = [
        ("model", _model(config)),
        ("weights", _weights(config)),
        ("training data", config.train_data_root or f"{config.dataset} (embedded)"),
        ("validation data", _validation(config)),
        ("train transform", _steps(config.train_transform)),
    ]
    if config.val_transform is not None:
        plan.append(("val transform", _steps(config.val_transform)))
    effective = config.batch_size * config.accumulate_steps
    plan += [
        (
            "batch size",
            f"{config.batch_size}"
            + (f" x {config.accumulate_steps} = {effective}" if config.accumulate_steps > 1 else ""),
        ),
        ("epochs", str(config.epochs)),
        ("optimizer", f"{config.optimizer} ({_arguments(config.optimizer_params.model_dump())})"),
        ("scheduler", _scheduler(config)),
    ]
    for pattern, rate in config.layer_rates.items():
        plan.append((f"rate of {pattern}", _course(config, rate)))
    plan.append(
        (
            "rate of the others" if config.layer_rates else "learning rate",
            _course(config, config.learning_rate),
        )
    )
    plan.append(("writes", f"{config.work_dir}/<date>_<number>/"))
    return plan


def _model(config: ClassificationConfig) -> str:
    size = final_size(config.train_transform)
    small = size is not None and uses_small_stem(config.model_name, config.stem, size)
    name = f"{config.model_name}, small stem" if small else config.model_name
    if config.num_classes is None:
        return f"{name}, as many classes as the data have"
    count = parameter_count(config.model_name, config.num_classes, small_stem=small)
    return f"{name}, {config.num_classes} classes, {count:,} parameters"


def _weights(config: ClassificationConfig) -> str:
    if config.weights is not None:
        return config.weights
    return "torchvision's, trained on ImageNet" if config.pretrained else "random"


def _validation(config: ClassificationConfig) -> str:
    if config.val_data_root is not None:
        return config.val_data_root
    if config.val_split is not None:
        return f"{100 * config.val_split:g} % of the training data, class by class"
    return "its own part" if config.has_validation else "none"


def _steps(steps: tuple[AnyStep, ...]) -> str:
    size = final_size(steps)
    text = " > ".join(step.name for step in steps)
    return text if size is None else f"{text} ({size[0]}x{size[1]} px)"


def _scheduler(config: ClassificationConfig) -> str:
    text = "none"
    if config.scheduler_params is not None:
        text = f"{config.scheduler} ({_arguments(config.scheduler_params.model_dump())})"
    return text + (f", after {config.warmup_epochs} epochs of warmup" if config.warmup_epochs else "")


def _arguments(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _course(config: ClassificationConfig, base: float) -> str:
    """The rate at the first, middle and last epoch, or one number where it stays."""
    epochs = sorted({1, (config.epochs + 1) // 2, config.epochs})
    rates = [learning_rate(config, base, epoch) for epoch in epochs]
    if len(set(rates)) == 1:
        return f"{rates[0]:g}"
    return ", ".join(f"{rate:.3g} in epoch {epoch}" for epoch, rate in zip(epochs, rates, strict=True))
