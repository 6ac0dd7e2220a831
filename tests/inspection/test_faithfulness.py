"""A map that tells what the network needs beats random ones, and one that does not is found out."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest
import torch
from torch import Tensor

from pochi_cli.inspection.faithfulness import blur, images_asked_about, measure_faithfulness

EDGE = 32


def needs_the_bar(images: Tensor) -> Tensor:
    """A network that needs what is bright in the third row of a grid of 8 x 8 cells, (batch,)."""
    return (images[:, :, 8:12].mean((1, 2, 3)) * 2).clamp(0, 1)


@pytest.fixture
def image() -> Tensor:
    """A bar in that row on a dark ground."""
    image = torch.zeros(3, EDGE, EDGE)
    image[:, 8:12] = 0.5
    return image


def test_true_and_false_maps(image: Tensor) -> None:
    true = np.zeros((8, 8))
    true[2] = 1
    right, wrong = measure_faithfulness(needs_the_bar, image, [true, 1 - true])
    assert right.beaten == 1
    assert wrong.beaten == 0
    # One step of eight takes the whole row: all is gone at once, or there at once.
    assert right.deletion < 0.35
    assert right.insertion > 0.9
    assert right.random_scores == wrong.random_scores
    assert len(right.random_scores) == 8


def test_a_flat_map_is_as_good_as_chance(image: Tensor) -> None:
    flat = np.zeros((8, 8))
    measured = [measure_faithfulness(needs_the_bar, image, [flat], seed)[0] for seed in range(30)]
    assert fmean(one.beaten for one in measured) == pytest.approx(0.5, abs=0.15)


def test_areas_are_those_of_the_curves(image: Tensor) -> None:
    order = np.arange(64, dtype=np.float64)[::-1].reshape(8, 8)  # from the top
    (measured,) = measure_faithfulness(needs_the_bar, image, [order])
    blurred = blur(image)
    deleted, inserted = [], []
    for step in range(9):
        one, other = image.clone(), blurred.clone()
        one[:, : 4 * step] = blurred[:, : 4 * step]
        other[:, : 4 * step] = image[:, : 4 * step]
        deleted.append(float(needs_the_bar(one[None])))
        inserted.append(float(needs_the_bar(other[None])))
    for area, curve in ((measured.deletion, deleted), (measured.insertion, inserted)):
        assert area == pytest.approx(sum((a + b) / 2 for a, b in pairwise(curve)) / 8, rel=1e-5)


def test_it_repeats_itself_and_counts(image: Tensor) -> None:
    values = np.random.default_rng(0).random((8, 8))
    asked = []

    def count(images: Tensor) -> Tensor:
        asked.append(len(images))
        return needs_the_bar(images)

    told: list[int] = []
    first = measure_faithfulness(count, image, [values, values], batch_size=4, on_images=told.append)
    assert sum(asked) == sum(told) == images_asked_about(2)
    assert max(asked) == 4
    assert first == measure_faithfulness(needs_the_bar, image, [values, values], batch_size=100)
    assert first[0] == first[1]


@pytest.mark.parametrize("size", [(8, 8), (3, 50), (1, 1)])
def test_a_blur_leaves_the_colours(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    image = torch.rand(3, *size)
    blurred = blur(image)
    assert blurred.shape == image.shape
    torch.testing.assert_close(blurred.mean((1, 2)), image.mean((1, 2)), atol=0.1, rtol=0)
    assert blurred.std() <= image.std() or size == (1, 1)
