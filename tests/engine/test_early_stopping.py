"""What counts as improvement, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from pochi_cli.config.optim import EarlyStoppingConfig
from pochi_cli.engine.early_stopping import EarlyStopping


def stops_at(values: Sequence[float | None], **settings: object) -> int | None:
    """Number of the epoch (from 1) at which it stops."""
    config = EarlyStoppingConfig.model_validate({"enabled": True, **settings})
    stopping = EarlyStopping(config, config.monitor)
    return next((epoch for epoch, value in enumerate(values, 1) if stopping.update(epoch, value)), None)


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
        # Epochs in which it was not measured count, and none of them ends a training.
        ([50, None, None, 50], {"patience": 2, "min_delta": 0.0}, 4),
        ([50, None, 51, None, None, 52], {"patience": 4, "min_delta": 0.0}, None),
        ([None, None, None, 50, None, 49], {"patience": 2, "min_delta": 0.0}, 6),
    ],
)
def test_stops(values: Sequence[float | None], settings: dict[str, object], expected: int | None) -> None:
    assert stops_at(values, **settings) == expected


def test_state_round_trip() -> None:
    config = EarlyStoppingConfig.model_validate({"enabled": True, "patience": 2, "min_delta": 0.0})
    first = EarlyStopping(config, config.monitor)
    first.update(1, 50.0)
    first.update(2, 40.0)
    second = EarlyStopping(config, config.monitor)
    second.load_state_dict(first.state_dict())
    assert second.update(3, 45.0)
