"""Frozen parameters, and batch norms that stay as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pochi_cli.errors import ModelError
from pochi_cli.models.freezing import freeze, train_mode


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Dropout()
    )


def test_matching_parameters_are_frozen_and_counted() -> None:
    model = small_network()
    frozen = freeze(model, ["0", r"1\.bias"])
    assert frozen.names == ("0.weight", "0.bias", "1.bias")
    assert (frozen.frozen_values, frozen.all_values) == (4 * 27 + 4 + 4, 112 + 8 + 148 + 8)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == list(frozen.names)


def test_no_pattern_freezes_nothing() -> None:
    model = small_network()
    assert freeze(model, []).names == ()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_freezing_everything_is_an_error_and_changes_nothing() -> None:
    model = small_network()
    with pytest.raises(ModelError, match="all 8 parameters are frozen"):
        freeze(model, ["[0-2]", "3"])
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_pattern_that_matches_nothing_is_an_error_with_the_parts() -> None:
    with pytest.raises(ModelError, match="`layer` matches no parameter") as caught:
        freeze(small_network(), ["0", "layer"])
    assert caught.value.hint == "the model's parts are 0, 1, 2, 3"


def test_frozen_batch_norm_keeps_its_statistics_in_training() -> None:
    model = small_network()
    freeze(model, ["0", "1"])
    model.eval()
    train_mode(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(torch.randn(2, 3, 8, 8))
    same = {name for name, buffer in model.named_buffers() if torch.equal(buffer, before[name])}
    assert same == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert [module.training for module in model] == [True, False, True, True, True]


def test_batch_norm_with_a_trained_parameter_or_with_none_is_trained() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False))
    freeze(model, [r"0\.weight"])
    train_mode(model)
    assert [module.training for module in model] == [True, True]
