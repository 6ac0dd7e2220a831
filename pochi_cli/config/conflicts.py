"""The rules that a config must not break: keys that contradict or call for one another."""

from __future__ import annotations

from collections.abc import Iterator

from pochi_cli.config.catalogue import CATALOGUE
from pochi_cli.config.classes import check_classes
from pochi_cli.config.named_datasets import NAMED_DATASETS
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.rules import Rules
from pochi_cli.config.steps.nested import AnyStep, flatten
from pochi_cli.config.steps.tensors import ToTensor
from pochi_cli.errors import Diagnostic, Note

CONFLICTS = Rules(ClassificationConfig)


@CONFLICTS.rule("dataset", "train_data_root")
def _train_data_root(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.dataset != "digits" and config.train_data_root is None:
        remedy = 'name the folder of the training images, or set dataset = "digits"'
        if config.dataset != "folder":
            remedy = f'name the directory that holds {config.dataset}, or is to: train_data_root = "data"'
        yield Diagnostic(
            "missing-key",
            "`train_data_root` is missing",
            ("train_data_root",),
            help=remedy,
            called_by=("dataset",),
        )
    if config.dataset == "digits" and config.train_data_root is not None:
        yield Diagnostic(
            "conflict",
            '`train_data_root` is given, but dataset = "digits" brings its own images',
            ("train_data_root",),
            help='leave it out, or set dataset = "folder"',
            notes=(Note("dataset is set here", ("dataset",)),),
        )


@CONFLICTS.rule("dataset", "val_data_root", "val_split")
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


@CONFLICTS.rule("dataset", "val_data_root", "val_split", "val_transform")
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
            called_by=(cause,),
        )


@CONFLICTS.rule("dataset", "val_data_root", "val_split", "early_stopping.enabled", "early_stopping.monitor")
def _early_stopping_needs_validation(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.early_stopping.enabled and not config.has_validation:
        yield Diagnostic(
            "conflict",
            "early_stopping.enabled is true, but there is no validation data: "
            f"{config.early_stopping.monitor} will not be known",
            ("early_stopping", "enabled"),
            help="give val_data_root or val_split, or set enabled = false",
        )


@CONFLICTS.rule("early_stopping.enabled", "early_stopping.monitor", "early_stopping.min_delta")
def _min_delta_unit(config: ClassificationConfig) -> Iterator[Diagnostic]:
    stopping = config.early_stopping
    if stopping.monitor == "val_loss" and stopping.enabled and "min_delta" not in stopping.model_fields_set:
        yield Diagnostic(
            "missing-key",
            "`min_delta` is missing: its default of 3.0 is meant in percentage points of val_accuracy",
            ("early_stopping", "min_delta"),
            help="give the smallest change of val_loss that counts as improvement, such as 0.001",
            called_by=("early_stopping", "monitor"),
            notes=(Note('monitor = "val_loss" is set here', ("early_stopping", "monitor")),),
        )


@CONFLICTS.rule("num_classes", "class_weights")
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


@CONFLICTS.rule("dataset", "num_classes", "class_weights")
def _named_classes(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if named := NAMED_DATASETS.get(config.dataset):
        yield from check_classes(config, named.class_names, ("dataset",))


@CONFLICTS.rule("sampler", "class_weights")
def _sampler_and_weights(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.sampler == "balanced" and config.class_weights != "none":
        yield Diagnostic(
            "conflict",
            'sampler = "balanced" and class_weights both correct the imbalance, which would count twice',
            ("class_weights",),
            help='keep one: class_weights = "none", or sampler = "shuffle"',
            notes=(Note("sampler is set here", ("sampler",)),),
        )


@CONFLICTS.rule("model_name", "stem")
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
            at="key",
        )
        return
    for index, step in flat:
        if isinstance(step, ToTensor) and index != top_level[0]:
            yield Diagnostic(
                "transform-order",
                f"{key} has more than one ToTensor",
                (key, index),
                help="keep the first one",
                notes=(Note("the first one is here", (key, top_level[0])),),
            )
        if step.needs_tensor and index < top_level[0]:
            yield Diagnostic(
                "transform-order",
                f"{step.name} stands before ToTensor in {key}, but works on tensors",
                (key, index),
                help="move it after ToTensor",
                notes=(Note("ToTensor is here", (key, top_level[0])),),
            )


@CONFLICTS.rule("train_transform")
def _train_pipeline(config: ClassificationConfig) -> Iterator[Diagnostic]:
    yield from _check_pipeline(config.train_transform, "train_transform")


@CONFLICTS.rule("val_transform")
def _val_pipeline(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.val_transform is not None:
        yield from _check_pipeline(config.val_transform, "val_transform")


@CONFLICTS.rule("pretrained", "weights")
def _one_source_of_weights(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.weights is not None and config.pretrained:
        yield Diagnostic(
            "conflict",
            "`weights` and `pretrained = true` are both given",
            ("weights",),
            help="keep one: the local file, or torchvision's weights",
            notes=(Note("pretrained is set here", ("pretrained",)),),
        )


@CONFLICTS.rule("model_name", "pretrained")
def _published_weights(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.pretrained and not CATALOGUE[config.model_name].has_published_weights:
        yield Diagnostic(
            "conflict",
            f"`pretrained = true`, but there are no published weights of {config.model_name}",
            ("pretrained",),
            help="set pretrained = false, or leave it out",
            notes=(Note("model_name is set here", ("model_name",)),),
        )


@CONFLICTS.rule("deterministic", "cudnn_benchmark")
def _benchmark(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.deterministic and config.cudnn_benchmark:
        yield Diagnostic(
            "conflict",
            "cudnn_benchmark chooses algorithms by measuring, which deterministic = true forbids",
            ("cudnn_benchmark",),
            help="keep one of the two",
            notes=(Note("deterministic is set here", ("deterministic",)),),
        )
