"""What a search may be: every mistake in it is told with its place, and what is right is not refused."""

from __future__ import annotations

from typing import Any

import pytest

from pochi_cli.config.document import Document
from pochi_cli.config.load import check, check_document, validate
from pochi_cli.config.search_grid import Grid
from pochi_cli.config.search_space import (
    key_of,
    parameters,
    plain_config,
    with_values,
)
from pochi_cli.config.spans import SourceText
from pochi_cli.errors import format_key
from tests.config.raw import EDITOR, TO_TENSOR, doubts, folder, found, mistakes

ROTATION = {"name": "RandomRotation", "degrees": 10}
RATE = {"type": "float", "low": 1e-4, "high": 0.1, "log": True}


def choices(*values: Any) -> dict[str, Any]:
    return {"type": "categorical", "choices": list(values)}


def numbers(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, **more}


def whole(low: int, high: int, **more: Any) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high, **more}


def searching(space: dict[str, Any], settings: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """A config with validation data that searches this."""
    base = folder(
        pretrained=False,
        val_split=0.2,
        val_transform=[TO_TENSOR],
        train_transform=[ROTATION, TO_TENSOR],
        **keys,
    )
    return {**base, "optuna": {"optuna_epochs": 5, "search_space": space, **(settings or {})}}


STEP: dict[str, Any] = {"scheduler": "StepLR", "scheduler_params": {"step_size": 2}}
LAYERS: dict[str, Any] = {
    "enable_layer_wise_lr": True,
    "layer_wise_lr_config": {"layer_rates": {"layer1": 0.01}},
}

SOUND: dict[str, dict[str, Any]] = {
    "the guide's": searching(
        {
            "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
            "batch_size": choices(16, 32),
            "optimizer": choices("SGD", "Adam", "AdamW"),
            "scheduler_gamma": numbers(0.85, 0.99),
            "scheduler_step_size": whole(5, 30),
        },
        **STEP,
    ),
    "dotted": searching({"optimizer_params.weight_decay": numbers(0.0, 0.1)}),
    "short": searching({"optimizer_momentum": numbers(0.5, 0.99)}),
    "a step's argument": searching({"train_transform[0].degrees": whole(0, 30)}),
    "a layer's rate": searching({"layer_wise_lr_config.layer_rates.layer1": RATE}, **LAYERS),
    "a pattern with a dot": searching({r"layer_wise_lr_config.layer_rates.layer2\.0": RATE}, **LAYERS),
    "an array": searching({"class_weights": choices([1.0, 2.0], "balanced")}, num_classes=2),
    "a whole pipeline": searching({"train_transform": choices([TO_TENSOR], [ROTATION, TO_TENSOR])}),
    "schedulers with arguments": searching(
        {
            "scheduler": choices("StepLR", "ExponentialLR"),
            "scheduler_gamma": numbers(0.5, 0.9),
            "scheduler_step_size": whole(1, 3),
        }
    ),
    "a grid": searching(
        {"learning_rate": numbers(0.1, 0.3, step=0.1), "batch_size": choices(8, 16)},
        {"sampler": "GridSampler"},
    ),
    "a layer's rate and its switch": searching(
        {"layer_wise_lr_config.layer_rates.layer1": RATE, "enable_layer_wise_lr": choices(True, False)},
        layer_wise_lr_config={"layer_rates": {"layer1": 0.1}},
    ),
    "early stopping": searching(
        {"early_stopping.patience": whole(1, 3)}, early_stopping={"enabled": True, "min_delta": 0.1}
    ),
    "model names": searching({"model_name": choices("resnet18", "resnet34")}),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_right_is_not_refused(name: str) -> None:
    raw = SOUND[name]
    validate(raw)
    EDITOR.validate(raw)


# A search, and code and key of each of its mistakes.
SPACE = "optuna.search_space"
BROKEN: dict[str, tuple[dict[str, Any], set[tuple[str, str]]]] = {
    "unknown key": (searching({"learning_rat": RATE}), {("unknown-key", f"{SPACE}.learning_rat")}),
    "no key": (searching({"a b": RATE}), {("unknown-key", f'{SPACE}."a b"')}),
    "unknown step": (
        searching({"train_transform[4].degrees": whole(0, 3)}),
        {("unknown-key", f'{SPACE}."train_transform[4].degrees"')},
    ),
    "unknown argument": (
        searching({"optimizer_betas": choices([0.9, 0.99])}),
        {("unknown-key", f"{SPACE}.optimizer_betas")},
    ),
    "argument of no chosen optimizer": (
        searching({"optimizer": choices("Adam", "AdamW"), "optimizer_momentum": numbers(0.1, 0.9)}),
        {("unknown-key", f"{SPACE}.optimizer_momentum")},
    ),
    "low above high": (
        searching({"learning_rate": numbers(0.2, 0.1)}),
        {("out-of-range", f"{SPACE}.learning_rate.high")},
    ),
    "low is high": (
        searching({"epochs_": whole(3, 3)} | {"warmup_epochs": whole(1, 1)}),
        {
            ("unknown-key", f"{SPACE}.epochs_"),
            ("out-of-range", f"{SPACE}.epochs_.high"),
            ("out-of-range", f"{SPACE}.warmup_epochs.high"),
        },
    ),
    "log with 0": (
        searching({"label_smoothing": numbers(0.0, 0.3, log=True)}),
        {("out-of-range", f"{SPACE}.label_smoothing.low")},
    ),
    "log and step": (
        searching({"label_smoothing": numbers(0.1, 0.3, log=True, step=0.1)}),
        {("conflict", f"{SPACE}.label_smoothing.step")},
    ),
    "step too large": (
        searching({"label_smoothing": numbers(0.1, 0.3, step=0.4)}),
        {("out-of-range", f"{SPACE}.label_smoothing.step")},
    ),
    "bounds that the key refuses": (
        searching({"learning_rate": numbers(-0.1, 1.5)}),
        {("out-of-range", f"{SPACE}.learning_rate.low"), ("out-of-range", f"{SPACE}.learning_rate.high")},
    ),
    "a choice that the key refuses": (
        searching({"optimizer": choices("SGD", "Adagrad"), "batch_size": choices(8, 0, "many")}),
        {
            ("unknown-value", f"{SPACE}.optimizer.choices[1]"),
            ("out-of-range", f"{SPACE}.batch_size.choices[1]"),
            ("unknown-value", f"{SPACE}.batch_size.choices[2]"),
        },
    ),
    "a fraction for a whole number": (
        searching({"batch_size": numbers(8, 16)}),
        {("wrong-type", f"{SPACE}.batch_size.type")},
    ),
    "a choice twice": (
        searching({"batch_size": choices(8, 16, 8)}),
        {("conflict", f"{SPACE}.batch_size.choices[2]")},
    ),
    "short and long": (
        searching({"optimizer_momentum": RATE, "optimizer_params.momentum": RATE}),
        {("conflict", f'{SPACE}."optimizer_params.momentum"')},
    ),
    "a table and its key": (
        searching({"optimizer_params": choices({"momentum": 0.5}), "optimizer_momentum": RATE}),
        {("conflict", f"{SPACE}.optimizer_momentum")},
    ),
    "not to be searched": (
        searching({"epochs": whole(1, 3), "val_split": numbers(0.1, 0.2), "work_dir": choices("a", "b")}),
        {("conflict", f"{SPACE}.{key}") for key in ("epochs", "val_split", "work_dir")},
    ),
    "a rate that is not used": (
        searching({"layer_wise_lr_config.layer_rates.layer1": RATE}),
        {("conflict", f'{SPACE}."layer_wise_lr_config.layer_rates.layer1"')},
    ),
    "a pattern that matches nothing": (
        searching({"layer_wise_lr_config.layer_rates.stage1": RATE}, **LAYERS),
        {("unmatched-layer-pattern", f'{SPACE}."layer_wise_lr_config.layer_rates.stage1"')},
    ),
    "a model without the layers": (
        searching({"model_name": choices("resnet18", "vit_tiny")}, **LAYERS),
        {("unmatched-layer-pattern", f"{SPACE}.model_name.choices[1]")},
    ),
    "a scaled rate that is too large": (
        searching({"learning_rate": numbers(0.01, 1.0)}, learning_rate=0.01, **LAYERS)
        | {"layer_wise_lr_config": {"layer_rates": {"layer1": 0.02}}},
        {("out-of-range", f"{SPACE}.learning_rate.high")},
    ),
    "a scheduler without its arguments": (
        searching(
            {"scheduler": choices("ExponentialLR", "StepLR")},
            scheduler="ExponentialLR",
            scheduler_params={"gamma": 0.9},
        ),
        {("missing-key", f"{SPACE}.scheduler.choices[1]")},
    ),
    "an entry of an array that the file does not give": (
        searching(
            {"mean[0]": numbers(0.1, 0.2), "class_weights[1]": numbers(0.1, 0.2), ".seed": whole(0, 1)}
        ),
        {
            ("unknown-key", f'{SPACE}."mean[0]"'),
            ("unknown-key", f'{SPACE}."class_weights[1]"'),
            ("unknown-key", f'{SPACE}.".seed"'),
        },
    ),
    "an absurd step and an absurd place": (
        searching({"label_smoothing": numbers(0.1, 0.2, step=1e-320), f"mean[{'9' * 5000}]": RATE}),
        {
            ("out-of-range", f"{SPACE}.label_smoothing.step"),
            ("unknown-key", f'{SPACE}."mean[{"9" * 5000}]"'),
        },
    ),
    "an argument without a scheduler": (
        searching({"scheduler_gamma": numbers(0.1, 0.9)}),
        {("conflict", f"{SPACE}.scheduler_gamma")},
    ),
    "a required argument that only the search gives": (
        searching({"scheduler_step_size": whole(1, 3)}, scheduler="StepLR"),
        {("missing-key", "scheduler_params.step_size")},
    ),
    "a flag by numbers": (
        searching({"optimizer_nesterov": whole(0, 1)}),
        {("wrong-type", f"{SPACE}.optimizer_nesterov.type")},
    ),
    "a misspelt table": (
        searching({"layer_wise_lr_config.layer_rate.layer1": RATE}, **LAYERS),
        {("unknown-key", f'{SPACE}."layer_wise_lr_config.layer_rate.layer1"')},
    ),
    "early stopping that is off": (
        searching({"early_stopping.patience": whole(1, 3)}),
        {("conflict", f'{SPACE}."early_stopping.patience"')},
    ),
    "what nothing depends on": (
        searching({"log_every_steps": whole(1, 3), "enable_tensorboard": choices(True, False)}),
        {("conflict", f"{SPACE}.log_every_steps"), ("conflict", f"{SPACE}.enable_tensorboard")},
    ),
    "a misspelt type": (
        searching({"learning_rate": {"typ": "float", "low": 0.1, "high": 0.2}}),
        {("unknown-key", f"{SPACE}.learning_rate.typ")},
    ),
    "an array": (searching({"batch_size": [8, 16]}), {("wrong-type", f"{SPACE}.batch_size")}),
    "an infinite grid": (
        searching({"learning_rate": RATE, "batch_size": whole(8, 16)}, {"sampler": "GridSampler"}),
        {("infinite-grid", f"{SPACE}.learning_rate")},
    ),
    "no type": (
        searching({"learning_rate": {"low": 0.1, "high": 0.2}}),
        {("missing-key", f"{SPACE}.learning_rate.type")},
    ),
    "unknown type": (
        searching({"learning_rate": {"type": "flaot", "low": 0.1, "high": 2.0}}),
        {("unknown-value", f"{SPACE}.learning_rate.type"), ("out-of-range", f"{SPACE}.learning_rate.high")},
    ),
    "tables in tables": (
        searching({"optimizer_params": {"momentum": RATE}}),
        {("wrong-type", f"{SPACE}.optimizer_params")},
    ),
    "no bounds": (
        searching({"learning_rate": {"type": "float", "log": True}}),
        {("missing-key", f"{SPACE}.learning_rate.low"), ("missing-key", f"{SPACE}.learning_rate.high")},
    ),
    "nothing searched": (searching({}), {("out-of-range", SPACE)}),
    "no search space": (
        {**searching({}), "optuna": {"n_trials": 3}},
        {("missing-key", SPACE)},
    ),
    "settings": (
        searching(
            {"learning_rate": RATE},
            {"n_trials": 0, "direction": "up", "pruner": "Median", "storage": "study.db", "n_job": 2},
        ),
        {
            ("out-of-range", "optuna.n_trials"),
            ("unknown-value", "optuna.direction"),
            ("unknown-value", "optuna.pruner"),
            ("unknown-value", "optuna.storage"),
            ("unknown-key", "optuna.n_job"),
        },
    ),
    "a storage that keeps nothing": (
        searching({"learning_rate": RATE}, {"storage": "sqlite:///:memory:"}),
        {("conflict", "optuna.storage")},
    ),
    "no validation data": (
        {
            key: value
            for key, value in searching({"learning_rate": RATE}).items()
            if not key.startswith("val")
        },
        {("conflict", "optuna")},
    ),
    "warmup beyond the trials": (
        searching({"learning_rate": RATE}, warmup_epochs=7),
        {("conflict", "optuna.optuna_epochs")},
    ),
    "mistakes elsewhere": (
        searching({"learning_rate": numbers(0.2, 0.1), "batch_size": choices("x")}, epochs=0, seed=-1),
        {
            ("out-of-range", "epochs"),
            ("out-of-range", "seed"),
            ("out-of-range", f"{SPACE}.learning_rate.high"),
            ("unknown-value", f"{SPACE}.batch_size.choices[0]"),
        },
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_mistake_is_told_once_with_its_key(name: str) -> None:
    raw, expected = BROKEN[name]
    assert found(raw) == expected


def test_mistakes_have_their_places() -> None:
    text = """\
pretrained = false
epochs = 20
learning_rate = 0.1
dataset = "digits"
train_transform = [{ name = "ToTensor" }]
val_transform = [{ name = "ToTensor" }]
[optuna]
optuna_epochs = 5
[optuna.search_space]
learning_rate = { type = "float", low = 1e-4, high = 3.0 }
optimizer = { type = "categorical", choices = ["SGD", "Adamm"] }
learning_rte = { type = "float", low = 0.1, high = 0.2 }
"""
    checked = check_document(Document(SourceText(text, "a.toml")))
    told = {(d.code, str(d.span), d.help) for d in checked.diagnostics}
    assert told == {
        ("out-of-range", "a.toml:10:54", None),
        ("unknown-value", "a.toml:11:55", 'did you mean "Adam"? allowed: "SGD", "Adam", "AdamW"'),
        ("unknown-key", "a.toml:12:1", "did you mean `learning_rate`?"),
    }


def test_a_mistake_in_an_argument_is_placed_at_it() -> None:
    text = 'epochs = 2\nlearning_rate = 0.1\ndataset = "digits"\ntrain_transform = [{ name = "ToTensor" }]\n'
    text += 'val_transform = [{ name = "ToTensor" }]\n'
    text += '[optuna.search_space]\nbatch_size = { type = "int", low = 1, high = 4 }\n'
    argument = "optuna.search_space.batch_size.low=0"
    checked = check_document(Document(SourceText(text, "a.toml"), [argument]))
    (told,) = [d for d in checked.diagnostics if d.severity == "error"]
    assert (told.code, str(told.span)) == ("out-of-range", "--set:1:36")


DOUBTFUL: dict[str, tuple[dict[str, Any], str, str]] = {
    "arguments that one optimizer has": (
        searching({"optimizer": choices("SGD", "AdamW")}, optimizer_params={"momentum": 0.9}),
        "partly-used",
        "optimizer_params.momentum",
    ),
    "the rate's course": (
        searching({"learning_rate": RATE}, scheduler="CosineAnnealingLR", scheduler_params={"T_max": 20}),
        "schedule-length",
        "optuna.optuna_epochs",
    ),
    "a bound that is not reached": (
        searching({"learning_rate": numbers(0.1, 0.35, step=0.1)}),
        "unreachable-bound",
        f"{SPACE}.learning_rate.high",
    ),
    "a part of a grid": (
        searching({"batch_size": whole(1, 50)}, {"sampler": "GridSampler"}),
        "part-of-grid",
        "optuna.sampler",
    ),
    "evolution over one number": (
        searching({"batch_size": choices(8, 16), "learning_rate": RATE}, {"sampler": "CmaEsSampler"}),
        "random-parameters",
        "optuna.sampler",
    ),
    "choices that exclude each other": (
        searching({"sampler": choices("shuffle", "balanced"), "class_weights": choices("none", "balanced")}),
        "invalid-combination",
        f"{SPACE}.class_weights.choices[1]",
    ),
    "arguments of another optimizer": (
        searching({"optimizer": choices("SGD", "AdamW"), "optimizer_params": choices({"momentum": 0.5})}),
        "invalid-combination",
        f"{SPACE}.optimizer_params.choices[0]",
    ),
    "losses of other weights": (
        searching({"class_weights": choices("balanced", "none")}, {"direction": "minimize"}),
        "incomparable-losses",
        f"{SPACE}.class_weights",
    ),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_is_probably_not_meant_is_told(name: str) -> None:
    raw, code, key = DOUBTFUL[name]
    validate(raw)
    assert [(doubt.code, format_key(doubt.key)) for doubt in doubts(raw)] == [(code, key)]


def test_a_sound_search_raises_no_doubt() -> None:
    assert check(SOUND["the guide's"]).diagnostics == ()


def test_names_and_their_keys() -> None:
    assert key_of("learning_rate") == ("learning_rate",)
    assert key_of("optimizer_params.betas[1]") == ("optimizer_params", "betas", 1)
    assert key_of("train_transform[1].transforms[0].p") == ("train_transform", 1, "transforms", 0, "p")
    assert key_of("scheduler_T_max") == ("scheduler_params", "T_max")
    assert key_of("scheduler_params") == ("scheduler_params",)
    assert key_of(r"layer_wise_lr_config.layer_rates.a\.[0]") == (
        "layer_wise_lr_config",
        "layer_rates",
        r"a\.[0]",
    )
    assert [key_of(name) for name in ("", "[0]", "a..b", "a b", "a[x]")] == [None] * 5


def test_values_are_put_where_they_belong() -> None:
    config = validate(searching({"learning_rate": RATE}, optimizer_params={"momentum": 0.9}, **LAYERS))
    plain = plain_config(config)
    assert "optuna" not in plain
    changed = with_values(
        plain,
        {
            ("learning_rate",): 0.05,
            ("optimizer",): "AdamW",
            ("optimizer_params", "weight_decay"): 0.1,
            ("train_transform", 0, "degrees"): 3,
        },
    )
    assert changed["learning_rate"] == 0.05
    assert changed["optimizer_params"] == {"weight_decay": 0.1}  # AdamW has no momentum
    assert changed["train_transform"][0] == {"name": "RandomRotation", "degrees": 3}
    assert changed["layer_wise_lr_config"]["layer_rates"] == {"layer1": 0.01 * 0.05 / 0.1}
    assert plain["train_transform"][0]["degrees"] == 10  # untouched


def test_a_searched_layer_rate_is_not_scaled() -> None:
    config = validate(searching({"learning_rate": RATE}, **LAYERS))
    rate = ("layer_wise_lr_config", "layer_rates", "layer1")
    changed = with_values(plain_config(config), {("learning_rate",): 0.05, rate: 0.3})
    assert changed["layer_wise_lr_config"]["layer_rates"] == {"layer1": 0.3}


def test_rates_are_scaled_where_the_switch_is_drawn() -> None:
    config = validate(
        searching({"learning_rate": RATE}, layer_wise_lr_config={"layer_rates": {"layer1": 0.01}})
    )
    for switch, rate in ((True, 0.01 * 0.05 / 0.1), (False, 0.01)):
        changed = with_values(
            plain_config(config), {("learning_rate",): 0.05, ("enable_layer_wise_lr",): switch}
        )
        assert changed["layer_wise_lr_config"]["layer_rates"] == {"layer1": rate}


def test_a_grid_counts_what_can_be_visited() -> None:
    space = {"optimizer": choices("SGD", "AdamW"), "optimizer_momentum": numbers(0.1, 0.5, step=0.1)}
    assert doubts(searching(space, {"sampler": "GridSampler", "n_trials": 6})) == []
    (doubt,) = doubts(searching(space, {"sampler": "GridSampler", "n_trials": 5}))
    assert "the grid has 6 points" in doubt.message
    config = validate(searching({"learning_rate": numbers(0.09, 1.0, step=0.07)}, {"sampler": "GridSampler"}))
    assert config.optuna is not None
    grid = Grid(parameters(config.optuna), 0)
    assert [grid[place]["learning_rate"] for place in (0, grid.size - 1)] == [0.09, 1.0]


def test_the_guides_word_for_no_pruner() -> None:
    (told,) = mistakes(searching({"learning_rate": RATE}, {"pruner": "None"}))
    assert 'did you mean "none"?' in (told.help or "")


def test_arguments_are_drawn_for_those_that_have_them() -> None:
    config = validate(SOUND["schedulers with arguments"])
    assert config.optuna is not None
    searched = parameters(config.optuna)
    assert searched[0].name == "scheduler"  # what decides comes first
    for name, expected in (
        ("StepLR", ["scheduler", "scheduler_gamma", "scheduler_step_size"]),
        ("ExponentialLR", ["scheduler", "scheduler_gamma"]),
    ):
        active = [parameter for parameter in searched if parameter.is_active({"scheduler": name})]
        assert [parameter.name for parameter in active] == expected


def test_too_many_mistakes_in_one_array_are_cut() -> None:
    raw = searching({"batch_size": choices(*range(-2000, 0))})
    assert len(mistakes(raw)) <= 600
