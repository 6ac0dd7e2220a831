from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from pochi_cli.data.balance import balanced_weights


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 7])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights([50, 30, 7]) == pytest.approx(list(expected))
