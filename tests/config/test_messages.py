"""What a user reads: their own keys and values, a likely fix, and nothing of the machinery."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest

from pochi_cli.config.values import show
from pochi_cli.errors import format_key
from tests.config.raw import TO_TENSOR, folder, found, mistakes
from tests.config.test_load import DEFAULTS
from tests.config.test_rules import BROKEN

JARGON = re.compile(
    r"input should be|pydantic|field required|extra inputs|valid (integer|number|string|tuple|dictionary)"
    r"|\b(dict|str|int|bool|tuple|list|NoneType|None|True|False|float|Literal|type=|ctx|datetime)\b"
    r"|\((\d, )+\d\)",
    re.IGNORECASE,
)
# TOML's own true and false, and `nothing is left` are fine: only Python's spelling is not.
PYTHON_CASE = {"true", "false", "none"}


def jargon(text: str) -> list[str]:
    return [m.group() for m in JARGON.finditer(text) if m.group() not in PYTHON_CASE]


WILD: list[Any] = [
    3,
    -1,
    0.5,
    float("nan"),
    float("inf"),
    True,
    "word",
    "",
    [],
    [1],
    ["a", 2.0, [True]],
    [[1], {"a": 1}],
    {},
    {"a": 1},
    {"name": "Resize"},
    [{"name": "Resize", "size": [1, 2, 3]}],
    [{"name": "resize"}],
    [{"size": 3}],
    [{"name": 3}, {"name": ["a"]}, {"name": {}}],
    datetime.date(2026, 1, 2),
]


@pytest.mark.parametrize("value", WILD, ids=repr)
@pytest.mark.parametrize("key", DEFAULTS)
def test_no_machinery_shows(key: str, value: Any) -> None:
    raw = folder(**{key: value})
    if key == "scheduler_params":
        raw["scheduler"] = "LinearLR"
    try:
        diagnostics = mistakes(raw)
    except pytest.fail.Exception:
        return  # a valid value
    for diagnostic in diagnostics:
        text = " ".join(
            [diagnostic.message, diagnostic.help or "", *(note.message for note in diagnostic.notes)]
        )
        assert jargon(text) == [], text
        assert "\n" not in text
        assert diagnostic.key
        names = [part for part in diagnostic.key if isinstance(part, str)]
        assert names[-1] in text


@pytest.mark.parametrize("name", BROKEN)
def test_rules_name_their_key(name: str) -> None:
    (diagnostic,) = mistakes(BROKEN[name][0])
    assert jargon(f"{diagnostic.message} {diagnostic.help}") == []
    last = next(str(part) for part in reversed(diagnostic.key) if isinstance(part, str))
    assert last in diagnostic.message


@pytest.mark.parametrize(
    ("keys", "where", "meant"),
    [
        ({"epoch": 3}, "epoch", "epochs"),
        ({"batchsize": 3}, "batchsize", "batch_size"),
        ({"BATCH_SIZE": 3}, "BATCH_SIZE", "batch_size"),
        ({"batch-size": 3}, "batch-size", "batch_size"),
        ({"early_stoping": {}}, "early_stoping", "early_stopping"),
        ({"early_stopping": {"patiense": 3}}, "early_stopping.patiense", "patience"),
        ({"optimizer_params": {"weight_deca": 0}}, "optimizer_params.weight_deca", "weight_decay"),
        ({"optimizer": "Adam", "optimizer_params": {"beta": 0}}, "optimizer_params.beta", "betas"),
        ({"layer_wise_lr_config": {"layer_rate": {}}}, "layer_wise_lr_config.layer_rate", "layer_rates"),
        (
            {"layer_wise_lr_config": {"graph_config": {"log_scale": True}}},
            "layer_wise_lr_config.graph_config.log_scale",
            "use_log_scale",
        ),
        (
            {"train_transform": [{"name": "Resize", "size": 3, "interpolatoin": "nearest"}, TO_TENSOR]},
            "train_transform[0].interpolatoin",
            "interpolation",
        ),
    ],
)
def test_did_you_mean_key(keys: dict[str, Any], where: str, meant: str) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert (diagnostic.code, format_key(diagnostic.key)) == ("unknown-key", where)
    assert diagnostic.help == f"did you mean `{meant}`?"


def test_no_far_fetched_suggestion() -> None:
    (diagnostic,) = mistakes(folder(zzz=1))
    assert diagnostic.help is None
    (diagnostic,) = mistakes(folder(optimizer_params={"zzz": 1}))
    assert diagnostic.help == "known here: momentum, nesterov, weight_decay"


@pytest.mark.parametrize(
    ("keys", "meant"),
    [
        ({"model_name": "resnet81"}, "resnet18"),
        ({"model_name": "ResNet18"}, "resnet18"),
        ({"optimizer": "adam"}, "Adam"),
        ({"optimizer": "sgd"}, "SGD"),
        ({"scheduler": "StepLr", "scheduler_params": {"step_size": 3}}, "StepLR"),
        ({"precision": "fp61"}, "fp16"),
        ({"class_weights": "balance"}, "balanced"),
        ({"train_transform": [{"name": "toTensor"}]}, "ToTensor"),
        ({"early_stopping": {"monitor": "val_acc"}}, "val_accuracy"),
    ],
)
def test_did_you_mean_value(keys: dict[str, Any], meant: str) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert diagnostic.code == "unknown-value"
    assert diagnostic.help is not None
    assert diagnostic.help.startswith(f'did you mean "{meant}"?')
    assert diagnostic.help.endswith('"?') == (len(diagnostic.help) < 40)  # long lists are left out


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("epoch", "epochs"),
        ("learning_rat", "learning_rate"),
        ("Learning_Rate", "learning_rate"),
        ("train_transforms", "train_transform"),
        ("train_data_dir", "train_data_root"),  # required by a rule
    ],
)
def test_missing_and_misspelt_are_one_mistake(wrong: str, right: str) -> None:
    raw = folder()
    raw[wrong] = raw.pop(right)
    (diagnostic,) = mistakes(raw)
    assert (diagnostic.code, diagnostic.key) == ("unknown-key", (wrong,))
    assert diagnostic.help == f"did you mean `{right}`? (required, and missing)"


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"scheduler": "StepLR", "scheduler_params": {"step_sise": 3}}, "scheduler_params.step_sise"),
        ({"train_transform": [{"name": "Resize", "sise": 3}, TO_TENSOR]}, "train_transform[0].sise"),
        ({"val_data_root": "a", "val_transfrom": [TO_TENSOR]}, "val_transfrom"),
    ],
)
def test_folding_inside_tables_and_for_rules(keys: dict[str, Any], where: str) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert (diagnostic.code, format_key(diagnostic.key)) == ("unknown-key", where)
    assert "(required, and missing)" in (diagnostic.help or "")


def test_one_missing_key_folds_with_one_unknown_key() -> None:
    raw = folder(epoch=3, epohcs=3)
    del raw["epochs"]
    helps = sorted(str(diagnostic.help) for diagnostic in mistakes(raw))
    assert helps == ["did you mean `epochs`?", "did you mean `epochs`? (required, and missing)"]


def test_no_folding_across_tables() -> None:
    raw = folder(early_stopping={"epoch": 3})
    del raw["epochs"]
    assert found(raw) == {("missing-key", "epochs"), ("unknown-key", "early_stopping.epoch")}


@pytest.mark.parametrize(
    ("keys", "message", "remedy"),
    [
        ({"epochs": "3"}, 'epochs is "3" (a string), but must be a whole number', "write 3 without quotes"),
        ({"epochs": True}, "epochs is true, but must be a whole number", None),
        ({"epochs": 1.5}, "epochs is 1.5 (a number), but must be a whole number", None),
        ({"learning_rate": 2}, "learning_rate is 2, but must be at most 1.0", None),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but must be a finite number", None),
        ({"mean": [0.5]}, "mean has 1 entry, but needs 3: [0.5]", None),
        ({"mean": [1, 2, 3, 4]}, "mean has 4 entries, but needs 3: [1, 2, 3, 4]", None),
        ({"work_dir": ""}, "work_dir is empty", "name it, or leave the key out"),
        ({"num_workers": "four"}, 'num_workers is "four"', 'allowed: "auto", a number'),
        ({"channels_last": "yes"}, 'channels_last is "yes"', 'allowed: "auto", true or false'),
        (
            {"layer_wise_lr_config": {"layer_rates": {"layer2": {"0": 0.5}}}},
            "layer_wise_lr_config.layer_rates.layer2 is a table, but must be a number",
            r'a pattern with a dot needs quotes: "layer2\\.0" = 0.5',
        ),
        (
            {"train_transform": ["ToTensor"]},
            'train_transform[0] is "ToTensor" (a string), but must be a table',
            'write { name = "ToTensor" }',
        ),
        ({"scheduler": "StepLR"}, "`scheduler_params.step_size` is missing", 'scheduler = "StepLR" needs it'),
        (
            {"freeze": ["layer5"]},
            "the pattern `layer5` of freeze matches no parameter of resnet18",
            "the closest layers are `layer4`, `layer3`, `layer2`",
        ),
    ],
)
def test_wording(keys: dict[str, Any], message: str, remedy: str | None) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert (diagnostic.message, diagnostic.help) == (message, remedy)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (1e-05, "1e-05"),
        ('a"b\n', r'"a\"b\n"'),
        ("花", '"花"'),
        ([1, "a", [True]], '[1, "a", [true]]'),
        ((1, 2), "[1, 2]"),
        ({}, "{}"),
        ({"a": 1, "b": {"c": []}}, "{ a = 1, b = { c = [] } }"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ("x" * 1_000_000, '"' + "x" * 56 + "..."),
        ([0] * 1_000_000, "[" + "0, " * 18 + "0,..."),
    ],
)
def test_show(value: Any, shown: str) -> None:
    assert show(value) == shown
    assert len(show(value)) <= 60


@pytest.mark.parametrize(
    ("keys", "message", "remedy"),
    [
        ({"epochs": 3.0}, "epochs is 3.0 (a number), but must be a whole number", "write 3"),
        ({"epochs": "３"}, 'epochs is "３" (a string), but must be a whole number', None),
        (
            {"clip_grad_norm": "1"},
            'clip_grad_norm is "1" (a string), but must be a number',
            "write 1 without quotes",
        ),
        ({"pretrained": "True"}, 'pretrained is "True" (a string), but must be true or false', "write true"),
        ({"pretrained": 1}, "pretrained is 1 (a whole number), but must be true or false", "write true"),
        (
            {"ema_decay": ".9"},
            'ema_decay is ".9" (a string), but must be a number',
            "write 0.9 without quotes",
        ),
        ({"seed": True}, "seed is true, but must be a whole number", None),
        ({"work_dir": 3}, "work_dir is 3 (a whole number), but must be a string in quotes", 'write "3"'),
        ({"freeze": "fc"}, 'freeze is "fc" (a string), but must be an array [...]', 'write ["fc"]'),
        ({"mean": 0.5}, "mean is 0.5 (a number), but must be an array [...]", None),
        ({"num_workers": "4"}, 'num_workers is "4" (a string)', "write 4 without quotes"),
        ({"train_transform": []}, "train_transform is empty, but needs at least 1 entry", None),
        ({"num_classes": 1}, "num_classes is 1, but must be at least 2", None),
        (
            {"channels_last": 1},
            'channels_last is 1 (a whole number), but must be true, false or "auto"',
            None,
        ),
    ],
)
def test_values_of_the_wrong_type(keys: dict[str, Any], message: str, remedy: str | None) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert (diagnostic.message, diagnostic.help) == (message, remedy)


def test_a_path_with_an_escape_in_it() -> None:
    (diagnostic,) = mistakes(folder(train_data_root="D:\train\new"))
    assert diagnostic.code == "out-of-range"
    assert "U+0009" in diagnostic.message
    assert "single quotes" in diagnostic.message
