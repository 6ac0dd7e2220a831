"""Tokens get their names and places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models import swin_t

from pochi_cli.inspection.attended import attended_input, find_grid
from pochi_cli.inspection.attention import capture_attention
from pochi_cli.inspection.attention_record import PatchGrid
from pochi_cli.models.architectures import build_network
from tests.inspection.networks import WORDS, WordNetwork


@pytest.mark.parametrize(
    ("tokens", "size", "expected"),
    [
        (197, (224, 224), PatchGrid(14, 14, 1)),
        (196, (224, 224), PatchGrid(14, 14)),
        (198, (224, 224), PatchGrid(14, 14, 2)),  # DeiT: a token for distillation
        (201, (224, 224), PatchGrid(14, 14, 5)),  # four registers
        (50, (224, 224), PatchGrid(7, 7, 1)),
        (65, (32, 32), PatchGrid(8, 8, 1)),
        (17, (16, 16), PatchGrid(4, 4, 1)),
        (33, (32, 64), PatchGrid(4, 8, 1)),
        (6, (224, 224), PatchGrid(2, 2, 2)),
        (2, (224, 100), None),
        (100, (30, 50), None),
    ],
)
def test_grids(tokens: int, size: tuple[int, int], expected: PatchGrid | None) -> None:
    assert find_grid(tokens, *size) == expected


def test_names_of_a_grid() -> None:
    assert PatchGrid(2, 2, 1).names() == ("class", "1,1", "1,2", "2,1", "2,2")
    assert PatchGrid(2, 1, 3).names() == ("class", "extra 1", "extra 2", "1,1", "2,1")
    # Three rows in windows of two: the last row of windows has patches that only fill up.
    grid = PatchGrid(3, 2, window=(2, 2))
    assert grid.windows == (2, 1)
    assert grid.names(1) == ("3,1", "3,2", "padding", "padding")


def test_images_of_a_batch() -> None:
    model = build_network("vit_tiny", 10)
    maps = capture_attention(model, torch.randn(3, 3, 32, 32))
    picture = np.zeros((32, 32, 3), np.uint8)
    one = attended_input(maps, 2, "digit.png", image=picture, prediction="7 (98.2%)")
    assert (one.name, one.prediction, one.image is picture) == ("digit.png", "7 (98.2%)", True)
    assert len(one.layers) == 6
    for layer, weights in zip(one.layers, maps.weights.values(), strict=True):
        assert layer.weights.shape == (1, 3, 65, 65)
        assert layer.weights.dtype == np.float32
        np.testing.assert_array_equal(layer.weights[0], weights[2].numpy())
        assert layer.grid == PatchGrid(8, 8, 1)
        assert layer.query_names[:3] == ("class", "1,1", "1,2")
    with pytest.raises(IndexError, match="there is no input 3 in a batch of 3"):
        attended_input(maps, 3)


def test_windows_of_a_batch() -> None:
    maps = capture_attention(swin_t(weights=None), torch.randn(2, 3, 112, 112))
    one = attended_input(maps, 1, image=np.zeros((112, 112, 3), np.uint8))
    first = one.layers[0]
    assert (first.name, first.weights.shape) == ("features.1.0.attn", (16, 3, 49, 49))
    np.testing.assert_array_equal(first.weights, maps.weights[first.name][16:].numpy())
    assert first.grid == PatchGrid(28, 28, window=(7, 7))


def test_words() -> None:
    maps = capture_attention(WordNetwork(), torch.randint(0, 20, (2, 8)))
    one = attended_input(maps, 1, " ".join(WORDS), tokens=WORDS)
    assert one.name == "The cat sat on the mat"
    assert one.layers[0].query_names == (*WORDS, "-", "-")
    assert one.layers[0].is_self_attention
    assert attended_input(maps).layers[0].key_names == tuple("12345678")
    assert attended_input(maps).name == "input 1"
