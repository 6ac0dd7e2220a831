"""The rules that concern more than one key, by themselves and while other keys are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from pochi_cli.config.load import validate
from pochi_cli.errors import format_key
from tests.config.raw import TO_TENSOR, folder, found, mistakes, valid

FLIP, NORMALIZE, ERASING = {"name": "RandomHorizontalFlip"}, {"name": "Normalize"}, {"name": "RandomErasing"}


def digits(**keys: Any) -> dict[str, Any]:
    raw = without(folder(), "train_data_root")
    return {**raw, "dataset": "digits", "val_transform": [TO_TENSOR], **keys}


def without(raw: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in keys}


def rates(**layer_rates: float) -> dict[str, Any]:
    return {"enable_layer_wise_lr": True, "layer_wise_lr_config": {"layer_rates": layer_rates}}


def tracking(**settings: Any) -> dict[str, Any]:
    return folder(enable_gradient_tracking=True, gradient_tracking_config=settings)


# A config that breaks one rule; the code and key of the mistake; the key that the note points at.
BROKEN: dict[str, tuple[dict[str, Any], str, str, str | None]] = {
    "no-train-root": (without(folder(), "train_data_root"), "missing-key", "train_data_root", None),
    "digits-train-root": (digits(train_data_root="a"), "conflict", "train_data_root", "dataset"),
    "digits-val-root": (digits(val_data_root="a"), "conflict", "val_data_root", "dataset"),
    "published-without-a-root": (
        without(digits(dataset="cifar10"), "train_data_root"),
        "missing-key",
        "train_data_root",
        None,
    ),
    "published-val-root": (
        digits(dataset="mnist", train_data_root="data", val_data_root="a"),
        "conflict",
        "val_data_root",
        "dataset",
    ),
    "classes-of-a-published-data-set": (
        digits(dataset="cifar100", train_data_root="data", num_classes=10),
        "class-mismatch",
        "num_classes",
        "dataset",
    ),
    "two-validations": (
        folder(val_data_root="a", val_split=0.2, val_transform=[TO_TENSOR]),
        "conflict",
        "val_split",
        "val_data_root",
    ),
    "no-val-transform": (folder(val_data_root="a"), "missing-key", "val_transform", "val_data_root"),
    "no-val-transform-split": (folder(val_split=0.2), "missing-key", "val_transform", "val_split"),
    "no-val-transform-digits": (
        without(digits(), "val_transform"),
        "missing-key",
        "val_transform",
        "dataset",
    ),
    "stopping-without-validation": (
        folder(early_stopping={"enabled": True}),
        "conflict",
        "early_stopping.enabled",
        None,
    ),
    "min-delta-unit": (
        digits(early_stopping={"enabled": True, "monitor": "val_loss"}),
        "missing-key",
        "early_stopping.min_delta",
        "early_stopping.monitor",
    ),
    "weights-length": (
        folder(num_classes=4, class_weights=[1.0, 2.0, 1.5]),
        "class-weights-length",
        "class_weights",
        "num_classes",
    ),
    "balanced-twice": (
        folder(sampler="balanced", class_weights="balanced"),
        "conflict",
        "class_weights",
        "sampler",
    ),
    "balanced-and-list": (
        folder(sampler="balanced", class_weights=[1, 2]),
        "conflict",
        "class_weights",
        "sampler",
    ),
    "nesterov": (
        folder(optimizer_params={"nesterov": True, "momentum": 0.0}),
        "conflict",
        "optimizer_params.nesterov",
        "optimizer_params.momentum",
    ),
    "params-without-scheduler": (
        folder(scheduler_params={"gamma": 0.5}),
        "conflict",
        "scheduler_params",
        None,
    ),
    "no-rates": (folder(enable_layer_wise_lr=True), "missing-layer-rates", "enable_layer_wise_lr", None),
    "empty-rates": (folder(**rates()), "missing-layer-rates", "enable_layer_wise_lr", None),
    "unmatched-rate": (
        folder(**rates(layer9=0.1)),
        "unmatched-layer-pattern",
        "layer_wise_lr_config.layer_rates.layer9",
        "model_name",
    ),
    "unmatched-freeze": (folder(freeze=["fc", "conv"]), "unmatched-layer-pattern", "freeze[1]", "model_name"),
    "half-name": (folder(freeze=["layer"]), "unmatched-layer-pattern", "freeze[0]", "model_name"),
    "empty-pattern": (folder(freeze=[""]), "unmatched-layer-pattern", "freeze[0]", "model_name"),
    "shadowed-rate": (
        folder(**rates(**{"layer1": 0.1, r"layer1\.0": 0.2})),
        "unmatched-layer-pattern",
        r'layer_wise_lr_config.layer_rates."layer1\\.0"',
        None,
    ),
    "frozen-rate": (
        folder(freeze=["layer1"], **rates(**{r"layer1\.0": 0.2})),
        "unmatched-layer-pattern",
        r'layer_wise_lr_config.layer_rates."layer1\\.0"',
        "freeze",
    ),
    "all-frozen": (folder(freeze=[".*"]), "conflict", "freeze", None),
    "no-regex": (folder(freeze=["(a"]), "wrong-type", "freeze[0]", None),
    "no-regex-rate": (
        folder(**rates(**{"a)": 0.1})),
        "wrong-type",
        'layer_wise_lr_config.layer_rates."a)"',
        None,
    ),
    "small-stem": (folder(stem="small", model_name="vgg11"), "conflict", "stem", "model_name"),
    "no-tensor": (folder(train_transform=[FLIP]), "missing-to-tensor", "train_transform", None),
    "no-tensor-val": (digits() | {"val_transform": [FLIP]}, "missing-to-tensor", "val_transform", None),
    "nested-tensor": (
        folder(train_transform=[{"name": "RandomApply", "transforms": [TO_TENSOR]}]),
        "missing-to-tensor",
        "train_transform",
        None,
    ),
    "normalize-first": (
        folder(train_transform=[NORMALIZE, TO_TENSOR]),
        "transform-order",
        "train_transform[0]",
        "train_transform[1]",
    ),
    "nested-erasing-first": (
        folder(train_transform=[FLIP, {"name": "RandomApply", "transforms": [ERASING]}, TO_TENSOR]),
        "transform-order",
        "train_transform[1]",
        "train_transform[2]",
    ),
    "two-tensors": (
        folder(train_transform=[TO_TENSOR, FLIP, TO_TENSOR]),
        "transform-order",
        "train_transform[2]",
        "train_transform[0]",
    ),
    "fp16-on-cpu": (folder(device="cpu", precision="fp16"), "conflict", "precision", "device"),
    "classes-of-the-digits": (digits(num_classes=4), "class-mismatch", "num_classes", "dataset"),
    "weights-of-the-digits": (
        digits(class_weights=[1.0] * 4),
        "class-weights-length",
        "class_weights",
        "dataset",
    ),
    "endless-warmup": (folder(warmup_epochs=20), "conflict", "warmup_epochs", "epochs"),
    "exclude-no-pattern": (
        tracking(exclude_patterns=[r"fc\.", "(layer"]),
        "wrong-type",
        "gradient_tracking_config.exclude_patterns[1]",
        None,
    ),
    "nothing-to-trace": (
        tracking(exclude_patterns=["weight", "bias"]),
        "conflict",
        "gradient_tracking_config.exclude_patterns",
        "model_name",
    ),
    "nothing-trained-to-trace": (
        tracking(exclude_patterns=["^fc"]) | {"freeze": ["conv1", "bn1", r"layer\d"]},
        "conflict",
        "gradient_tracking_config.exclude_patterns",
        "model_name",
    ),
    "nothing-but-the-head-is-trained": (
        folder(model_name="densenet121", freeze=["features"], enable_gradient_tracking=True),
        "conflict",
        "gradient_tracking_config.exclude_patterns",
        "model_name",
    ),
    "no-published-weights": (
        folder(model_name="vit_tiny", pretrained=True),
        "conflict",
        "pretrained",
        "model_name",
    ),
    "two-weights": (folder(weights="a.pth", pretrained=True), "conflict", "weights", "pretrained"),
    "deterministic-benchmark": (
        folder(deterministic=True, cudnn_benchmark=True),
        "conflict",
        "cudnn_benchmark",
        "deterministic",
    ),
    "deterministic-bf16": (
        folder(deterministic=True, precision="bf16"),
        "conflict",
        "precision",
        "deterministic",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule(name: str) -> None:
    raw, code, where, note = BROKEN[name]
    (diagnostic,) = mistakes(raw)
    assert (diagnostic.code, format_key(diagnostic.key)) == (code, where)
    assert diagnostic.severity == "error"
    assert diagnostic.help
    assert [format_key(n.key) for n in diagnostic.notes] == ([note] if note else [])


# Other keys that are wrong at the same time, in each of the ways in which one can be wrong.
OTHER: dict[str, tuple[Any, str, str]] = {
    "compile": ("yes", "wrong-type", "compile"),
    "checkpoint_every_steps": (0, "out-of-range", "checkpoint_every_steps"),
    "log_every_steps": (0, "out-of-range", "log_every_steps"),
    "on_bad_image": ("skipp", "unknown-value", "on_bad_image"),
    "nonsense": (1, "unknown-key", "nonsense"),
    "mean": ([1], "out-of-range", "mean"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_while_all_else_is_wrong(name: str) -> None:
    raw, code, where, _ = BROKEN[name]
    expected = {(code, where), *((other, place) for _, other, place in OTHER.values())}
    assert found(raw | {key: value for key, (value, _, _) in OTHER.items()}) == expected


@pytest.mark.parametrize("required", ["epochs", "learning_rate", "train_transform"])
@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_while_a_required_key_is_missing(name: str, required: str) -> None:
    raw, code, where, _ = BROKEN[name]
    reads = {"endless-warmup": "epochs"}.get(name) or where.partition("[")[0]
    expected = {("missing-key", required)} | (set() if reads == required else {(code, where)})
    assert found(without(raw, required)) == expected


@pytest.mark.parametrize(
    ("name", "table", "value", "second"),
    [
        (
            "stopping-without-validation",
            "early_stopping",
            {"patience": 0},
            ("out-of-range", "early_stopping.patience"),
        ),
        (
            "stopping-without-validation",
            "early_stopping",
            {"patienec": 5},
            ("unknown-key", "early_stopping.patienec"),
        ),
        ("min-delta-unit", "early_stopping", {"patience": "a"}, ("wrong-type", "early_stopping.patience")),
        (
            "nesterov",
            "optimizer_params",
            {"weight_decay": -1},
            ("out-of-range", "optimizer_params.weight_decay"),
        ),
        (
            "unmatched-rate",
            "layer_wise_lr_config",
            {"graph_config": {"use_log_scale": 1}},
            ("wrong-type", "layer_wise_lr_config.graph_config.use_log_scale"),
        ),
        ("no-rates", "layer_wise_lr_config", {"graph": {}}, ("unknown-key", "layer_wise_lr_config.graph")),
    ],
)
def test_a_rule_while_another_key_of_its_table_is_wrong(
    name: str, table: str, value: dict[str, Any], second: tuple[str, str]
) -> None:
    raw, code, where, _ = BROKEN[name]
    assert found(raw | {table: raw.get(table, {}) | value}) == {(code, where), second}


@pytest.mark.parametrize(
    ("step", "second"),
    [
        ({"name": "RandomHorizontalFlip", "p": 5}, ("out-of-range", "train_transform[0].p")),
        ({"name": "RandomHorizontalFlip", "q": 5}, ("unknown-key", "train_transform[0].q")),
        ({"name": "Normalize", "std": [1, 1, "a"]}, ("wrong-type", "train_transform[0].std[2]")),
    ],
)
def test_the_order_of_steps_while_one_of_them_is_wrong(step: dict[str, Any], second: tuple[str, str]) -> None:
    expected = {second, ("missing-to-tensor", "train_transform")}
    assert found(folder(train_transform=[step])) == expected


def test_many_mistakes_at_once() -> None:
    raw = {
        "epochs": 0,
        "learning_rate": "0.1",
        "val_split": 0.2,
        "val_data_root": "b",
        "num_classes": 4,
        "class_weights": [1.0, 2.0],
        "stem": "small",
        "model_name": "vgg11",
        "early_stopping": {"enabled": True, "monitor": "val_loss", "patience": 0},
        "scheduler": "StepLR",
        "scheduler_params": {"T_max": 3},
        "train_transform": [NORMALIZE, TO_TENSOR, {"name": "Resize"}],
        "val_transform": [FLIP],
        "seed": -1,
    }
    assert found(raw) == {
        ("out-of-range", "epochs"),
        ("wrong-type", "learning_rate"),
        ("missing-key", "train_data_root"),
        ("conflict", "val_split"),
        ("class-weights-length", "class_weights"),
        ("conflict", "stem"),
        ("out-of-range", "early_stopping.patience"),
        ("missing-key", "early_stopping.min_delta"),
        ("missing-key", "scheduler_params.step_size"),
        ("unknown-key", "scheduler_params.T_max"),
        ("missing-key", "train_transform[2].size"),
        ("transform-order", "train_transform[0]"),
        ("missing-to-tensor", "val_transform"),
        ("out-of-range", "seed"),
    }


# A rule says nothing of a value that it cannot know.
@pytest.mark.parametrize(
    "raw",
    [
        folder(num_classes="4", class_weights=[1.0, 2.0]),
        folder(num_classes=2, class_weights=[1.0, "2"]),
        folder(dataset="folders", val_data_root="a", val_split=0.2) | {"train_data_root": 3},
        folder(sampler="balanced", class_weights="balance"),
        folder(sampler="balance"),
        folder(optimizer="Lion", optimizer_params={"nesterov": True, "momentum": 0.0}),
        folder(optimizer_params={"nesterov": True, "momentum": "0"}),
        folder(scheduler="Plateau", scheduler_params={"T_max": 3}),
        folder(model_name="resnet19", freeze=["layer9"]),
        folder(model_name="vgg12", stem="small"),
        folder(enable_layer_wise_lr=True, layer_wise_lr_config={"layer_rates": {"layer9": 2.0}}),
        folder(enable_layer_wise_lr=True, layer_wise_lr_config=3),
        folder(freeze=[2, 3]),
        folder(freeze=["layer1", 3]),
        folder(train_transform=[{"name": "Totensor"}]),
        folder(train_transform=[NORMALIZE, {"name": "Zzz"}]),
        folder(epochs="5", warmup_epochs=7),
        digits(early_stopping={"enabled": True, "monitor": "val_loss", "min_delta": "0"}),
        folder(early_stopping={"enabled": True}, val_split=2),
        folder(val_data_root=3),
        folder(weights=3, pretrained=True),
        folder(deterministic=1, cudnn_benchmark=True),
    ],
)
def test_no_rule_judges_an_invalid_value(raw: dict[str, Any]) -> None:
    codes = {diagnostic.code for diagnostic in mistakes(raw)}
    assert codes <= {"wrong-type", "unknown-value", "out-of-range"} | (
        {"conflict"} if raw.get("dataset") == "folders" else set()  # val_split and val_data_root, not dataset
    )


# One mistake does not hide another.
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            folder(num_classes=4, class_weights=[1, "2", 3]),
            {("wrong-type", "class_weights[1]"), ("class-weights-length", "class_weights")},
        ),
        (
            folder(freeze=["layer9", 3, "layer8"]),
            {
                ("unmatched-layer-pattern", "freeze[0]"),
                ("wrong-type", "freeze[1]"),
                ("unmatched-layer-pattern", "freeze[2]"),
            },
        ),
        (
            folder(**rates(layer9=0.1, fc=2.0, conv1=0)),
            {
                ("unmatched-layer-pattern", "layer_wise_lr_config.layer_rates.layer9"),
                ("out-of-range", "layer_wise_lr_config.layer_rates.fc"),
                ("out-of-range", "layer_wise_lr_config.layer_rates.conv1"),
            },
        ),
        (
            folder(**rates(**{"layer3": 0.1, r"layer3\.1": 0.1, "layer9": 0.1})),
            {
                ("unmatched-layer-pattern", "layer_wise_lr_config.layer_rates.layer9"),
                ("unmatched-layer-pattern", r'layer_wise_lr_config.layer_rates."layer3\\.1"'),
            },
        ),
        (
            folder(optimizer="adam", optimizer_params={"momentum": 0.9, "eps": 0}),
            {
                ("unknown-value", "optimizer"),
                ("unknown-key", "optimizer_params.momentum"),
                ("out-of-range", "optimizer_params.eps"),
            },
        ),
        (
            folder(scheduler="steplr", scheduler_params={"gamma": 0}),
            {
                ("unknown-value", "scheduler"),
                ("missing-key", "scheduler_params.step_size"),
                ("out-of-range", "scheduler_params.gamma"),
            },
        ),
        (
            folder(train_transform=[{"name": "Resise", "size": 0}, NORMALIZE, {"name": "ToTensr"}]),
            {
                ("unknown-value", "train_transform[0].name"),
                ("out-of-range", "train_transform[0].size"),
                ("transform-order", "train_transform[1]"),
                ("unknown-value", "train_transform[2].name"),
            },
        ),
    ],
)
def test_no_mistake_hides_another(raw: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    assert found(raw) == expected


@pytest.mark.parametrize(
    "keys",
    [
        {"val_data_root": "a", "val_transform": [TO_TENSOR]},
        {"val_split": 0.2, "val_transform": [TO_TENSOR], "early_stopping": {"enabled": True}},
        {"num_classes": 2, "class_weights": [1, 2]},
        {"class_weights": [1, 2, 3]},
        {"sampler": "balanced", "class_weights": "none"},
        {"optimizer_params": {"nesterov": True}},
        rates(**{r"layer1\.0": 0.1, "layer1": 0.2, "fc": 0.3}),
        {"layer_wise_lr_config": {"layer_rates": {"fc": 0.1}}},
        {"freeze": ["conv1", "bn1", "layer1|layer2"], **rates(layer3=0.1)},
        {"freeze": [r"(?!fc).*"]},
        {"stem": "small", "model_name": "resnet50"},
        {"stem": "imagenet", "model_name": "vgg11"},
        {"train_transform": [FLIP, TO_TENSOR, NORMALIZE, ERASING, FLIP]},
        {"train_transform": [TO_TENSOR, {"name": "RandomApply", "transforms": [ERASING]}]},
        {"warmup_epochs": 19},
        {"weights": "a.pth"},
        {"weights": "a.pth", "pretrained": False},
        {"deterministic": True, "precision": "fp32"},
        {"early_stopping": {"monitor": "val_loss"}},
    ],
)
def test_silence_on_a_sound_config(keys: dict[str, Any]) -> None:
    valid(**keys)


def test_digits_bring_their_own_validation() -> None:
    assert validate(digits(early_stopping={"enabled": True})).has_validation
    assert not valid().has_validation


SMALL = [{"name": "Resize", "size": [16, 16]}, {"name": "RandomCrop", "size": 32}, TO_TENSOR, NORMALIZE]


def test_sizes_are_checked_and_only_where_every_step_is_known() -> None:
    assert found(folder(train_transform=SMALL)) == {("image-too-small", "train_transform[1]")}
    wrong = [SMALL[0], {"name": "RandomCrop", "size": 32, "pad_if_neded": True}, *SMALL[2:]]
    assert found(folder(train_transform=wrong)) == {("unknown-key", "train_transform[1].pad_if_neded")}
    misspelt = [{"name": "Resise", "size": "40"}, *SMALL[1:]]
    assert ("image-too-small", "train_transform[1]") not in found(folder(train_transform=misspelt))


def test_patches_need_one_size() -> None:
    resized = [{"name": "Resize", "size": [32, 32]}, TO_TENSOR, NORMALIZE]
    larger = [{"name": "Resize", "size": [64, 64]}, TO_TENSOR, NORMALIZE]
    raw = folder(model_name="vit_b_16", val_data_root="b", train_transform=resized, val_transform=larger)
    assert found(raw) == {("conflict", "val_transform")}
    valid(**{**raw, "model_name": "resnet18"})


def test_pretrained_is_the_default_where_there_are_weights() -> None:
    assert valid().pretrained
    for model_name in ("vgg_compact", "vit_tiny"):
        config = valid(model_name=model_name)
        assert not config.pretrained
        assert validate(config.model_dump(mode="json", exclude_none=True)) == config
