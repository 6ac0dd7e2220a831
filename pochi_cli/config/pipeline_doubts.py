"""Warnings about the transforms: what is legal, and surely not intended."""

from __future__ import annotations

from collections.abc import Iterator

from pochi_cli.config.data import IMAGENET_MEAN, IMAGENET_STD, DataConfig
from pochi_cli.config.doubts import warning
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.rules import Rules
from pochi_cli.config.steps.color import (
    ColorJitter,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from pochi_cli.config.steps.nested import AnyStep, flatten
from pochi_cli.config.steps.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from pochi_cli.config.steps.tensors import Normalize
from pochi_cli.config.values import show
from pochi_cli.errors import Diagnostic, KeyPath, Note

PIPELINE_DOUBTS = Rules(ClassificationConfig)

_UNIT_RANGE = (
    ColorJitter,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
    AugMix,
    AutoAugment,
    RandAugment,
    TrivialAugmentWide,
)
"""Steps that clip or count colours between 0 and 1."""


@PIPELINE_DOUBTS.rule("train_transform")
def _order_in_training(config: DataConfig) -> Iterator[Diagnostic]:
    yield from _spoilt_by_order("train_transform", config.train_transform)


@PIPELINE_DOUBTS.rule("val_transform")
def _order_in_validation(config: DataConfig) -> Iterator[Diagnostic]:
    yield from _spoilt_by_order("val_transform", config.val_transform or ())


def _spoilt_by_order(key: str, steps: tuple[AnyStep, ...]) -> Iterator[Diagnostic]:
    """Report steps that work on values from 0 to 1, and stand where these are normalized already."""
    flat = [(index, step) for index, top in enumerate(steps) for step in flatten((top,))]
    first = next((index for index, step in flat if isinstance(step, Normalize)), None)
    for index, step in flat:
        if first is None or index <= first:
            continue
        where, note = (key, index), Note("Normalize is here", (key, first))
        if isinstance(step, Normalize):
            message = f"{key} normalizes twice"
            yield warning("transform-order", message, where, "keep one of the two", note)
        elif isinstance(step, _UNIT_RANGE):
            message = f"{step.name} stands after Normalize in {key}, but works on values from 0 to 1"
            yield warning("transform-order", message, where, "move it before ToTensor", note)


@PIPELINE_DOUBTS.rule("val_transform")
def _random_validation(config: DataConfig) -> Iterator[Diagnostic]:
    for index, top in enumerate(config.val_transform or ()):
        if top.is_random:
            yield warning(
                "random-validation",
                f"{top.name} in val_transform is random: the validation metrics will not be comparable",
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


@PIPELINE_DOUBTS.rule("pretrained", "weights", "model_name", "train_transform", "mean", "std")
def _normalized_as_pretrained(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if not config.pretrained:
        return
    found = _normalization(config, config.train_transform)
    if found == (IMAGENET_MEAN, IMAGENET_STD) or _is_of_bytes(found):
        return
    name = "std" if found and found[0] == IMAGENET_MEAN else "mean"
    key, at_key = _where(config, "train_transform", config.train_transform, name)
    how = "train_transform has no Normalize"
    if found:
        how = f"{name} is {show(found[0] if name == 'mean' else found[1])}"
    yield warning(
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


@PIPELINE_DOUBTS.rule("train_transform", "val_transform", "mean", "std")
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
    yield warning(
        "unlike-normalization",
        message,
        key,
        "normalize both alike, or the network sees other values in validation than in training",
        Note("training's is here", other),
        at_key=at_key,
    )


def _is_of_bytes(normalization: _Normalization | None) -> bool:
    """Tell whether a mean is meant for values from 0 to 255."""
    return normalization is not None and max(normalization[0]) > 1


@PIPELINE_DOUBTS.rule("train_transform", "mean", "std")
def _normalized_in_tensor_units(config: DataConfig) -> Iterator[Diagnostic]:
    found = _normalization(config, config.train_transform)
    if found and _is_of_bytes(found):
        key, at_key = _where(config, "train_transform", config.train_transform, "mean")
        yield warning(
            "normalization-range",
            f"mean is {show(found[0])}, but after ToTensor the values lie between 0 and 1",
            key,
            "divide mean and std by 255",
            at_key=at_key,
        )
