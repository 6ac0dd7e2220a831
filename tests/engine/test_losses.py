"""The losses against torch's own means, scikit-learn and the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from pochi_cli.engine.losses import CrossEntropy

WEIGHTS = [0.5, 2.0, 1.5, 1.0]


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(37, 4, generator=generator) * 3,
        torch.randint(4, (37,), generator=generator),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_mean_over_labels_is_torchs(
    batch: tuple[torch.Tensor, torch.Tensor], weights: list[float] | None, smoothing: float
) -> None:
    losses, weight, _ = CrossEntropy(weights, smoothing)(*batch)
    tensor = None if weights is None else torch.tensor(weights)
    expected = torch.nn.CrossEntropyLoss(weight=tensor, label_smoothing=smoothing)(*batch)
    torch.testing.assert_close(losses.sum() / weight, expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_mean_over_probabilities_is_torchs(
    batch: tuple[torch.Tensor, torch.Tensor], weights: list[float] | None
) -> None:
    logits, labels = batch
    targets = torch.nn.functional.one_hot(labels, 4).float() * 0.7 + 0.3 / 4
    losses, weight, _ = CrossEntropy(weights, 0.1)(logits, targets)
    tensor = None if weights is None else torch.tensor(weights)
    expected = torch.nn.CrossEntropyLoss(weight=tensor, label_smoothing=0.1)(logits, targets)
    torch.testing.assert_close(losses.sum() / weight, expected)


def test_weighted_mean_is_scikit_learns(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    losses, weight, _ = CrossEntropy(WEIGHTS)(logits, labels)
    expected = log_loss(
        labels.numpy(), logits.double().softmax(1).numpy(), sample_weight=np.array(WEIGHTS)[labels.numpy()]
    )
    assert float(losses.sum() / weight) == pytest.approx(expected, rel=1e-6)


def test_half_precision_logits_are_computed_in_float32(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    assert CrossEntropy()(logits.bfloat16(), labels).losses.dtype == torch.float32
