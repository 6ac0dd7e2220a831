"""The moving average against the recurrence, written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pochi_cli.engine.averaging import ExponentialAverage, NoAverage, create_average


def test_average_follows_the_recurrence() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = ExponentialAverage(model, decay=0.5)
    expected: list[torch.Tensor] = [parameter.detach().clone() for parameter in model.parameters()]
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(8, 3))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = [
            decay * old + (1 - decay) * new.detach()
            for old, new in zip(expected, model.parameters(), strict=True)
        ]
    for got, want in zip(average.model.parameters(), expected, strict=True):
        torch.testing.assert_close(got, want)
    for copied, buffer in zip(average.model.buffers(), model.buffers(), strict=True):
        assert torch.equal(copied, buffer)


def test_state_round_trip_goes_on_exactly() -> None:
    model = nn.Linear(3, 2)
    first = ExponentialAverage(model, decay=0.99)
    first.update()
    second = ExponentialAverage(nn.Linear(3, 2), decay=0.99)
    second.load_state_dict(first.state_dict())
    assert second.steps == 1
    assert torch.equal(second.model.weight, first.model.weight)  # type: ignore[arg-type]


def test_without_decay_the_model_itself_counts() -> None:
    model = nn.Linear(3, 2)
    average = create_average(model, None)
    assert isinstance(average, NoAverage)
    assert average.model is model


def test_a_checkpoint_without_average_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no averaged weights"):
        ExponentialAverage(nn.Linear(3, 2), 0.9).load_state_dict(None)
