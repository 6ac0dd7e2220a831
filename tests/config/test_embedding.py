"""Configs of the embedding task: defaults, mistakes, doubts."""

from __future__ import annotations

from typing import Any

import pytest

from pochi_cli.config.load import check, validate
from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.errors import format_key
from tests.config.raw import EDITOR

MINIMAL = {"task": "embedding", "train_vectors": "vectors.npy"}


def embedding(**keys: Any) -> EmbeddingConfig:
    EDITOR.validate(MINIMAL | keys)
    config = validate(MINIMAL | keys)
    assert isinstance(config, EmbeddingConfig)
    return config


def told(**keys: Any) -> list[tuple[str, str, str]]:
    """Severity, code and key of everything that is said of a config."""
    raw = {key: value for key, value in (MINIMAL | keys).items() if value is not None}
    return [(found.severity, found.code, format_key(found.key)) for found in check(raw).diagnostics]


def test_the_defaults_are_the_guides() -> None:
    config = embedding()
    assert (config.epochs, config.batch_size, config.save_interval) == (100, 512, 10)
    assert (config.learning_rate, config.latent_dim, config.tau) == (0.001, 512, 1.0)
    assert (config.optimizer, config.optimizer_params.model_dump()["betas"]) == ("Adam", (0.9, 0.999))
    assert (config.lambda_rank, config.lambda_pairdist, config.k) == (1.0, 0.3, 5)
    assert (config.recall_ks, config.recall_samples, config.metric) == ((1, 5, 10, 50), 3000, "l2")
    assert (config.best_metric, config.network) == ("recall_at_5", "encoder-768-512")


def test_a_resolved_config_is_valid() -> None:
    config = embedding(k=7, recall_ks=[3])
    again = validate(config.model_dump(mode="json", exclude_none=True))
    assert again == config
    assert isinstance(again, EmbeddingConfig)
    assert again.measured_ks == (3, 7)


def test_when_the_recall_is_due() -> None:
    config = embedding(epochs=25)
    assert [epoch for epoch in range(1, 26) if config.has_recall(epoch)] == [10, 20, 25]
    config = embedding(epochs=25, recall_every_epochs=12, save_interval=3)
    assert [epoch for epoch in range(1, 26) if config.has_recall(epoch)] == [12, 24, 25]
    assert not embedding(holdout=0.0).has_recall(10)


def test_the_parameters_are_known() -> None:
    names = embedding(hidden_dims=[8, 4]).parameter_names
    assert names == (
        "projection.weight", "projection.bias", "hidden.0.weight", "hidden.0.bias", "hidden.1.weight",
        "hidden.1.bias", "head.weight", "head.bias",
    )  # fmt: skip
    assert embedding(init="random", hidden_dims=[]).parameter_names == ("head.weight", "head.bias")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"train_vectors": None}, [("error", "missing-key", "train_vectors")]),
        ({"model_name": "resnet18"}, [("error", "unknown-key", "model_name")]),
        ({"num_workers": 2}, [("error", "unknown-key", "num_workers")]),
        ({"loss_function": "DPLossV3"}, [("error", "unknown-value", "loss_function")]),
        ({"tau": 0}, [("error", "out-of-range", "tau")]),
        ({"tau": -1.0}, [("error", "out-of-range", "tau")]),
        ({"holdout": 1.0}, [("error", "out-of-range", "holdout")]),
        ({"batch_size": 1}, [("error", "out-of-range", "batch_size")]),
        ({"batch_size": "auto"}, [("error", "wrong-type", "batch_size")]),
        ({"recall_ks": []}, [("error", "out-of-range", "recall_ks")]),
        ({"recall_ks": [0]}, [("error", "out-of-range", "recall_ks[0]")]),
        ({"hidden_dims": [8, 0]}, [("error", "out-of-range", "hidden_dims[1]")]),
        ({"metric": "euclidean"}, [("error", "unknown-value", "metric")]),
        ({"optimizer_params": {"momentum": 0.9}}, [("error", "unknown-key", "optimizer_params.momentum")]),
        ({"loss_function": "DPLossV1", "lambda_pairdist": 0}, [("error", "conflict", "lambda_pairdist")]),
        ({"lambda_rank": 0, "lambda_pairdist": 0}, [("error", "conflict", "lambda_pairdist")]),
        ({"lambda_pairdist": 0}, []),
        ({"loss_function": "DPLossV1Norm", "tau": 0.5}, [("warning", "unused-key", "tau")]),
        ({"loss_function": "DPLossV1", "tau_mode": "relative"}, [("warning", "unused-key", "tau_mode")]),
        ({"recall_samples": 50}, [("error", "out-of-range", "recall_samples")]),
        ({"recall_samples": 50, "holdout": 0.0}, []),
        ({"early_stopping": {"monitor": "val_loss"}}, [("error", "unknown-value", "early_stopping.monitor")]),
        (
            {"early_stopping": {"monitor": "recall_at_7"}},
            [("error", "unknown-value", "early_stopping.monitor")],
        ),
        ({"early_stopping": {"monitor": "recall_at_7"}, "k": 7}, []),
        ({"early_stopping": {"monitor": "val_total_loss", "enabled": True}}, []),
        (
            {"early_stopping": {"enabled": True}, "holdout": 0.0},
            [("error", "conflict", "early_stopping.enabled")],
        ),
        (
            {"early_stopping": {"enabled": True, "patience": 5}},
            [("warning", "short-patience", "early_stopping.patience")],
        ),
        ({"early_stopping": {"enabled": True, "patience": 5}, "recall_every_epochs": 1}, []),
        ({"freeze": ["projection"]}, []),
        ({"freeze": ["hidden.3"]}, [("error", "unmatched-layer-pattern", "freeze[0]")]),
        ({"freeze": ["."]}, [("error", "unmatched-layer-pattern", "freeze[0]")]),
        (
            {"enable_layer_wise_lr": True, "layer_wise_lr_config": {"layer_rates": {"conv1": 0.1}}},
            [("error", "unmatched-layer-pattern", "layer_wise_lr_config.layer_rates.conv1")],
        ),
        ({"scheduler": "CosineAnnealingLR", "scheduler_params": {"T_max": 100}}, []),
        (
            {"scheduler": "CosineAnnealingLR", "scheduler_params": {"T_max": 10}},
            [("warning", "schedule-length", "scheduler_params.T_max")],
        ),
    ],
)
def test_what_is_said(keys: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert told(**keys) == expected


def test_a_key_of_the_other_task_is_called_so() -> None:
    (found,) = check(MINIMAL | {"dataset": "digits"}).diagnostics
    assert found.help == 'it belongs to a config with task = "classification", and this one has another'
    found = next(found for found in check({"latent_dim": 3}).diagnostics if found.code == "unknown-key")
    assert found.help == 'it belongs to a config with task = "embedding"'


@pytest.mark.parametrize(("task", "hint"), [("embeding", "embedding"), ("clasification", "classification")])
def test_a_misspelt_task(task: str, hint: str) -> None:
    (found,) = [found for found in check(MINIMAL | {"task": task}).diagnostics if found.key == ("task",)]
    assert f'did you mean "{hint}"' in str(found.help)


SEARCH = {"search_space": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2}}}


@pytest.mark.parametrize(
    ("search", "keys", "expected"),
    [
        ({}, {}, []),
        ({"direction": "minimize"}, {}, [("error", "conflict", "optuna.direction")]),
        ({"direction": "minimize"}, {"early_stopping": {"monitor": "val_total_loss"}}, []),
        (
            {},
            {"early_stopping": {"monitor": "val_total_loss"}},
            [("error", "conflict", "optuna")],
        ),
        ({}, {"holdout": 0.0}, [("error", "conflict", "optuna")]),
        (
            {"search_space": {"metric": {"type": "categorical", "choices": ["l2", "ip"]}}},
            {},
            [("error", "conflict", "optuna.search_space.metric")],
        ),
        (
            {"search_space": {"tau": {"type": "float", "low": 0.0, "high": 1.0}}},
            {},
            [("error", "out-of-range", "optuna.search_space.tau.low")],
        ),
        (
            {"search_space": {"label_smoothing": {"type": "float", "low": 0.0, "high": 0.5}}},
            {},
            [("error", "unknown-key", "optuna.search_space.label_smoothing")],
        ),
        ({"search_space": {"latent_dim": {"type": "int", "low": 8, "high": 64}}}, {}, []),
        (
            {"search_space": {"seed": {"type": "int", "low": 0, "high": 9}}},
            {},
            [("error", "conflict", "optuna.search_space.seed")],
        ),
        ({"search_space": {"tau": {"type": "float", "low": 0.1, "high": 1.0}}}, {}, []),
        (
            {
                "direction": "minimize",
                "search_space": {"tau": {"type": "float", "low": 0.1, "high": 1.0}},
            },
            {"early_stopping": {"monitor": "val_total_loss"}},
            [("error", "conflict", "optuna.search_space.tau")],
        ),
    ],
)
def test_what_is_said_of_a_search(
    search: dict[str, Any], keys: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    assert told(optuna=SEARCH | search, **keys) == expected
