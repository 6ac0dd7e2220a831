"""What counts as improvement, and when to stop."""

from __future__ import annotations

import math

import pytest

from pochi_cli.config.optim import EarlyStoppingConfig
from pochi_cli.engine.early_stopping import EarlyStopping


def stops_at(values: list[float], **settings: object) -> int | None:
    """Number of the epoch (from 1) at which it stops."""
    stopping = EarlyStopping(EarlyStoppingConfig.model_validate({"enabled": True, **settings}))
    return next((epoch for epoch, value in enumerate(values, 1) if stopping.update(value)), None)


@pytest.mark.parametrize(
    ("values", "settings", "expected"),
    [
        ([50, 60, 61, 62, 62.9], {"patience": 3}, 5),  # gains below 3 points do not count
        ([50, 60, 61, 62, 63], {"patience": 3}, None),  # 63 - 60 counts
        ([50, 50, 50], {"patience": 2, "min_delta": 0.0}, 3),  # the same again is no improvement
        ([50, 50.1, 50.2, 50.3], {"patience": 1, "min_delta": 0.0}, None),
        ([1.0, 0.9, 0.85, 0.84], {"patience": 2, "min_delta": 0.1, "monitor": "val_loss"}, 4),
        ([1.0, 2.0, 3.0], {"patience": 2, "min_delta": 0.0, "monitor": "val_loss"}, 3),
        ([math.nan, math.nan], {"patience": 2, "min_delta": 0.0}, 2),
        ([math.nan, 10.0, 20.0], {"patience": 2, "min_delta": 0.0}, None),
        ([50] * 10, {"patience": 2, "enabled": False}, None),
    ],
)
def test_stops(values: list[float], settings: dict[str, object], expected: int | None) -> None:
    assert stops_at(values, **settings) == expected


def test_state_round_trip() -> None:
    config = EarlyStoppingConfig.model_validate({"enabled": True, "patience": 2, "min_delta": 0.0})
    first = EarlyStopping(config)
    first.update(50.0)
    first.update(40.0)
    second = EarlyStopping(config)
    second.load_state_dict(first.state_dict())
    assert second.update(45.0)
