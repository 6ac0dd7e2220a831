"""Similarity of heads: its numbers, its scales, and which pairs are framed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pochi_cli.inspection.head_similarity import HeadSimilarity, compare_heads
from pochi_cli.plots.attention_similarity import draw_similarity
from tests.plots.attentions import assert_inside, make_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def make(heads: int, *redundant: tuple[int, int]) -> HeadSimilarity:
    drawn = np.random.default_rng(0).uniform(-1, 1, size=(heads, heads))
    correlation = (drawn + drawn.T) / 2
    np.fill_diagonal(correlation, 1)
    return HeadSimilarity(correlation, np.abs(1 - correlation) / 2, redundant)


def panels(similarity: HeadSimilarity) -> tuple[Axes, Axes]:
    correlation, divergence = draw_similarity(similarity, "Heads of layer").axes[:2]
    return correlation, divergence


@pytest.mark.parametrize("heads", [1, 24])
def test_everything_is_within_the_picture(heads: int) -> None:
    assert_inside(draw_similarity(make(heads), "Heads of $1, 猫 " + "very long " * 12))


def test_both_measures_are_drawn_on_their_own_scales() -> None:
    similarity = compare_heads(make_text(heads=4))
    for axes, values, limits in zip(
        panels(similarity), (similarity.correlation, similarity.divergence), ((-1, 1), (0, 1)), strict=True
    ):
        (image,) = axes.get_images()
        np.testing.assert_array_equal(np.asarray(image.get_array()), values)
        assert image.get_clim() == limits
        numbers = [float(text.get_text().replace("−", "-")) for text in axes.texts]
        np.testing.assert_allclose(numbers, values.ravel(), atol=0.005001)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2", "3", "4"]
    bars = draw_similarity(similarity, "").axes[2:]
    assert [bar.get_ylabel() for bar in bars] == [
        *("Correlation of the weights less their row's mean", "Jensen-Shannon divergence (bit)")
    ]


def test_numbers_are_short_for_many_heads_and_left_out_where_they_could_not_be_read() -> None:
    values = np.array([[1.0, -0.123], [-0.001, 0.987]])
    similarity = HeadSimilarity(np.tile(values, (8, 8)), np.zeros((16, 16)), ())
    numbers = [text.get_text() for text in panels(similarity)[0].texts]
    assert numbers[:2] == ["1.00", "−.12"]
    assert numbers[16:18] == [".00", ".99"]
    assert not panels(make(17))[0].texts


def test_numbers_do_not_touch_their_neighbours() -> None:
    figure = draw_similarity(HeadSimilarity(np.full((16, 16), -0.88), np.zeros((16, 16)), ()), "Heads")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts[:16]]
    assert all(left.x1 < right.x0 - 2 for left, right in pairwise(boxes))


def test_redundant_pairs_are_framed_in_both_and_counted() -> None:
    for axes in panels(make(6, (0, 2), (3, 4))):
        (frames,) = axes.collections
        corners = {tuple(np.asarray(path.vertices)[0]) for path in frames.get_paths()}
        assert corners == {(-0.5, 1.5), (1.5, -0.5), (2.5, 3.5), (3.5, 2.5)}
    assert panels(make(6, (0, 2), (3, 4)))[0].get_title(loc="left") == "2 redundant pairs, framed"
    assert panels(make(6, (0, 2)))[0].get_title(loc="left") == "1 redundant pair, framed"
    assert panels(make(6))[0].get_title(loc="left") == "no pair of heads is redundant"
