"""Warnings: what is legal, and surely not intended."""

from __future__ import annotations

from collections.abc import Iterator

from pochi_cli.config.data import IMAGENET_MEAN, IMAGENET_STD, DataConfig
from pochi_cli.config.optim import (
    CosineAnnealingLRParams,
    LinearLRParams,
    MultiStepLRParams,
    OptimConfig,
    StepLRParams,
)
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.rules import Rules
from pochi_cli.config.steps.nested import AnyStep, flatten
from pochi_cli.config.steps.tensors import Normalize
from pochi_cli.config.values import show
from pochi_cli.errors import Diagnostic, KeyPath, Note

DOUBTS = Rules()

_SCHEDULE = ("scheduler", "scheduler_params", "epochs", "warmup_epochs")
_TOLERANCE = 0.1
"""Share of the epochs by which T_max may miss their end."""
_FACTOR = 1000.0
"""Between a layer's rate and learning_rate; discriminative fine-tuning spans a factor of about 100."""


def _warning(
    code: str, message: str, key: KeyPath, remedy: str, *notes: Note, at_key: bool = False
) -> Diagnostic:
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
        return _warning("schedule-length", message, ("scheduler_params", key), remedy, *notes)

    match config.scheduler_params:
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
        yield _warning(
            "patience-too-long",
            f"patience is {stopping.patience} for {config.epochs} epochs: training can never stop early",
            ("early_stopping", "patience" if "patience" in stopping.model_fields_set else "enabled"),
            f"use a smaller one, such as {max(1, config.epochs // 5)}",
            Note("epochs is set here", ("epochs",)),
        )


@DOUBTS.rule("learning_rate", "layer_wise_lr_config.layer_rates", "enable_layer_wise_lr")
def _far_rates(config: OptimConfig) -> Iterator[Diagnostic]:
    for pattern, rate in config.layer_rates.items():
        if not 1 / _FACTOR <= rate / config.learning_rate <= _FACTOR:
            yield _warning(
                "far-layer-rate",
                f"the rate {rate:g} of `{pattern}` and learning_rate {config.learning_rate:g} differ by "
                f"a factor of more than {_FACTOR:,.0f}",
                ("layer_wise_lr_config", "layer_rates", pattern),
                "check the exponent; to keep layers as they are, use freeze",
                Note("learning_rate is set here", ("learning_rate",)),
            )


@DOUBTS.rule("enable_layer_wise_lr", "layer_wise_lr_config.layer_rates")
def _unused_rates(config: OptimConfig) -> Iterator[Diagnostic]:
    if config.layer_wise_lr_config.layer_rates and not config.enable_layer_wise_lr:
        yield _warning(
            "unused-key",
            "layer_rates are given, but enable_layer_wise_lr is false: they are not used",
            ("layer_wise_lr_config", "layer_rates"),
            "set enable_layer_wise_lr = true at the top level, or leave them out",
            at_key=True,
        )


@DOUBTS.rule("dataset", "val_data_root", "val_split", "val_transform")
def _unused_val_transform(config: DataConfig) -> Iterator[Diagnostic]:
    if config.val_transform is not None and not config.has_validation:
        yield _warning(
            "unused-key",
            "val_transform is given, but there is no validation data: it is not used",
            ("val_transform",),
            "give val_data_root, or a val_split such as 0.2",
            at_key=True,
        )


@DOUBTS.rule("val_transform")
def _random_validation(config: DataConfig) -> Iterator[Diagnostic]:
    for index, top in enumerate(config.val_transform or ()):
        random = next((step for step in (top, *flatten((top,))) if step.is_random), None)
        if random:
            yield _warning(
                "random-validation",
                f"{random.name} in val_transform is random: the validation metrics will not be comparable",
                ("val_transform", index),
                "move it to train_transform",
            )


_Normalization = tuple[tuple[float, ...], tuple[float, ...]]


def _normalization(config: DataConfig, steps: tuple[AnyStep, ...]) -> _Normalization | None:
    """Find the mean and std that a pipeline normalizes with, last of all; `None` without."""
    last = next((step for step in reversed(flatten(steps)) if isinstance(step, Normalize)), None)
    return None if last is None else (last.mean or config.mean, last.std or config.std)


def _where(config: DataConfig, pipeline: str, steps: tuple[AnyStep, ...], name: str) -> tuple[KeyPath, bool]:
    """Find the key that a pipeline's mean or std comes from, and whether that is the pipeline itself."""
    for index in reversed(range(len(steps))):
        step = steps[index]
        if isinstance(step, Normalize):
            if getattr(step, name) is not None:
                return (pipeline, index, name), False
            return ((name,), False) if name in config.model_fields_set else ((pipeline, index), False)
    return (pipeline,), True


@DOUBTS.rule("pretrained", "weights", "model_name", "train_transform", "mean", "std")
def _normalized_as_pretrained(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if not config.pretrained:
        return
    found = _normalization(config, config.train_transform)
    if found == (IMAGENET_MEAN, IMAGENET_STD):
        return
    name = "std" if found and found[0] == IMAGENET_MEAN else "mean"
    key, at_key = _where(config, "train_transform", config.train_transform, name)
    how = "train_transform has no Normalize"
    if found:
        how = f"{name} is {show(found[0] if name == 'mean' else found[1])}"
    yield _warning(
        "pretrained-normalization",
        f"{how}, but the pretrained weights of {config.model_name} were trained with mean "
        f"{show(IMAGENET_MEAN)} and std {show(IMAGENET_STD)}",
        key,
        'use { name = "Normalize" } without arguments, and leave mean and std out; or set pretrained = false',
        *(
            [Note("pretrained is set here", ("pretrained",))]
            if "pretrained" in config.model_fields_set
            else []
        ),
        at_key=at_key,
    )


@DOUBTS.rule("train_transform", "val_transform", "mean", "std")
def _normalized_alike(config: DataConfig) -> Iterator[Diagnostic]:
    if config.val_transform is None:
        return
    train = _normalization(config, config.train_transform)
    val = _normalization(config, config.val_transform)
    if train == val:
        return
    lacking = "val_transform" if val is None else "train_transform"
    message = (
        f"{lacking} has no Normalize, the other one has"
        if None in (train, val)
        else ("train_transform and val_transform normalize with different mean or std")
    )
    name = "std" if train and val and train[0] == val[0] else "mean"
    key, at_key = _where(config, "val_transform", config.val_transform, name)
    other, _ = _where(config, "train_transform", config.train_transform, name)
    yield _warning(
        "unlike-normalization",
        message,
        key,
        "normalize both alike, or the network sees other values in validation than in training",
        Note("training's is here", other),
        at_key=at_key,
    )


@DOUBTS.rule("train_transform", "mean", "std")
def _normalized_in_tensor_units(config: DataConfig) -> Iterator[Diagnostic]:
    found = _normalization(config, config.train_transform)
    if found and max(found[0]) > 1:
        key, at_key = _where(config, "train_transform", config.train_transform, "mean")
        yield _warning(
            "normalization-range",
            f"mean is {show(found[0])}, but after ToTensor the values lie between 0 and 1",
            key,
            "divide mean and std by 255",
            at_key=at_key,
        )
