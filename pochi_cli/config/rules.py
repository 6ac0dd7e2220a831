"""The rules that concern more than one key.

Each rule names the keys that it reads and is checked whenever those are valid, also when others are not.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from pochi_cli.config.catalogue import CATALOGUE, parameter_shapes
from pochi_cli.config.patterns import PatternError, assign, check_pattern, matches
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.steps.nested import AnyStep, flatten
from pochi_cli.config.steps.tensors import ToTensor
from pochi_cli.errors import Diagnostic, KeyPath, Note

Check = Callable[[ClassificationConfig], Iterator[Diagnostic]]


@dataclass(frozen=True)
class Rule:
    """A check and the keys that must be valid for it."""

    keys: tuple[KeyPath, ...]
    check: Check


RULES: list[Rule] = []


def rule(*keys: str) -> Callable[[Check], Check]:
    """Register a check that reads these keys (dotted for those of a table)."""

    def register(check: Check) -> Check:
        RULES.append(Rule(tuple(tuple(key.split(".")) for key in keys), check))
        return check

    return register


@rule("dataset", "train_data_root")
def _train_data_root(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.dataset == "folder" and config.train_data_root is None:
        yield Diagnostic(
            "missing-key",
            "`train_data_root` is missing",
            ("train_data_root",),
            help='name the folder of the training images, or set dataset = "digits"',
        )
    if config.dataset == "digits" and config.train_data_root is not None:
        yield Diagnostic(
            "conflict",
            '`train_data_root` is given, but dataset = "digits" brings its own images',
            ("train_data_root",),
            help='leave it out, or set dataset = "folder"',
            notes=(Note("dataset is set here", ("dataset",)),),
        )


@rule("dataset", "val_data_root", "val_split")
def _one_validation(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.val_data_root is None:
        return
    if config.val_split is not None:
        yield Diagnostic(
            "conflict",
            f"`val_split = {config.val_split}` and `val_data_root` are both given",
            ("val_split",),
            help="keep one: a folder of its own, or a share of the training data",
            notes=(Note("val_data_root is set here", ("val_data_root",)),),
        )
    if config.dataset != "folder":
        yield Diagnostic(
            "conflict",
            f'`val_data_root` is given, but dataset = "{config.dataset}" brings its own images',
            ("val_data_root",),
            help='leave it out, or set dataset = "folder"',
            notes=(Note("dataset is set here", ("dataset",)),),
        )


@rule("dataset", "val_data_root", "val_split", "val_transform")
def _val_transform(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.has_validation and config.val_transform is None:
        cause = next(
            (key for key in ("val_data_root", "val_split") if getattr(config, key) is not None), "dataset"
        )
        yield Diagnostic(
            "missing-key",
            "`val_transform` is missing: there is validation data",
            ("val_transform",),
            help="add the steps for validation images (no random ones), with ToTensor",
            notes=(Note(f"validation data come from {cause}", (cause,)),),
        )


@rule("dataset", "val_data_root", "val_split", "early_stopping.enabled", "early_stopping.monitor")
def _early_stopping_needs_validation(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.early_stopping.enabled and not config.has_validation:
        yield Diagnostic(
            "conflict",
            "early_stopping.enabled is true, but there is no validation data: "
            f"{config.early_stopping.monitor} will not be known",
            ("early_stopping", "enabled"),
            help="give val_data_root or val_split, or set enabled = false",
        )


@rule("early_stopping.enabled", "early_stopping.monitor", "early_stopping.min_delta")
def _min_delta_unit(config: ClassificationConfig) -> Iterator[Diagnostic]:
    stopping = config.early_stopping
    if stopping.monitor == "val_loss" and stopping.enabled and "min_delta" not in stopping.model_fields_set:
        yield Diagnostic(
            "missing-key",
            "`min_delta` is missing: its default of 3.0 is meant in percentage points of val_accuracy",
            ("early_stopping", "min_delta"),
            help="give the smallest change of val_loss that counts as improvement, such as 0.001",
            notes=(Note('monitor = "val_loss" is set here', ("early_stopping", "monitor")),),
        )


@rule("num_classes", "class_weights")
def _class_weights_length(config: ClassificationConfig) -> Iterator[Diagnostic]:
    weights, classes = config.class_weights, config.num_classes
    if isinstance(weights, tuple) and classes is not None and len(weights) != classes:
        yield Diagnostic(
            "class-weights-length",
            f"class_weights has {len(weights)} entries, num_classes is {classes}",
            ("class_weights",),
            help='give one weight per class, or "balanced"',
            notes=(Note("num_classes is set here", ("num_classes",)),),
        )


@rule("num_classes")
def _two_classes(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.num_classes == 1:
        yield Diagnostic(
            "out-of-range",
            "num_classes is 1: a classifier needs at least two classes",
            ("num_classes",),
            help="leave it out to take it from the data",
        )


@rule("sampler", "class_weights")
def _sampler_and_weights(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.sampler == "balanced" and config.class_weights != "none":
        yield Diagnostic(
            "conflict",
            'sampler = "balanced" and class_weights both correct the imbalance, which would count twice',
            ("class_weights",),
            help='keep one: class_weights = "none", or sampler = "shuffle"',
            notes=(Note("sampler is set here", ("sampler",)),),
        )


@rule("optimizer", "optimizer_params.nesterov", "optimizer_params.momentum")
def _nesterov(config: ClassificationConfig) -> Iterator[Diagnostic]:
    params = config.optimizer_params
    if getattr(params, "nesterov", False) and getattr(params, "momentum", 0) == 0:
        yield Diagnostic(
            "conflict",
            "nesterov = true needs a momentum above 0",
            ("optimizer_params", "nesterov"),
            help="set momentum = 0.9, or nesterov = false",
        )


@rule("enable_layer_wise_lr", "layer_wise_lr_config.layer_rates")
def _layer_rates_given(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.enable_layer_wise_lr and not config.layer_wise_lr_config.layer_rates:
        yield Diagnostic(
            "missing-layer-rates",
            "enable_layer_wise_lr is true, but no layer_rates are given",
            ("enable_layer_wise_lr",),
            help="add [layer_wise_lr_config.layer_rates] with lines such as `layer1 = 0.0002`",
        )


@rule("model_name", "layer_wise_lr_config.layer_rates", "freeze")
def _patterns(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if not config.freeze and not config.layer_wise_lr_config.layer_rates:
        return
    names = list(parameter_shapes(config.model_name))
    rates = config.layer_wise_lr_config.layer_rates
    bad = yield from _unmatched(config, config.freeze, ("freeze",), names)
    bad |= yield from _unmatched(config, tuple(rates), ("layer_wise_lr_config", "layer_rates"), names)
    if bad:
        return
    trained = [name for name in names if not any(matches(pattern, name) for pattern in config.freeze)]
    if not trained:
        yield Diagnostic(
            "conflict",
            f"freeze covers every parameter of {config.model_name}: nothing is left to train",
            ("freeze",),
            help=f"leave the head `{CATALOGUE[config.model_name].head}` out of it",
        )
        return
    taken = set(assign(rates, trained).values())
    for pattern in rates:
        if pattern not in taken:
            earlier = any(matches(pattern, name) for name in trained)
            yield Diagnostic(
                "unmatched-layer-pattern",
                f"the pattern `{pattern}` "
                + (
                    "matches only parameters that an earlier pattern takes"
                    if earlier
                    else "matches only frozen parameters"
                ),
                ("layer_wise_lr_config", "layer_rates", pattern),
                help="put the more specific pattern first" if earlier else "leave it out, or unfreeze them",
                notes=() if earlier else (Note("freeze is set here", ("freeze",)),),
            )


def _unmatched(
    config: ClassificationConfig, patterns: tuple[str, ...], key: KeyPath, names: list[str]
) -> Generator[Diagnostic, None, bool]:
    """Report the patterns that are no regular expression or match no parameter.

    Returns:
        Whether there was any.
    """
    found = False
    for position, pattern in enumerate(patterns):
        where = (*key, position if key == ("freeze",) else pattern)
        try:
            check_pattern(pattern, names)
        except PatternError as error:
            found = True
            yield Diagnostic(
                "wrong-type",
                f"the pattern `{pattern}` of {key[-1]} {error}",
                where,
                help="a layer's name such as `layer1` is a pattern, too",
            )
            continue
        if not any(matches(pattern, name) for name in names):
            found = True
            yield Diagnostic(
                "unmatched-layer-pattern",
                f"the pattern `{pattern}` of {key[-1]} matches no parameter of {config.model_name}",
                where,
                help="the closest layers are "
                + ", ".join(f"`{layer}`" for layer in closest_layers(pattern, names)),
            )
    return found


def closest_layers(pattern: str, names: list[str], count: int = 3) -> list[str]:
    """Find the layers (prefixes of parameter names) that look most like a pattern."""
    layers: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts)):
            layers.setdefault(".".join(parts[:end]))
    plain = pattern.replace("\\", "")
    close = difflib.get_close_matches(plain, layers, n=count, cutoff=0.5)
    return close or [layer for layer in layers if "." not in layer][:8]


@rule("model_name", "stem")
def _stem(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.stem == "small" and not CATALOGUE[config.model_name].has_small_stem:
        yield Diagnostic(
            "conflict",
            f'stem = "small" exists for ResNets only, not for {config.model_name}',
            ("stem",),
            help='use stem = "auto"',
            notes=(Note("model_name is set here", ("model_name",)),),
        )


def _check_pipeline(steps: tuple[AnyStep, ...], key: str) -> Iterator[Diagnostic]:
    """Check that a pipeline makes tensors, once, and in an order that works."""
    flat = [(index, step) for index, top in enumerate(steps) for step in flatten((top,))]
    top_level = [index for index, step in enumerate(steps) if isinstance(step, ToTensor)]
    if not top_level:
        nested = any(isinstance(step, ToTensor) for _, step in flat)
        yield Diagnostic(
            "missing-to-tensor",
            f"{key} has no ToTensor step" + (" outside of random steps" if nested else ""),
            (key,),
            help='add { name = "ToTensor" } after the steps on images and before Normalize',
        )
        return
    for index, step in flat:
        if isinstance(step, ToTensor) and index != top_level[0]:
            yield Diagnostic(
                "transform-order",
                f"{key} has more than one ToTensor",
                (key, index),
                help="keep the first one",
            )
        if step.needs_tensor and index < top_level[0]:
            yield Diagnostic(
                "transform-order",
                f"{step.name} stands before ToTensor in {key}, but works on tensors",
                (key, index),
                help="move it after ToTensor",
                notes=(Note("ToTensor is here", (key, top_level[0])),),
            )


@rule("train_transform")
def _train_pipeline(config: ClassificationConfig) -> Iterator[Diagnostic]:
    yield from _check_pipeline(config.train_transform, "train_transform")


@rule("val_transform")
def _val_pipeline(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.val_transform is not None:
        yield from _check_pipeline(config.val_transform, "val_transform")


@rule("warmup_epochs", "epochs")
def _warmup(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.warmup_epochs >= config.epochs:
        yield Diagnostic(
            "conflict",
            f"warmup_epochs is {config.warmup_epochs}, and epochs is {config.epochs}: warmup would never end",
            ("warmup_epochs",),
            help="warm up for fewer epochs than there are",
            notes=(Note("epochs is set here", ("epochs",)),),
        )


@rule("pretrained", "weights")
def _one_source_of_weights(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.weights is not None and config.pretrained:
        yield Diagnostic(
            "conflict",
            "`weights` and `pretrained = true` are both given",
            ("weights",),
            help="keep one: the local file, or torchvision's weights",
            notes=(Note("pretrained is set here", ("pretrained",)),),
        )


@rule("deterministic", "precision", "cudnn_benchmark")
def _deterministic(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.deterministic and config.cudnn_benchmark:
        yield Diagnostic(
            "conflict",
            "cudnn_benchmark chooses algorithms by measuring, which deterministic = true forbids",
            ("cudnn_benchmark",),
            help="keep one of the two",
            notes=(Note("deterministic is set here", ("deterministic",)),),
        )
    if config.deterministic and config.precision in ("bf16", "fp16"):
        yield Diagnostic(
            "conflict",
            f'precision = "{config.precision}" and deterministic = true are both given',
            ("precision",),
            help="deterministic = true computes in fp32",
            notes=(Note("deterministic is set here", ("deterministic",)),),
        )
