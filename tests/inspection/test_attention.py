"""The captured attention is what the network computes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchvision.models import swin_t, swin_v2_t, vit_b_16
from torchvision.models.swin_transformer import ShiftedWindowAttention

from pochi_cli.inspection.attended import attended_input
from pochi_cli.inspection.attention import NoAttentionError, capture_attention
from pochi_cli.models.architectures import build_network
from tests.inspection.networks import OwnAttention, WordNetwork, assert_unchanged, state_of


def explicit_softmax(module: nn.MultiheadAttention, tokens: Tensor, padding: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d)) of each head, with a padding mask."""
    if not module.batch_first:
        tokens = tokens.transpose(0, 1)
    batch, count, width = tokens.shape
    query, key, _ = F.linear(tokens, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
    heads = module.num_heads
    query, key = (part.reshape(batch, count, heads, -1).transpose(1, 2) for part in (query, key))
    logits = query @ key.transpose(-2, -1) / math.sqrt(width // heads)
    if padding is not None:
        logits = logits.masked_fill(padding[:, None, None], -math.inf)
    return logits.softmax(-1)


def oracle(model: nn.Module, *inputs: Tensor, padding: Tensor | None = None) -> dict[str, Tensor]:
    """The attention of every layer, from what its module is given in eval mode."""
    found: dict[str, Tensor] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda module, args, name=name: found.__setitem__(
                name, explicit_softmax(module, args[0], padding)
            )
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.MultiheadAttention)
    ]
    modes = [module.training for module in model.modules()]
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        model.eval()(*inputs)
    torch.backends.mha.set_fastpath_enabled(True)
    for module, training in zip(model.modules(), modes, strict=True):
        module.training = training
    for handle in handles:
        handle.remove()
    return found


def assert_equal(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(weights) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, atol=1e-5, rtol=0)
        torch.testing.assert_close(weights[name].sum(-1), torch.ones(value.shape[:-1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("build", "edge", "shape"),
    [
        (lambda: build_network("vit_tiny", 10), 32, (2, 3, 65, 65)),
        (lambda: vit_b_16(weights=None), 224, (1, 12, 197, 197)),
    ],
)
def test_vision_transformers(
    build: Callable[[], nn.Module], edge: int, shape: tuple[int, ...], training: bool
) -> None:
    model = build().train(training)
    nn.init.normal_(model.get_parameter("encoder.pos_embedding"), std=1.0)  # torchvision's is nearly flat
    images = torch.randn(shape[0], 3, edge, edge)
    expected = oracle(model, images)
    before = state_of(model)
    maps = capture_attention(model, images)
    assert_unchanged(model, before)
    assert_equal(dict(maps.weights), expected)
    assert {weights.shape for weights in maps.weights.values()} == {shape}
    assert not maps.windows
    with torch.no_grad():
        torch.testing.assert_close(maps.output, model.eval()(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("is_padded", [True, False])
def test_torchs_own_transformer(norm_first: bool, training: bool, is_padded: bool) -> None:
    model = WordNetwork(norm_first=norm_first).train(training)
    tokens = torch.randint(0, 20, (3, 6))
    padding = None
    if is_padded:
        padding = torch.zeros(3, 6, dtype=torch.bool)
        padding[0, 4:] = padding[2, 1:] = True
    mask = None if padding is None else torch.zeros(3, 6).masked_fill(padding, -math.inf)
    expected = oracle(model, tokens, *([] if padding is None else [padding]), padding=padding)
    before = state_of(model)
    maps = capture_attention(model, tokens, padding=padding)
    assert_unchanged(model, before)
    assert_equal(dict(maps.weights), expected)
    assert list(maps.weights) == ["transformer.layers.0.self_attn", "transformer.layers.1.self_attn"]
    if mask is not None:
        for weights in maps.weights.values():
            assert (weights[0, :, :, 4:] == 0).all()


def swin_softmax(module: ShiftedWindowAttention, features: Tensor) -> Tensor:
    """The attention of Swin as its paper has it, one window after the other."""
    (height, width), heads = module.window_size, module.num_heads
    count, rows, columns, channels = features.shape
    down, across = (
        shift if size > edge else 0
        for shift, size, edge in zip(module.shift_size, (rows, columns), (height, width), strict=True)
    )
    padded = F.pad(features, (0, 0, 0, -columns % width, 0, -rows % height))
    rows, columns = padded.shape[1:3]
    rolled = padded.roll((-down, -across), (1, 2))
    # Where each patch was before the roll tells which parts of the image do not meet in a window.
    region = torch.zeros(rows, columns)
    region[rows - down :] += 1
    region[:, columns - across :] += 2
    bias = module.get_relative_position_bias()[0]
    found = []
    for image in rolled:
        for top in range(0, rows, height):
            for left in range(0, columns, width):
                tokens = image[top : top + height, left : left + width].reshape(-1, channels)
                query, key, _ = F.linear(tokens, module.qkv.weight, module.qkv.bias).chunk(3, -1)
                query, key = (part.reshape(len(tokens), heads, -1).transpose(0, 1) for part in (query, key))
                logits = query @ key.transpose(-2, -1) / math.sqrt(channels // heads) + bias
                at = region[top : top + height, left : left + width].flatten()
                # Swin's mask is -100, not minus infinity.
                logits = logits - 100.0 * (at[:, None] != at[None])
                found.append(logits.softmax(-1))
    assert len(found) == count * (rows // height) * (columns // width)
    return torch.stack(found)


@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_swin_by_windows_with_its_bias_and_mask(size: tuple[int, int]) -> None:
    model = swin_t(weights=None)
    for name, parameter in model.named_parameters():
        if "relative_position_bias" in name:
            nn.init.normal_(parameter, std=1.0)
    images = torch.randn(2, 3, *size)
    given: dict[str, tuple[ShiftedWindowAttention, Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda module, args, name=name: given.__setitem__(name, (module, args[0]))
        )
        for name, module in model.named_modules()
        if isinstance(module, ShiftedWindowAttention)
    ]
    with torch.no_grad():
        model.eval()(images)
        expected = {name: swin_softmax(*call) for name, call in given.items()}
    for handle in handles:
        handle.remove()
    model.train()
    before = state_of(model)
    maps = capture_attention(model, images)
    assert_unchanged(model, before)
    assert len(expected) == 12
    assert_equal(dict(maps.weights), expected)
    assert maps.windows.keys() == expected.keys()
    for name, grid in maps.windows.items():
        down, across = grid.windows
        assert len(maps.weights[name]) == 2 * down * across
        assert grid.tokens == maps.weights[name].shape[-1] == 49
        patches = [at for window in range(down * across) for at in grid.patches(window) if at >= 0]
        assert sorted(patches) == list(range(grid.rows * grid.columns))


def test_windows_lie_where_swin_cuts_them() -> None:
    model = swin_t(weights=None).eval()
    places = torch.arange(14 * 14, dtype=torch.float32).reshape(1, 14, 14, 1)
    layer = model.get_submodule("features.5.1.attn")
    assert isinstance(layer, ShiftedWindowAttention)
    maps = capture_attention(model, torch.randn(1, 3, 224, 224))
    grid = maps.windows["features.5.1.attn"]
    assert (grid.rows, grid.columns, grid.shift) == (14, 14, (3, 3))
    rolled = places.roll((-3, -3), (1, 2))[0, :, :, 0]
    for window, (top, left) in enumerate([(0, 0), (0, 7), (7, 0), (7, 7)]):
        expected = rolled[top : top + 7, left : left + 7].flatten().tolist()
        assert grid.patches(window).tolist() == expected


def test_swin_v2() -> None:
    maps = capture_attention(swin_v2_t(weights=None), torch.randn(1, 3, 64, 64))
    assert len(maps.weights) == len(maps.windows) == 12
    for weights in maps.weights.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["softmax", "function", "causal", "masked"])
def test_attention_of_ones_own(kind: str) -> None:
    model = nn.Sequential(OwnAttention(kind), nn.Linear(16, 16))
    tokens = torch.randn(2, 5, 16)
    with torch.no_grad():
        query, key, _ = model[0].parts(tokens)  # type: ignore[operator]
        logits = query @ key.transpose(-2, -1) * (0.5 if kind == "masked" else 8**-0.5)
    if kind == "causal":
        logits += torch.full((5, 5), -math.inf).triu(1)
    if kind == "masked":
        logits[..., 1] = -math.inf
    maps = capture_attention(model, tokens)
    assert_equal(dict(maps.weights), {"0": logits.softmax(-1)})


def test_half_precision_is_told_in_float32() -> None:
    model = build_network("vit_tiny", 10)
    images = torch.randn(1, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = capture_attention(model, images)
    for weights in maps.weights.values():
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 3, 65), atol=1e-2, rtol=0)


class Asking(nn.Module):
    """Uses the weights itself, calls a layer twice, and takes one sequence rather than a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2)
        self.weights: list[Tensor | None] = []

    def forward(self, tokens: Tensor) -> Tensor:
        for options in ({"need_weights": False}, {}, {"average_attn_weights": False}):
            tokens, weights = self.attention(tokens, tokens, tokens, None, **options)
            self.weights.append(weights)
        return tokens


def test_the_caller_gets_what_it_asked_for() -> None:
    model, tokens = Asking().eval(), torch.randn(5, 16)
    with torch.no_grad():
        plain = model(tokens)
    expected, model.weights = model.weights, []
    maps = capture_attention(model, tokens)
    assert list(maps.weights) == ["attention", "attention#2", "attention#3"]
    torch.testing.assert_close(maps.output, plain)
    assert model.weights[0] is None
    for mine, own in zip(model.weights[1:], expected[1:], strict=True):
        assert mine is not None
        assert own is not None
        torch.testing.assert_close(mine, own)
    assert model.weights[2] is not None
    torch.testing.assert_close(maps.weights["attention#3"], model.weights[2].unsqueeze(0))


class Scaling(nn.Module):
    """Changes its weights after the softmax."""

    def forward(self, logits: Tensor) -> Tensor:
        weights = F.softmax(logits, dim=-1)
        weights *= 0.5
        return weights


def test_weights_are_those_before_the_network_changes_them() -> None:
    logits = torch.randn(2, 3, 4, 4)
    maps = capture_attention(Scaling(), logits)
    torch.testing.assert_close(maps.weights["Scaling"], logits.softmax(-1))


class Grids(nn.Module):
    """Attends in grids, as MaxViT does: (batch, grids, heads, queries, keys)."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=4)


def test_more_dimensions_are_more_inputs() -> None:
    logits = torch.randn(2, 5, 3, 4, 4)
    maps = capture_attention(Grids(), logits)
    torch.testing.assert_close(maps.weights["Grids"], logits.softmax(-1).flatten(0, 1))


class Derived(nn.MultiheadAttention):
    """Takes one tensor, and never asks for weights."""

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        attended, _ = super().forward(tokens, tokens, tokens, need_weights=False)
        return attended


def test_classes_derived_from_torchs() -> None:
    model, tokens = Derived(16, 4, batch_first=True).eval(), torch.randn(2, 5, 16)
    maps = capture_attention(model, tokens)
    torch.testing.assert_close(maps.weights["Derived"], explicit_softmax(model, tokens), atol=1e-5, rtol=0)


def test_cross_attention_is_told_apart() -> None:
    layer = nn.TransformerDecoderLayer(16, 2, dim_feedforward=32, batch_first=True)
    words, memory = torch.randn(1, 3, 16), torch.randn(1, 3, 16)
    maps = capture_attention(layer, words, memory)
    assert list(maps.weights) == ["self_attn", "multihead_attn"]
    assert maps.crossing == {"multihead_attn"}
    own, other = attended_input(maps, tokens=["le", "chat", "dort"]).layers
    assert own.is_self_attention
    assert not other.is_self_attention
    assert (own.key_names, other.query_names) == (("le", "chat", "dort"),) * 2
    assert other.key_names == ("1", "2", "3")
    _, other = attended_input(maps, tokens=["le", "chat", "dort"], memory=["the", "cat", "sleeps"]).layers
    assert other.key_names == ("the", "cat", "sleeps")


def test_a_model_without_attention_says_so() -> None:
    model, images = build_network("resnet18", 10), torch.randn(2, 3, 32, 32)
    before = state_of(model)
    with pytest.raises(NoAttentionError, match="no attention was seen in ResNet"):
        capture_attention(model, images)
    assert_unchanged(model, before)


def test_a_failing_model_is_left_as_it_was() -> None:
    model, images = build_network("vit_tiny", 10), torch.randn(2, 3, 64, 64)
    before = state_of(model)
    with pytest.raises(AssertionError, match="Wrong image height"):
        capture_attention(model, images)
    assert_unchanged(model, before)


def test_a_softmax_over_classes_is_no_attention() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Softmax(dim=1))
    with pytest.raises(NoAttentionError):
        capture_attention(model, torch.randn(2, 3, 8, 8))
