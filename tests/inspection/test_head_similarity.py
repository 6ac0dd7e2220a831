"""Heads that do the same are found, and no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import swin_t

from pochi_cli.inspection.attention import capture_attention
from pochi_cli.inspection.attention_record import AttentionLayer, PatchGrid
from pochi_cli.inspection.head_similarity import compare_heads, describe_heads
from pochi_cli.models.architectures import build_network


def layer_of(weights: NDArray[np.float64], grid: PatchGrid | None = None) -> AttentionLayer:
    """A layer of these weights, (heads, queries, keys) or with windows before."""
    if weights.ndim == 3:
        weights = weights[None]
    queries, keys = (tuple(f"t{at}" for at in range(count)) for count in weights.shape[2:])
    return AttentionLayer("attn", weights.astype(np.float32), queries, keys, grid)


def random_heads(heads: int, tokens: int, spread: float, seed: int = 0) -> NDArray[np.float64]:
    """Softmax of independent normal logits, (heads, tokens, tokens)."""
    logits = spread * np.random.default_rng(seed).normal(size=(heads, tokens, tokens))
    exponents = np.exp(logits)
    return np.asarray(exponents / exponents.sum(-1, keepdims=True))


@pytest.mark.parametrize("tokens", [6, 65])
@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0])
def test_independent_heads_are_dissimilar(tokens: int, spread: float) -> None:
    found = compare_heads(layer_of(random_heads(8, tokens, spread)))
    apart = found.correlation[np.triu_indices(8, 1)]
    # The correlation of independent samples is about normal with 1 / sqrt(samples).
    assert np.abs(apart).max() < 5 / np.sqrt(tokens * (tokens - 1))
    assert found.redundant == ()
    # Plain cosine would call them alike: this is why rows are centred.
    if spread == 0.01:
        flat = random_heads(8, tokens, spread).reshape(8, -1)
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        assert (unit @ unit.T).min() > 0.99


def test_identical_heads_are_redundant() -> None:
    weights = random_heads(6, 17, 2.0)
    weights[4] = weights[1]
    found = compare_heads(layer_of(weights))
    assert found.redundant == ((1, 4),)
    assert found.correlation[1, 4] == pytest.approx(1)
    assert found.divergence[1, 4] == pytest.approx(0, abs=1e-9)


def test_heads_of_a_network_made_identical_are_found() -> None:
    torch.manual_seed(0)
    model = build_network("vit_tiny", 10)
    attention = model.get_submodule("encoder.layers.encoder_layer_2.self_attention")
    assert isinstance(attention, nn.MultiheadAttention)
    with torch.no_grad():
        nn.init.normal_(model.get_parameter("encoder.pos_embedding"))
        for start in (0, 192):  # of the queries, and of the keys
            attention.in_proj_weight[start + 128 : start + 192] = attention.in_proj_weight[start : start + 64]
    maps = capture_attention(model, torch.randn(1, 3, 32, 32))
    pairs = {
        name: compare_heads(layer_of(weights[0].double().numpy())).redundant
        for name, weights in maps.weights.items()
    }
    assert pairs.pop("encoder.layers.encoder_layer_2.self_attention") == ((0, 2),)
    assert set(pairs.values()) == {()}


def jensen_shannon(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Mean of the Kullback-Leibler divergences, in bits, from both to their mean."""
    middle = (first + second) / 2
    return float(sum((part * np.log2(part / middle)).sum() for part in (first, second)) / 2)


def test_numbers_are_those_of_the_definitions() -> None:
    weights = random_heads(3, 7, 1.5)
    found = compare_heads(layer_of(weights))
    for a in range(3):
        for b in range(3):
            rows = [(x - 1 / 7, y - 1 / 7) for x, y in zip(weights[a], weights[b], strict=True)]
            x, y = (np.concatenate(part) for part in zip(*rows, strict=True))
            expected = float(x @ y / np.sqrt((x @ x) * (y @ y)))
            assert found.correlation[a, b] == pytest.approx(expected, abs=1e-6)
            bits = [jensen_shannon(x, y) for x, y in zip(weights[a], weights[b], strict=True)]
            assert found.divergence[a, b] == pytest.approx(np.mean(bits), abs=1e-6)


def test_heads_without_a_pattern_are_alike_and_like_no_other() -> None:
    weights = random_heads(3, 9, 1.0)
    noise = np.random.default_rng(1).normal(size=(2, 9, 9)) * 1e-9
    weights[:2] = 1 / 9 + noise
    found = compare_heads(layer_of(weights))
    assert found.correlation[0, 1] == 1
    assert found.correlation[0, 2] == found.correlation[1, 2] == 0
    assert found.redundant == ((0, 1),)


@pytest.mark.parametrize("hidden", [0.0, 1e-40])
def test_a_mask_makes_no_heads_alike(hidden: float) -> None:
    tokens = 12
    is_open = np.tril(np.ones((tokens, tokens), dtype=bool))  # causal
    is_open[:, 3] = False  # and a padded key
    is_open[3, :3] = True
    weights = np.where(is_open, random_heads(4, tokens, 0.3), hidden)
    weights /= weights.sum(-1, keepdims=True)
    found = compare_heads(layer_of(weights))
    assert found.redundant == ()
    assert np.abs(found.correlation[np.triu_indices(4, 1)]).max() < 0.5
    # By hand, over the open keys alone.
    rows = []
    for query in range(tokens):
        keys = np.flatnonzero(is_open[query])
        if len(keys) > 1:
            part = weights[:2, query, keys]
            rows.append(part - part.mean(axis=1, keepdims=True))
    first, second = np.concatenate(rows, axis=1)
    expected = first @ second / np.sqrt((first @ first) * (second @ second))
    assert found.correlation[0, 1] == pytest.approx(expected, abs=1e-5)


def test_entropy_is_that_of_the_keys_that_are_not_masked() -> None:
    uniform = np.tril(np.ones((6, 6)))
    uniform /= uniform.sum(-1, keepdims=True)
    (facts,) = describe_heads(layer_of(uniform[None]))
    assert facts.entropy == pytest.approx(1)


def test_untrained_heads_of_shifted_windows_are_dissimilar() -> None:
    torch.manual_seed(0)
    maps = capture_attention(swin_t(weights=None), torch.randn(1, 3, 112, 112))
    for name, weights in maps.weights.items():
        values = weights.double().numpy()
        layer = AttentionLayer(name, values.astype(np.float32), ("a",) * 49, ("a",) * 49, maps.windows[name])
        assert compare_heads(layer).redundant == (), name
        # Nearly uniform, as they start, whatever is masked, and in windows that are full.
        assert min(facts.entropy for facts in describe_heads(layer)) > 0.97


def test_masked_rows_are_left_out() -> None:
    weights = random_heads(3, 6, 1.0)
    expected = compare_heads(layer_of(weights[:, :4]))
    weights[:, 4:] = np.nan
    found = compare_heads(layer_of(weights))
    np.testing.assert_allclose(found.correlation, expected.correlation)
    np.testing.assert_allclose(found.divergence, expected.divergence)
    assert all(np.isfinite(facts.entropy) for facts in describe_heads(layer_of(weights)))


def test_facts_of_heads_with_known_patterns() -> None:
    tokens = 8
    weights = np.stack(
        [np.eye(tokens), np.roll(np.eye(tokens), -1, axis=0), np.full((tokens, tokens), 1 / tokens)]
    )
    itself, shifted, uniform = describe_heads(layer_of(weights))
    assert (itself.entropy, itself.distance, itself.peak, itself.to_class) == (0, 0, 1, None)
    # Each token's left neighbour, the first wraps around to the last.
    assert shifted.distance == pytest.approx((1 * 7 + 7) / 8)
    assert uniform.entropy == pytest.approx(1)
    pairs = [abs(a - b) for a in range(tokens) for b in range(tokens)]
    assert uniform.distance == pytest.approx(np.mean(pairs))


def test_distance_on_an_image_is_that_of_patches_without_the_class_token() -> None:
    grid = PatchGrid(3, 4, prefix=1)
    weights = np.zeros((1, 13, 13))
    weights[0, :, 0] = 0.5  # half goes to the class token
    weights[0, :, 12] = 0.5  # and half to the last patch, in row 3, column 4
    (facts,) = describe_heads(layer_of(weights, grid))
    expected = np.mean([np.hypot(2 - row, 3 - column) for row in range(3) for column in range(4)])
    assert facts.distance == pytest.approx(expected)
    assert facts.to_class == pytest.approx(0.5)


def test_distance_in_windows_is_on_the_image() -> None:
    # Windows of 2 x 2 rolled by one: the last holds patches from all four corners.
    grid = PatchGrid(4, 4, window=(2, 2), shift=(1, 1))
    weights = np.zeros((4, 1, 4, 4))
    weights[..., 0] = 1.0
    assert grid.patches(3).tolist() == [15, 12, 3, 0]
    (facts,) = describe_heads(layer_of(weights, grid))
    inside, across = [0, 1, 1, np.sqrt(2)], [0, 3, 3, np.sqrt(18)]
    side = [0, 3, 1, np.sqrt(10)]
    assert facts.distance == pytest.approx(np.mean([*inside, *side, *side, *across]))


def test_cross_attention_has_no_distance() -> None:
    weights = random_heads(2, 5, 1.0)[:, :3]
    assert {facts.distance for facts in describe_heads(layer_of(weights))} == {None}
    assert compare_heads(layer_of(weights)).correlation.shape == (2, 2)


def test_one_key() -> None:
    layer = layer_of(np.ones((2, 1, 1)))
    assert compare_heads(layer).redundant == ((0, 1),)
    assert describe_heads(layer)[0].entropy == 0


def test_where_every_row_is_masked_nothing_is_said() -> None:
    layer = layer_of(np.full((2, 3, 3), np.nan))
    assert all(np.isnan([facts.entropy, facts.peak]).all() for facts in describe_heads(layer))
    assert np.isnan(compare_heads(layer).divergence[0, 1])
    assert compare_heads(layer).redundant == ()
