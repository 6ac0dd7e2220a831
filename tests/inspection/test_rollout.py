"""Attention becomes maps of the image."""

from __future__ import annotations

import numpy as np
import pytest

from pochi_cli.inspection.attention_record import AttentionLayer, PatchGrid
from pochi_cli.inspection.rollout import CLASS_ATTENTION, ROLLOUT, attention_maps, attention_rollout

GRID = PatchGrid(2, 3, prefix=1)


def layers_of(count: int, seed: int = 0, grid: PatchGrid | None = GRID) -> list[AttentionLayer]:
    tokens = 7
    logits = np.random.default_rng(seed).normal(size=(count, 1, 4, tokens, tokens))
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    names = GRID.names()
    return [
        AttentionLayer(f"layer{at}", one.astype(np.float32), names, names, grid)
        for at, one in enumerate(weights)
    ]


def test_rollout_is_that_of_the_paper() -> None:
    weights = [layer.weights[0].astype(np.float64) for layer in layers_of(3)]
    expected = np.eye(7)
    for layer in weights:
        mixed = 0.5 * layer.mean(0) + 0.5 * np.eye(7)
        expected = mixed @ expected
    found = attention_rollout(weights)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_maps_are_of_the_class_token_over_the_patches() -> None:
    layers = layers_of(2)
    by_class, rolled = attention_maps(layers)
    assert (by_class.method, by_class.layer) == (CLASS_ATTENTION, "layer1")
    np.testing.assert_allclose(by_class.values, layers[1].weights[0].mean(0)[0, 1:].reshape(2, 3), rtol=1e-6)
    assert (rolled.method, rolled.layer) == (ROLLOUT, "")
    whole = attention_rollout([layer.weights[0].astype(np.float64) for layer in layers])
    np.testing.assert_allclose(rolled.values.ravel(), whole[0, 1:])


def test_a_path_through_the_layers_is_followed() -> None:
    # In the second layer the class token attends to patch 4, which in the first attended to patch 6.
    first, second = np.eye(7), np.eye(7)
    second[0] = np.eye(7)[4]
    first[4] = np.eye(7)[6]
    layers = [
        AttentionLayer(name, one[None, None].astype(np.float32), GRID.names(), GRID.names(), GRID)
        for name, one in (("a", first), ("b", second))
    ]
    by_class, rolled = attention_maps(layers)
    assert by_class.values.ravel().tolist() == [0, 0, 0, 1, 0, 0]
    assert rolled.values.ravel().tolist() == pytest.approx([0, 0, 0, 0.25, 0, 0.25])


@pytest.mark.parametrize("grid", [None, PatchGrid(1, 7), PatchGrid(7, 7, window=(1, 7))])
def test_without_a_class_token_or_a_grid_there_is_no_map(grid: PatchGrid | None) -> None:
    assert attention_maps(layers_of(2, grid=grid)) == []


def test_layers_of_different_tokens_give_no_map() -> None:
    other = AttentionLayer(
        "pooled", np.full((1, 4, 3, 3), 1 / 3, np.float32), ("a",) * 3, ("a",) * 3, PatchGrid(1, 2, 1)
    )
    assert attention_maps([*layers_of(1), other]) == []
