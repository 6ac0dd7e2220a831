"""Reading the file, `--set`, and every key by itself."""

from __future__ import annotations

import copy
import datetime
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from pochi_cli.config.document import read_document
from pochi_cli.config.load import load_config, validate
from pochi_cli.config.overrides import apply_override, parse_override
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.errors import ConfigError, Diagnostic
from tests.config.raw import TO_TENSOR, folder, found, mistakes, valid
from tests.engine.tiny import classifier

MINIMAL = """
epochs = 3
learning_rate = 0.1
train_data_root = "data/train"
train_transform = [{ name = "ToTensor" }]
"""

# ---------------------------------------------------------------- reading


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL)
    return path


def unreadable(path: Path) -> Diagnostic:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span is not None
    assert diagnostic.span.source == str(path)
    return diagnostic


def test_a_minimal_file_is_enough(minimal: Path) -> None:
    config = classifier(load_config(minimal))
    assert (config.epochs, config.learning_rate, config.train_data_root) == (3, 0.1, "data/train")


def test_a_missing_file(tmp_path: Path) -> None:
    diagnostic = unreadable(tmp_path / "none.toml")
    assert diagnostic.code == "unreadable-file"
    assert "no such file" in diagnostic.message


def test_a_directory(tmp_path: Path) -> None:
    diagnostic = unreadable(tmp_path)
    assert diagnostic.code == "unreadable-file"
    assert "directory" in diagnostic.message


@pytest.mark.parametrize("name", ["a/config.toml", "a\0b.toml", "x" * 5000])
def test_a_path_that_cannot_be_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_text("")
    assert unreadable(tmp_path / name).code == "unreadable-file"


@pytest.mark.parametrize("content", [b"\xff\xfee\0p\0o\0c\0h\0s\0", b"epochs = 3 # caf\xe9"])
def test_a_file_that_is_not_utf_8(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    diagnostic = unreadable(path)
    assert diagnostic.code == "unreadable-file"
    assert "UTF-8" in diagnostic.message


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_byte_order_mark_and_windows_line_ends(tmp_path: Path, prefix: bytes, newline: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(prefix + MINIMAL.encode().replace(b"\n", newline))
    assert load_config(path) == validate(tomllib.loads(MINIMAL))


@pytest.mark.parametrize(
    ("content", "code", "key"),
    [
        ("epochs" + ".a" * 90 + " = 1", "wrong-type", "epochs"),  # tables that the parser takes
        ("[early_stopping" + ".a" * 90 + "]", "wrong-type", "early_stopping"),
        ("seed = 0x" + "f" * 5000, "out-of-range", "seed"),  # integers that no decimal can write
        ("work_dir = 0x" + "f" * 5000, "out-of-range", "work_dir"),
        ("mean = [0x" + "f" * 5000 + ", 1, 1]", "out-of-range", "mean"),
        ("batch_size = 9223372036854775808", "out-of-range", "batch_size"),
        ("learning_rate = 1" + "0" * 400, "out-of-range", "learning_rate"),
        ("learning_rate = 1e400", "out-of-range", "learning_rate"),
    ],
)
def test_values_beyond_toml(tmp_path: Path, content: str, code: str, key: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (diagnostic,) = [d for d in caught.value.diagnostics if d.key == (key,)]
    assert diagnostic.code == code
    assert len(str(diagnostic)) < 300
    # The rest is still checked.
    assert ("train_transform",) in {d.key for d in caught.value.diagnostics}


def test_an_empty_file_lacks_what_is_required(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert {(d.code, d.key) for d in caught.value.diagnostics} == {
        ("missing-key", (key,)) for key in ("epochs", "learning_rate", "train_data_root", "train_transform")
    }
    assert {str(diagnostic.span) for diagnostic in caught.value.diagnostics} == {f"{path}:1:1"}


# ---------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("argument", "path", "value"),
    [
        ("epochs=3", ("epochs",), 3),
        (" epochs = 3 ", ("epochs",), 3),
        ("learning_rate=1e-3", ("learning_rate",), 0.001),
        ("pretrained=false", ("pretrained",), False),
        ("pretrained=False", ("pretrained",), "False"),
        ("optimizer=Adam", ("optimizer",), "Adam"),
        ('optimizer="Adam"', ("optimizer",), "Adam"),
        ("work_dir=", ("work_dir",), ""),
        ("work_dir=runs/a b", ("work_dir",), "runs/a b"),
        ("work_dir=a=b", ("work_dir",), "a=b"),
        ("work_dir==", ("work_dir",), "="),
        ("work_dir='3'", ("work_dir",), "3"),
        ("work_dir=runs#1", ("work_dir",), "runs#1"),
        ("work_dir=1#2", ("work_dir",), "1#2"),
        ("work_dir=1 # 2", ("work_dir",), "1 # 2"),
        ("work_dir=1,", ("work_dir",), "1,"),
        ("work_dir=1]", ("work_dir",), "1]"),
        ("val_split=nan?", ("val_split",), "nan?"),
        ("seed=1979-05-27", ("seed",), datetime.date(1979, 5, 27)),
        ("seed=" + "9" * 5000, ("seed",), "9" * 5000),
        ("class_weights=[1.0, 2]", ("class_weights",), [1.0, 2]),
        ("class_weights=[1,\n 2]", ("class_weights",), [1, 2]),
        ("scheduler_params={step_size = 3}", ("scheduler_params",), {"step_size": 3}),
        ("scheduler_params.step_size=3", ("scheduler_params", "step_size"), 3),
        ("a . b.c=1", ("a", "b", "c"), 1),
        (r'layers."layer2\\.0"=1', ("layers", r"layer2\.0"), 1),
        (r"layers.'layer2\.0'=1", ("layers", r"layer2\.0"), 1),
        ("'a=b'=c=d", ("a=b",), "c=d"),
        ('"a==b".c=1', ("a==b", "c"), 1),
        # A second line never sets a second key.
        ("learning_rate=0.1\nepochs=9", ("learning_rate",), "0.1\nepochs=9"),
        ("work_dir=1\r\nepochs=9", ("work_dir",), "1\r\nepochs=9"),
        ("work_dir=1]\nepochs=[9", ("work_dir",), "1]\nepochs=[9"),
    ],
)
def test_parse_override(argument: str, path: tuple[str, ...], value: Any) -> None:
    parsed = parse_override(argument)
    assert parsed.path == path
    assert parsed.value == value
    assert type(parsed.value) is type(value)


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "epochs",
        "=3",
        " =3",
        "a b=3",
        "a.=3",
        ".a=3",
        "a..b=3",
        "a\nb=3",
        "[t]\na=3",
        "freeze=" + "[" * 5000,
        "mean=[1,2",
        'work_dir="a"\nepochs=9',
        "early_stopping={ enabled = true",
        "# x\na=3",
        '"a=3',
        "[a]=3",
        "a#=3",
        "{a}=3",
    ],
)
def test_malformed_overrides(argument: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_override(argument)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "invalid-set"
    assert diagnostic.help is not None
    assert "--set key=value" in diagnostic.help


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("epochs=5", {"epochs": 5, "early_stopping": {"patience": 3}}),
        ("seed=5", {"epochs": 1, "early_stopping": {"patience": 3}, "seed": 5}),
        ("early_stopping.patience=5", {"epochs": 1, "early_stopping": {"patience": 5}}),
        ("early_stopping.enabled=true", {"epochs": 1, "early_stopping": {"patience": 3, "enabled": True}}),
        ("early_stopping=5", {"epochs": 1, "early_stopping": 5}),
        ("early_stopping={}", {"epochs": 1, "early_stopping": {}}),
        ("epochs={a=1}", {"epochs": {"a": 1}, "early_stopping": {"patience": 3}}),
        ("a.b.c=1", {"epochs": 1, "early_stopping": {"patience": 3}, "a": {"b": {"c": 1}}}),
    ],
)
def test_apply_override(argument: str, expected: dict[str, Any]) -> None:
    raw: dict[str, Any] = {"epochs": 1, "early_stopping": {"patience": 3}}
    apply_override(raw, parse_override(argument))
    assert raw == expected


@pytest.mark.parametrize(
    ("argument", "blamed"),
    [
        ("epochs.a=1", "`epochs`"),
        ("early_stopping.patience.a=1", "`early_stopping.patience`"),
        ("freeze.a=1", "`freeze`"),
    ],
)
def test_an_override_does_not_lead_through_a_value(argument: str, blamed: str) -> None:
    raw = {"epochs": 1, "early_stopping": {"patience": 3}, "freeze": []}
    with pytest.raises(ConfigError, match="is not a table") as caught:
        apply_override(raw, parse_override(argument))
    assert blamed in caught.value.diagnostics[0].message


def test_overrides_are_typed_like_the_file(minimal: Path) -> None:
    config = load_config(
        minimal, ["epochs=7", "optimizer=AdamW", "optimizer_params.weight_decay=0.1", "epochs=8"]
    )
    assert (config.epochs, config.optimizer_params.weight_decay) == (8, 0.1)
    with pytest.raises(ConfigError) as caught:
        load_config(minimal, ['epochs="7"', "learning_rate=", "sede=1"])
    assert {(d.code, d.key) for d in caught.value.diagnostics if d.severity == "error"} == {
        ("wrong-type", ("epochs",)),
        ("wrong-type", ("learning_rate",)),
        ("unknown-key", ("sede",)),
    }


def test_bad_overrides_are_reported_with_the_mistakes_of_the_file(minimal: Path) -> None:
    minimal.write_text(MINIMAL.replace("3", "0"))
    with pytest.raises(ConfigError) as caught:
        load_config(minimal, ["nonsense", "seed=1", "epochs.a=3"])
    errors = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert [d.code for d in errors] == ["out-of-range", "invalid-set", "invalid-set"]
    assert [str(d.span) for d in errors] == [f"{minimal}:2:10", "--set:1:1", "--set:3:1"]


# ---------------------------------------------------------------- every key by itself

DEFAULTS: dict[str, Any] = {
    "task": "classification",
    "model_name": "resnet18",
    "num_classes": None,
    "stem": "auto",
    "pretrained": True,
    "weights": None,
    "dataset": "folder",
    "train_data_root": "data/train",
    "val_data_root": None,
    "val_split": None,
    "batch_size": 32,
    "num_workers": "auto",
    "cache": "auto",
    "on_bad_image": "error",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "train_transform": ({"name": "ToTensor"},),
    "val_transform": None,
    "epochs": 20,
    "learning_rate": 0.1,
    "optimizer": "SGD",
    "optimizer_params": {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": False},
    "scheduler": None,
    "scheduler_params": None,
    "warmup_epochs": 0,
    "sampler": "shuffle",
    "class_weights": "balanced",
    "label_smoothing": 0.0,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "clip_grad_norm": None,
    "accumulate_steps": 1,
    "ema_decay": None,
    "freeze": (),
    "enable_layer_wise_lr": False,
    "layer_wise_lr_config": {"layer_rates": {}, "graph_config": {"use_log_scale": False}},
    "early_stopping": {"enabled": False, "patience": 30, "min_delta": 3.0, "monitor": "val_accuracy"},
    "device": None,
    "precision": "auto",
    "channels_last": "auto",
    "compile": False,
    "cudnn_benchmark": False,
    "sync_batch_norm": False,
    "threads": None,
    "seed": 0,
    "deterministic": False,
    "work_dir": "work_dirs",
    "save_interval": 10,
    "checkpoint_every_steps": None,
    "log_every_steps": 100,
    "enable_metrics_export": True,
    "enable_tensorboard": False,
    "tensorboard": {"histogram_every_epochs": 1},
    "enable_gradient_tracking": False,
    "gradient_tracking_config": {
        "record_frequency": 1,
        "exclude_patterns": (r"fc\.", r"\.bias"),
        "group_by_block": True,
        "aggregation_method": "median",
    },
    "monitor": {"enabled": False, "update_ratio_every": 10},
    "confusion_matrix_config": {
        "title": "Confusion Matrix",
        "xlabel": "Predicted Label",
        "ylabel": "True Label",
        "fontsize": 14,
        "title_fontsize": 16,
        "label_fontsize": 12,
        "figsize": (8.0, 6.0),
        "cmap": "Blues",
    },
    "optuna": None,
}


def test_defaults() -> None:
    dumped = valid().model_dump()
    assert {key: dumped[key] for key in DEFAULTS} == DEFAULTS


def test_every_key_is_tested_here() -> None:
    built = set(ClassificationConfig.model_fields)
    assert built - set(DEFAULTS) - set(LATER) == set()
    assert set(DEFAULTS) <= built


# Keys of features that bring tests of their own.
LATER: frozenset[str] = frozenset()

INT, FLOAT, BOOL, TEXT, TABLE, ARRAY = "whole number", "number", "true or false", "string", "table", "array"
FORMS: dict[str, str] = {
    **dict.fromkeys(
        [
            "num_classes",
            "epochs",
            "warmup_epochs",
            "accumulate_steps",
            "threads",
            "seed",
            "save_interval",
            "checkpoint_every_steps",
            "log_every_steps",
        ],
        INT,
    ),
    **dict.fromkeys(
        [
            "val_split",
            "learning_rate",
            "label_smoothing",
            "mixup_alpha",
            "cutmix_alpha",
            "clip_grad_norm",
            "ema_decay",
        ],
        FLOAT,
    ),
    **dict.fromkeys(
        [
            "pretrained",
            "enable_layer_wise_lr",
            "compile",
            "cudnn_benchmark",
            "sync_batch_norm",
            "deterministic",
            "enable_metrics_export",
            "enable_tensorboard",
            "enable_gradient_tracking",
        ],
        BOOL,
    ),
    **dict.fromkeys(
        [
            "task",
            "model_name",
            "stem",
            "weights",
            "dataset",
            "train_data_root",
            "val_data_root",
            "on_bad_image",
            "cache",
            "optimizer",
            "scheduler",
            "sampler",
            "device",
            "precision",
            "work_dir",
        ],
        TEXT,
    ),
    **dict.fromkeys(
        [
            "optimizer_params",
            "layer_wise_lr_config",
            "early_stopping",
            "gradient_tracking_config",
            "monitor",
            "tensorboard",
            "confusion_matrix_config",
            "optuna",
        ],
        TABLE,
    ),
    **dict.fromkeys(["mean", "std", "train_transform", "val_transform", "freeze"], ARRAY),
}
EXAMPLES: dict[str, list[Any]] = {
    INT: [3, -(2**63)],
    FLOAT: [0.5],
    BOOL: [True],
    TEXT: ["3", "true", ""],
    TABLE: [{}, {"a": 1}],
    ARRAY: [[], [1]],
    "date": [
        datetime.date(2026, 1, 2),
        datetime.time(1, 2),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    ],
}
WRONG_TYPES = [
    pytest.param(key, value, form, id=f"{key}-{value!r}")
    for key, form in FORMS.items()
    for other, values in EXAMPLES.items()
    if other != form and not (form == FLOAT and other == INT)  # an integer is a number
    for value in values
]


@pytest.mark.parametrize(("key", "value", "form"), WRONG_TYPES)
def test_nothing_is_coerced(key: str, value: Any, form: str) -> None:
    (diagnostic,) = [d for d in mistakes(folder(**{key: value})) if d.key[0] == key]
    assert (diagnostic.code, diagnostic.key) == ("wrong-type", (key,))
    assert form in diagnostic.message.rpartition("must be")[2]


def test_every_key_has_a_form() -> None:
    several = {"batch_size", "num_workers", "class_weights", "channels_last", "scheduler_params"}
    assert set(FORMS) | several == set(DEFAULTS)


@pytest.mark.parametrize("key", [key for key, form in FORMS.items() if form == FLOAT])
def test_an_integer_is_a_number(key: str) -> None:
    if key in ("learning_rate", "mixup_alpha", "cutmix_alpha", "clip_grad_norm"):
        assert getattr(valid(**{key: 1}), key) == 1.0
        assert type(getattr(valid(**{key: 1}), key)) is float
    else:  # 1 is a number, but out of range
        assert ("out-of-range", key) in found(folder(**{key: 1}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", [key for key, form in FORMS.items() if form == FLOAT])
def test_numbers_are_finite(key: str, value: float) -> None:
    assert ("out-of-range", key) in found(folder(**{key: value}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"mean": [0.1, "V", 0.1]}, "mean[1]"),
        ({"class_weights": ["V", 1.0]}, "class_weights[0]"),
        ({"optimizer_params": {"weight_decay": "V"}}, "optimizer_params.weight_decay"),
        ({"early_stopping": {"min_delta": "V"}}, "early_stopping.min_delta"),
        ({"layer_wise_lr_config": {"layer_rates": {"fc": "V"}}}, "layer_wise_lr_config.layer_rates.fc"),
        ({"scheduler": "ExponentialLR", "scheduler_params": {"gamma": "V"}}, "scheduler_params.gamma"),
    ],
)
def test_numbers_inside_are_finite(keys: dict[str, Any], where: str, value: float) -> None:
    def put(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: put(item) for key, item in node.items()}
        if isinstance(node, list):
            return [put(item) for item in node]
        return value if node == "V" else node

    assert found(folder(**put(keys))) == {("out-of-range", where)}


RANGES: list[tuple[str, list[Any], list[Any]]] = [
    ("num_classes", [2, 1000], [1, 0, -1]),
    ("val_split", [0.001, 0.999], [0, 0.0, 1, 1.0, -0.1]),
    ("batch_size", ["auto", 1, 10_000], [0, -1]),
    ("num_workers", ["auto", 0, 4, 256], [-1, 257]),
    ("mean", [[0, 0, 0], [-1.0, 2.0, 0.5]], [[], [0.5], [0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]),
    ("std", [[1, 1, 1], [0.1, 0.2, 3.0]], [[], [0.5], [0.5, 0.5, 0.0], [0.5, -1, 0.5], [1, 1, 1, 1]]),
    ("epochs", [1, 100_000], [0, -1]),
    ("learning_rate", [1e-12, 1.0, 1], [0, 0.0, -0.1, 1.0001, 2]),
    ("warmup_epochs", [0, 1, 19], [-1]),
    ("class_weights", ["balanced", "none", [1, 2.5], [1e-9]], [[], [1.0, 0.0], [1.0, -1]]),
    ("label_smoothing", [0, 0.5, 0.999], [-0.1, 1, 1.0]),
    ("mixup_alpha", [0, 0.2, 10], [-0.1]),
    ("cutmix_alpha", [0, 0.2, 10], [-0.1]),
    ("clip_grad_norm", [1e-9, 100], [0, 0.0, -1]),
    ("accumulate_steps", [1, 64], [0, -1]),
    ("ema_decay", [0.5, 0.9999], [0, 0.0, 1, 1.0, 1.5]),
    ("threads", [1, 64], [0, -1]),
    ("seed", [0, 2**32 - 1], [-1, 2**32]),
    ("save_interval", [1], [0, -1]),
    ("checkpoint_every_steps", [1, 500], [0, -1]),
    ("log_every_steps", [1], [0, -1]),
    ("train_data_root", ["."], [""]),
    ("weights", ["a.pth"], [""]),
    ("work_dir", ["a"], [""]),
    ("train_transform", [[TO_TENSOR]], [[]]),
]


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, good, _ in RANGES for value in good])
def test_within_range(key: str, value: Any) -> None:
    extra = {"val_transform": [TO_TENSOR]} if key == "val_split" else {}
    loaded = valid(**{key: value}, **extra).model_dump()[key]
    expected = tuple(value) if isinstance(value, list) else value
    assert loaded == expected


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, _, bad in RANGES for value in bad])
def test_out_of_range(key: str, value: Any) -> None:
    ((code, where),) = found(folder(**{key: value}))
    assert code == "out-of-range"
    assert where.partition("[")[0] == key


WORDS: list[tuple[str, list[Any]]] = [
    ("task", ["classification"]),
    ("model_name", ["resnet18", "vit_b_16", "convnext_tiny"]),
    ("stem", ["auto", "imagenet", "small"]),
    ("on_bad_image", ["error", "skip"]),
    ("on_bad_image", ["error", "skip"]),
    ("cache", ["auto", "none", "ram", "disk"]),
    ("sampler", ["shuffle", "balanced"]),
    ("precision", ["auto", "fp32", "bf16", "fp16"]),
    ("channels_last", ["auto", True, False]),
    ("batch_size", ["auto"]),
    ("num_workers", ["auto"]),
    ("class_weights", ["balanced", "none"]),
    ("device", ["cpu", "mps", "cuda", "cuda:0", "cuda:15"]),
]


@pytest.mark.parametrize(("key", "word"), [(key, word) for key, words in WORDS for word in words])
def test_known_words(key: str, word: Any) -> None:
    assert getattr(valid(**{key: word}), key) == word


@pytest.mark.parametrize("word", ["", "Foo", "auto ", "AUTO", "none\n", "cuda:", "cuda:٣", "gpu"])
@pytest.mark.parametrize("key", [*(key for key, _ in WORDS), "dataset", "scheduler"])
def test_unknown_words(key: str, word: str) -> None:
    (diagnostic,) = mistakes(folder(**{key: word}))
    assert (diagnostic.code, diagnostic.key) == ("unknown-value", (key,))
    assert diagnostic.help


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("batch_size", True, "must be a whole number"),
        ("batch_size", 16.0, "must be a whole number"),
        ("num_workers", True, "must be a whole number"),
        ("num_workers", 1.5, "must be a whole number"),
        ("num_workers", [1], "must be"),
        ("channels_last", 1, 'must be true, false or "auto"'),
        ("class_weights", 1, "must be a string in quotes or an array"),
        ("class_weights", {"a": 1}, "must be a string in quotes or an array"),
        ("scheduler_params", [1], "must be a table"),
        ("scheduler_params", "step_size", "must be a table"),
    ],
)
def test_keys_of_several_forms(key: str, value: Any, expected: str) -> None:
    (diagnostic,) = (
        mistakes(folder(scheduler="ExponentialLR", **{key: value}))
        if key == "scheduler_params"
        else mistakes(folder(**{key: value}))
    )
    assert (diagnostic.code, diagnostic.key) == ("wrong-type", (key,))
    assert expected in diagnostic.message


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"freeze": ["fc", 1]}, "freeze[1]"),
        ({"mean": [0.1, "0.1", 0.1]}, "mean[1]"),
        ({"mean": [0.1, True, 0.1]}, "mean[1]"),
        ({"class_weights": [1.0, "2"]}, "class_weights[1]"),
        ({"class_weights": [True, 1.0]}, "class_weights[0]"),
        ({"early_stopping": {"enabled": 1}}, "early_stopping.enabled"),
        ({"early_stopping": {"patience": True}}, "early_stopping.patience"),
        ({"early_stopping": {"patience": 3.0}}, "early_stopping.patience"),
        ({"early_stopping": {"min_delta": "3"}}, "early_stopping.min_delta"),
        ({"layer_wise_lr_config": {"layer_rates": []}}, "layer_wise_lr_config.layer_rates"),
        ({"layer_wise_lr_config": {"graph_config": 3}}, "layer_wise_lr_config.graph_config"),
        (
            {"layer_wise_lr_config": {"graph_config": {"use_log_scale": 1}}},
            "layer_wise_lr_config.graph_config.use_log_scale",
        ),
        ({"layer_wise_lr_config": {"layer_rates": {"fc": True}}}, "layer_wise_lr_config.layer_rates.fc"),
        ({"optimizer_params": {"nesterov": 1}}, "optimizer_params.nesterov"),
        ({"optimizer_params": {"momentum": "0.9"}}, "optimizer_params.momentum"),
        ({"optimizer": "Adam", "optimizer_params": {"betas": 0.9}}, "optimizer_params.betas"),
        ({"optimizer": "Adam", "optimizer_params": {"betas": [0.9, "a"]}}, "optimizer_params.betas[1]"),
        ({"scheduler": "StepLR", "scheduler_params": {"step_size": 3.0}}, "scheduler_params.step_size"),
        ({"scheduler": "StepLR", "scheduler_params": {"step_size": True}}, "scheduler_params.step_size"),
        ({"scheduler": "MultiStepLR", "scheduler_params": {"milestones": 3}}, "scheduler_params.milestones"),
        (
            {"scheduler": "MultiStepLR", "scheduler_params": {"milestones": [1.0]}},
            "scheduler_params.milestones[0]",
        ),
    ],
)
def test_nothing_inside_is_coerced(keys: dict[str, Any], where: str) -> None:
    assert found(folder(**keys)) == {("wrong-type", where)}


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"early_stopping": {"patience": 0}}, "early_stopping.patience"),
        ({"early_stopping": {"min_delta": -1}}, "early_stopping.min_delta"),
        ({"optimizer_params": {"momentum": 1.0}}, "optimizer_params.momentum"),
        ({"optimizer_params": {"momentum": -0.1}}, "optimizer_params.momentum"),
        ({"optimizer_params": {"weight_decay": -0.1}}, "optimizer_params.weight_decay"),
        ({"optimizer": "Adam", "optimizer_params": {"betas": []}}, "optimizer_params.betas"),
        ({"optimizer": "Adam", "optimizer_params": {"betas": [0.9]}}, "optimizer_params.betas"),
        ({"optimizer": "Adam", "optimizer_params": {"betas": [0.9, 0.9, 0.9]}}, "optimizer_params.betas"),
        ({"optimizer": "Adam", "optimizer_params": {"betas": [0.9, 1.0]}}, "optimizer_params.betas[1]"),
        ({"optimizer": "AdamW", "optimizer_params": {"eps": 0}}, "optimizer_params.eps"),
        ({"scheduler": "StepLR", "scheduler_params": {"step_size": 0}}, "scheduler_params.step_size"),
        ({"scheduler": "StepLR", "scheduler_params": {"step_size": 3, "gamma": 0}}, "scheduler_params.gamma"),
        (
            {"scheduler": "StepLR", "scheduler_params": {"step_size": 3, "gamma": 1.1}},
            "scheduler_params.gamma",
        ),
        ({"scheduler": "MultiStepLR", "scheduler_params": {"milestones": []}}, "scheduler_params.milestones"),
        (
            {"scheduler": "MultiStepLR", "scheduler_params": {"milestones": [0, 3]}},
            "scheduler_params.milestones[0]",
        ),
        (
            {"scheduler": "MultiStepLR", "scheduler_params": {"milestones": [3, 3]}},
            "scheduler_params.milestones",
        ),
        (
            {"scheduler": "MultiStepLR", "scheduler_params": {"milestones": [5, 3]}},
            "scheduler_params.milestones",
        ),
        ({"scheduler": "CosineAnnealingLR", "scheduler_params": {"T_max": 0}}, "scheduler_params.T_max"),
        (
            {"scheduler": "CosineAnnealingLR", "scheduler_params": {"T_max": 5, "eta_min": -1}},
            "scheduler_params.eta_min",
        ),
        ({"scheduler": "ExponentialLR", "scheduler_params": {"gamma": 0}}, "scheduler_params.gamma"),
        ({"scheduler": "ExponentialLR", "scheduler_params": {"gamma": 1.0}}, "scheduler_params.gamma"),
        ({"scheduler": "LinearLR", "scheduler_params": {"total_iters": 0}}, "scheduler_params.total_iters"),
        (
            {"scheduler": "LinearLR", "scheduler_params": {"total_iters": 5, "start_factor": 0}},
            "scheduler_params.start_factor",
        ),
        (
            {"scheduler": "LinearLR", "scheduler_params": {"total_iters": 5, "end_factor": 1.1}},
            "scheduler_params.end_factor",
        ),
        ({"layer_wise_lr_config": {"layer_rates": {"fc": 0.0}}}, "layer_wise_lr_config.layer_rates.fc"),
        ({"layer_wise_lr_config": {"layer_rates": {"fc": 1.1}}}, "layer_wise_lr_config.layer_rates.fc"),
    ],
)
def test_ranges_inside(keys: dict[str, Any], where: str) -> None:
    assert found(folder(**keys)) == {("out-of-range", where)}


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("SGD", {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": False}),
        ("Adam", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}),
        ("AdamW", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2, "amsgrad": False}),
    ],
)
def test_optimizer_defaults(optimizer: str, expected: dict[str, Any]) -> None:
    assert valid(optimizer=optimizer).optimizer_params.model_dump() == expected
    assert valid(optimizer=optimizer, optimizer_params={}).optimizer_params.model_dump() == expected


@pytest.mark.parametrize(
    ("scheduler", "params", "expected"),
    [
        ("StepLR", {"step_size": 3}, {"step_size": 3, "gamma": 0.1}),
        ("MultiStepLR", {"milestones": [3, 5]}, {"milestones": (3, 5), "gamma": 0.1}),
        ("CosineAnnealingLR", {"T_max": 5}, {"T_max": 5, "eta_min": 0.0}),
        ("ExponentialLR", {"gamma": 0.5}, {"gamma": 0.5}),
        ("LinearLR", {"total_iters": 5}, {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 5}),
    ],
)
def test_scheduler_defaults_and_required_parameters(
    scheduler: str, params: dict[str, Any], expected: dict[str, Any]
) -> None:
    loaded = valid(scheduler=scheduler, scheduler_params=params).scheduler_params
    assert loaded is not None
    assert loaded.model_dump() == expected
    missing = {("missing-key", f"scheduler_params.{key}") for key in params}
    assert found(folder(scheduler=scheduler)) == missing
    assert found(folder(scheduler=scheduler, scheduler_params={})) == missing


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"early_stopping": {"nonsense": 1}}, "early_stopping.nonsense"),
        ({"optimizer_params": {"betas": [0.9, 0.9]}}, "optimizer_params.betas"),
        ({"optimizer": "Adam", "optimizer_params": {"momentum": 0.9}}, "optimizer_params.momentum"),
        (
            {"scheduler": "ExponentialLR", "scheduler_params": {"gamma": 0.5, "T_max": 1}},
            "scheduler_params.T_max",
        ),
        ({"layer_wise_lr_config": {"nonsense": 1}}, "layer_wise_lr_config.nonsense"),
        (
            {"layer_wise_lr_config": {"graph_config": {"nonsense": 1}}},
            "layer_wise_lr_config.graph_config.nonsense",
        ),
    ],
)
def test_unknown_keys(keys: dict[str, Any], where: str) -> None:
    assert found(folder(**keys)) == {("unknown-key", where)}


def test_defaults_that_depend_on_other_keys() -> None:
    assert valid(sampler="balanced").class_weights == "none"
    assert valid(sampler="shuffle").class_weights == "balanced"
    assert valid(weights="a.pth").pretrained is False
    assert valid(pretrained=False).pretrained is False


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(valid(), "epochs", 3)  # noqa: B010 - mypy knows that it is read-only


# ---------------------------------------------------------------- properties

RATE = st.floats(1e-9, 1.0)
POSITIVE = st.integers(1, 10_000)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
SCHEDULES = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"step_size": POSITIVE}, optional={"gamma": RATE}).map(
        lambda p: {"scheduler": "StepLR", "scheduler_params": p}
    ),
    st.lists(POSITIVE, min_size=1, max_size=5, unique=True).map(
        lambda m: {"scheduler": "MultiStepLR", "scheduler_params": {"milestones": sorted(m)}}
    ),
    st.fixed_dictionaries({"T_max": POSITIVE}, optional={"eta_min": st.floats(0, 0.5)}).map(
        lambda p: {"scheduler": "CosineAnnealingLR", "scheduler_params": p}
    ),
    st.floats(0.01, 0.99).map(lambda g: {"scheduler": "ExponentialLR", "scheduler_params": {"gamma": g}}),
    st.fixed_dictionaries({"total_iters": POSITIVE}, optional={"end_factor": st.floats(0, 1)}).map(
        lambda p: {"scheduler": "LinearLR", "scheduler_params": p}
    ),
)
OPTIMIZERS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"momentum": st.floats(0.1, 0.99), "nesterov": st.booleans()}).map(
        lambda p: {"optimizer": "SGD", "optimizer_params": p}
    ),
    st.tuples(st.sampled_from(["Adam", "AdamW"]), st.floats(0, 0.99), st.floats(0, 0.99)).map(
        lambda t: {"optimizer": t[0], "optimizer_params": {"betas": [t[1], t[2]]}}
    ),
)
STEPS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"name": st.just("Resize"), "size": POSITIVE}),
        st.fixed_dictionaries(
            {
                "name": st.just("RandomCrop"),
                "size": st.tuples(POSITIVE, POSITIVE).map(list),
                "pad_if_needed": st.just(True),
            }
        ),
        st.fixed_dictionaries({"name": st.just("RandomHorizontalFlip")}, optional={"p": st.floats(0, 1)}),
        st.floats(0, 1).map(
            lambda p: {
                "name": "RandomApply",
                "p": p,
                "transforms": [{"name": "ColorJitter", "hue": [-0.1, 0.1]}],
            }
        ),
    ),
    max_size=3,
).map(lambda steps: [*steps, TO_TENSOR, {"name": "Normalize"}])
DATA = st.one_of(
    st.fixed_dictionaries({"train_data_root": TEXTS}),
    st.fixed_dictionaries({"train_data_root": TEXTS, "val_data_root": TEXTS, "val_transform": STEPS}),
    st.fixed_dictionaries(
        {"train_data_root": TEXTS, "val_split": st.floats(0.01, 0.99), "val_transform": STEPS}
    ),
    st.fixed_dictionaries({"dataset": st.just("digits"), "val_transform": STEPS, "num_classes": st.just(10)}),
)
PLAIN = st.fixed_dictionaries(
    {"epochs": st.integers(20, 1000), "learning_rate": RATE, "train_transform": STEPS},
    optional={
        "model_name": st.sampled_from(["resnet18", "resnet50"]),
        "num_classes": st.integers(2, 1000),
        "weights": TEXTS,
        "batch_size": st.one_of(st.just("auto"), POSITIVE),
        "num_workers": st.one_of(st.just("auto"), st.integers(0, 256)),
        "mean": st.lists(st.floats(-10, 10), min_size=3, max_size=3),
        "warmup_epochs": st.integers(0, 19),
        "sampler": st.sampled_from(["shuffle", "balanced"]),
        "label_smoothing": st.floats(0, 0.99),
        "clip_grad_norm": st.floats(0.01, 10),
        "ema_decay": st.floats(0.01, 0.999),
        "enable_layer_wise_lr": st.just(True),
        "layer_wise_lr_config": st.permutations(["fc", "conv1", r"layer1\.0", "layer1|layer2"]).map(
            lambda patterns: {"layer_rates": {p: 0.01 for p in patterns if p != "layer1|layer2"}}
        ),
        "early_stopping": st.fixed_dictionaries(
            {}, optional={"patience": POSITIVE, "min_delta": st.floats(0, 10), "monitor": st.just("val_loss")}
        ),
        "channels_last": st.one_of(st.just("auto"), st.booleans()),
        "seed": st.integers(0, 2**32 - 1),
        "work_dir": TEXTS,
    },
)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    raw = draw(PLAIN) | draw(DATA) | draw(OPTIMIZERS) | draw(SCHEDULES)
    if raw.get("enable_layer_wise_lr") and "layer_wise_lr_config" not in raw:
        del raw["enable_layer_wise_lr"]
    return copy.deepcopy(raw)


@settings(max_examples=60, deadline=None)
@given(raw=configs())
def test_the_resolved_config_is_the_same_config(
    raw: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = validate(raw)
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_bytes(tomli_w.dumps(config.model_dump(exclude_none=True)).encode())
    assert validate(read_document(path).raw) == config
    if config.layer_rates:  # whose order matters
        assert list(validate(read_document(path).raw).layer_rates) == list(config.layer_rates)


SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.sampled_from(
        ["auto", "balanced", "Adam", "StepLR", "digits", "(?i)a", "(a", "number", "list", "word", 10**400]
    ),
)
NAMES = st.sampled_from(
    [
        "name",
        "size",
        "p",
        "transforms",
        "Resize",
        "ToTensor",
        "gamma",
        "layer_rates",
        "layer1",
        "a.b",
        "0",
        "enabled",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in inner for place in [(*path, key), *places(value, (*path, key))]]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    raw = draw(configs())
    for _ in range(draw(st.integers(1, 5))):
        match draw(st.sampled_from(["replace", "delete", "known", "unknown"])):
            case "known":
                raw[draw(st.sampled_from(sorted(ClassificationConfig.model_fields)))] = draw(VALUES)
            case "unknown":
                raw[draw(TEXTS)] = draw(VALUES)
            case action if options := places(raw):
                *way, last = draw(st.sampled_from(options))
                node: Any = raw
                for part in way:
                    node = node[part]
                if action == "delete":
                    del node[last]
                else:
                    node[last] = draw(VALUES)
            case _:
                pass
    return raw


@settings(max_examples=200, deadline=None)
@given(raw=mutated())
def test_a_damaged_config_is_refused_in_good_order_or_valid(raw: dict[str, Any]) -> None:
    before = copy.deepcopy(raw)
    try:
        validate(raw)
    except ConfigError as error:
        assert error.diagnostics
        assert all(diagnostic.key and diagnostic.message for diagnostic in error.diagnostics)
    assert repr(raw) == repr(before)


@settings(max_examples=200, deadline=None)
@given(argument=st.text(max_size=30) | st.tuples(TEXTS, st.text(max_size=20)).map("=".join))
def test_an_override_is_one_key_or_refused(argument: str) -> None:
    raw: dict[str, Any] = {}
    try:
        apply_override(raw, parse_override(argument))
    except ConfigError:
        assert raw == {} or len(raw) == 1
    else:
        assert len(raw) == 1
