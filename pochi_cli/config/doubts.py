"""Warnings: what is legal, and surely not intended."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import normpath

from pochi_cli.config.data import DataConfig
from pochi_cli.config.optim import (
    CosineAnnealingLRParams,
    LinearLRParams,
    MultiStepLRParams,
    OptimConfig,
    StepLRParams,
)
from pochi_cli.config.root import ClassificationConfig, TrainingConfig
from pochi_cli.config.rules import Rules
from pochi_cli.config.values import show
from pochi_cli.errors import Diagnostic, KeyPath, Note

DOUBTS = Rules(TrainingConfig)  # type: ignore[type-abstract]  # nothing is made of it
IMAGE_DOUBTS = Rules(ClassificationConfig)

_SCHEDULE = ("scheduler", "scheduler_params", "epochs", "warmup_epochs")
_TOLERANCE = 0.1
"""Share of the epochs by which T_max may miss their end."""
_FACTOR = 1000.0
"""Between a layer's rate and learning_rate; discriminative fine-tuning spans a factor of about 100."""


def warning(
    code: str, message: str, key: KeyPath, remedy: str, *notes: Note, at_key: bool = False
) -> Diagnostic:
    """Make a warning."""
    return Diagnostic(
        code, message, key, severity="warning", help=remedy, notes=notes, at="key" if at_key else "value"
    )


@DOUBTS.rule(*_SCHEDULE)
def _schedule_fits(config: OptimConfig) -> Iterator[Diagnostic]:
    epochs = config.epochs - config.warmup_epochs
    length = f"{config.epochs} epochs"
    if config.warmup_epochs:
        length = f"{epochs} epochs after the warmup"
    notes = [Note("epochs is set here", ("epochs",))]
    if config.warmup_epochs:
        notes.append(Note("warmup_epochs is set here", ("warmup_epochs",)))

    def doubt(key: str, message: str, remedy: str) -> Diagnostic:
        return warning("schedule-length", message, ("scheduler_params", key), remedy, *notes)

    match config.scheduler_params:
        case StepLRParams(gamma=gamma) | MultiStepLRParams(gamma=gamma) if gamma == 1:
            yield warning(
                "schedule-length",
                "gamma is 1: the rate never changes",
                ("scheduler_params", "gamma"),
                "use a smaller one, such as 0.1",
            )
        case CosineAnnealingLRParams(T_max=half_period):
            if abs(half_period - epochs) > max(1, _TOLERANCE * epochs):
                course = "rises again after it" if half_period < epochs else "does not come down to eta_min"
                message = f"T_max is {half_period} for {length}: the rate {course}"
                yield doubt("T_max", message, f"set T_max = {epochs}")
        case StepLRParams(step_size=step_size) if step_size >= epochs:
            message = f"step_size is {step_size} for {length}: the rate never changes"
            yield doubt("step_size", message, f"use a smaller one, such as {max(1, epochs // 3)}")
        case MultiStepLRParams(milestones=milestones) if milestones[-1] >= epochs:
            late = [milestone for milestone in milestones if milestone >= epochs]
            message = f"milestones {show(late)} lie beyond the {length}: they are never reached"
            yield doubt("milestones", message, "leave them out, or train for longer")
        case LinearLRParams(total_iters=total_iters) if total_iters > epochs * (1 + _TOLERANCE):
            message = f"total_iters is {total_iters} for {length}: the rate does not come to end_factor"
            yield doubt("total_iters", message, f"set total_iters = {epochs}")
        case _:
            return


@DOUBTS.rule("early_stopping.enabled", "early_stopping.patience", "epochs")
def _patience(config: OptimConfig) -> Iterator[Diagnostic]:
    stopping = config.early_stopping
    if stopping.enabled and stopping.patience >= config.epochs:
        yield warning(
            "patience-too-long",
            f"patience is {stopping.patience} for {config.epochs} epochs: training can never stop early",
            ("early_stopping", "patience" if "patience" in stopping.model_fields_set else "enabled"),
            f"set a smaller one, such as patience = {max(1, config.epochs // 5)}",
            Note("epochs is set here", ("epochs",)),
        )


@DOUBTS.rule("scheduler", "scheduler_params", "learning_rate")
def _rising_cosine(config: OptimConfig) -> Iterator[Diagnostic]:
    match config.scheduler_params:
        case CosineAnnealingLRParams(eta_min=eta_min) if eta_min >= config.learning_rate:
            yield warning(
                "rising-rate",
                f"eta_min {eta_min:g} is not below learning_rate {config.learning_rate:g}: the rate "
                "does not fall",
                ("scheduler_params", "eta_min"),
                "use a smaller one, such as 0",
                Note("learning_rate is set here", ("learning_rate",)),
            )


@DOUBTS.rule("learning_rate", "layer_wise_lr_config.layer_rates", "enable_layer_wise_lr")
def _far_rates(config: OptimConfig) -> Iterator[Diagnostic]:
    rates = config.layer_rates
    far = False
    for pattern, rate in rates.items():
        if not 1 / _FACTOR <= rate / config.learning_rate <= _FACTOR:
            far = True
            yield _far(
                pattern,
                f"{rate:g} of `{pattern}` and learning_rate {config.learning_rate:g}",
                Note("learning_rate is set here", ("learning_rate",)),
            )
    if far or not rates:
        return
    slow, fast = min(rates, key=lambda name: rates[name]), max(rates, key=lambda name: rates[name])
    if rates[fast] / rates[slow] > _FACTOR:
        yield _far(
            slow,
            f"{rates[slow]:g} of `{slow}` and {rates[fast]:g} of `{fast}`",
            Note(f"`{fast}` is set here", ("layer_wise_lr_config", "layer_rates", fast)),
        )


def _far(pattern: str, rates: str, note: Note) -> Diagnostic:
    return warning(
        "far-layer-rate",
        f"the rates {rates} differ by a factor of more than {_FACTOR:,.0f}",
        ("layer_wise_lr_config", "layer_rates", pattern),
        "check the exponent; to keep layers as they are, use freeze",
        note,
    )


@DOUBTS.rule("enable_layer_wise_lr", "layer_wise_lr_config.layer_rates")
def _unused_rates(config: OptimConfig) -> Iterator[Diagnostic]:
    if config.layer_wise_lr_config.layer_rates and not config.enable_layer_wise_lr:
        yield warning(
            "unused-key",
            "layer_rates are given, but enable_layer_wise_lr is false: they are not used",
            ("layer_wise_lr_config", "layer_rates"),
            "set enable_layer_wise_lr = true at the top level, or leave them out",
            at_key=True,
        )


@IMAGE_DOUBTS.rule("train_data_root", "val_data_root")
def _same_folder(config: DataConfig) -> Iterator[Diagnostic]:
    train, val = config.train_data_root, config.val_data_root
    if train is not None and val is not None and normpath(train) == normpath(val):
        yield warning(
            "same-folder",
            "val_data_root is the folder of the training images: what was learnt by heart counts as right",
            ("val_data_root",),
            "name a folder of its own, or use val_split",
            Note("train_data_root is set here", ("train_data_root",)),
        )


@IMAGE_DOUBTS.rule("early_stopping.enabled", "early_stopping.monitor", "early_stopping.min_delta")
def _unreachable_delta(config: ClassificationConfig) -> Iterator[Diagnostic]:
    stopping = config.early_stopping
    if stopping.enabled and stopping.monitor == "val_accuracy" and stopping.min_delta >= 100:
        yield warning(
            "min-delta-too-large",
            f"min_delta is {stopping.min_delta:g} percentage points: no epoch can improve by so much",
            ("early_stopping", "min_delta"),
            "use a smaller one, such as 0.1",
        )
