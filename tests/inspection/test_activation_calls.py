"""Which outputs of a network are seen, what they are called, and along which axis their units lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt, LayerNorm2d
from torchvision.models.swin_transformer import SwinTransformer

from pochi_cli.inspection.activations import survey_activations
from tests.inspection.test_activations import Small


@pytest.fixture
def model() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, 3, 6, 6, generator=generator) for count in (5, 8, 3)]


def test_every_call_of_a_layer_or_function_has_a_row_in_the_order_of_execution(
    model: Small, batches: list[Tensor]
) -> None:
    done: list[int] = []
    survey = survey_activations(model, batches, on_batch=done.append)
    assert done == [1, 2, 3]
    assert survey.batches == 3
    assert [layer.label for layer in survey.layers] == [
        *("conv", "norm", "relu", "relu#2", "gelu()", "head", "relu()", "tanh()", "relu()#2", "relu()#3")
    ]
    assert [(layer.name, layer.function, layer.call) for layer in survey.layers[-2:]] == [
        ("", "relu", 2),
        ("", "relu", 3),
    ]


def test_the_bounds_of_a_function_are_those_it_was_called_with() -> None:
    class Clipping(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return F.hardtanh(F.hardtanh(values, -3.0, 3.0), max_val=2.0) + F.relu6(values)

    layers = survey_activations(Clipping(), [torch.linspace(-9, 9, 50)[:, None]]).layers
    bounds = [(at.low, at.high, at.is_rectifier) for layer in layers if (at := layer.saturation)]
    assert bounds == [(-3, 3, False), (-1, 2, False), (0, 6, True)]


@pytest.mark.parametrize(
    ("rectify", "label", "high"),
    [
        (lambda values: values.clamp(min=0), "clamp()", None),
        (lambda values: values.clamp(0), "clamp()", None),
        (lambda values: values.clone().clamp_(0.0), "clamp()", None),
        (lambda values: torch.clamp(values, min=torch.zeros(3)), "clamp()", None),
        (lambda values: torch.clip(values, 0, 2), "clip()", 2),
        (lambda values: values.clamp(max=2, min=0), "clamp()", 2),
        (lambda values: torch.clamp_min(values, 0), "clamp_min()", None),
        (lambda values: values.clone().clamp_min_(min=0), "clamp_min()", None),
        (lambda values: torch.maximum(values, torch.zeros(())), "maximum()", None),
        (lambda values: values.maximum(torch.zeros_like(values)), "maximum()", None),
        (lambda values: F.threshold(values, 0, 0), "threshold()", None),
        (lambda values: torch.threshold(values, 0, 0), "threshold()", None),
    ],
)
def test_rectifiers_in_other_words_are_activations(
    rectify: Callable[[Tensor], Tensor], label: str, high: float | None
) -> None:
    class Rectifying(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return rectify(values) + 1

    values = torch.randn(200, 3)
    values[:, 1] = -values[:, 1].abs()
    (layer,) = survey_activations(Rectifying(), [values]).layers
    assert (layer.label, layer.kind, layer.dead, layer.dead_limit) == (label, "activation", (1,), 0)
    saturation = layer.saturation
    assert (saturation and (saturation.low, saturation.high, saturation.is_rectifier)) == (
        None if high is None else (0, high, True)
    )


def test_what_cuts_off_elsewhere_is_no_activation() -> None:
    class Cutting(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            sizes = values.clamp(min=1e-6) + values.clamp(max=0) + values.clamp(-1, 1) + values.clamp_min(1)
            return F.normalize(torch.maximum(sizes, values) + torch.clamp(values, max=3))

    with pytest.raises(ValueError, match="no layer"):
        survey_activations(Cutting(), [torch.randn(50, 3)])


class _Permuted(nn.Module):
    """Computes with channels first, and activates with channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 7, 1)
        self.norm = nn.LayerNorm(7)
        self.deep = nn.Linear(7, 9)

    def forward(self, images: Tensor) -> Tensor:
        tokens = F.relu(self.conv(images).permute(0, 2, 3, 1))
        tokens = F.gelu(self.deep(self.norm(tokens)))
        return F.relu(tokens.permute(0, 3, 1, 2) - 1)


@pytest.mark.parametrize(
    ("model", "shape", "units"),
    [
        (nn.Sequential(nn.Conv1d(3, 7, 1), nn.BatchNorm1d(7), nn.ReLU()), (2, 3, 7), [7, 7, 7]),
        (nn.Sequential(nn.Conv1d(3, 6, 1), nn.ReLU()), (3, 5), [6, 6]),  # no batch
        (nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.LayerNorm(7)), (2, 5, 3), [7, 7, 7]),
        (nn.Sequential(nn.Linear(3, 7), nn.GELU()), (2, 5, 6, 3), [7, 7]),
        (
            nn.Sequential(nn.Conv2d(3, 7, 1), nn.GroupNorm(1, 7), nn.LayerNorm([7, 4, 4])),
            (2, 3, 4, 4),
            [7, 7, 7],
        ),
        (nn.Sequential(nn.Conv2d(3, 7, 1), nn.Flatten(), nn.ReLU()), (2, 3, 4, 4), [7, 112]),
        (_Permuted(), (2, 3, 4, 4), [7, 7, 7, 9, 9, 9]),
        (nn.ReLU(), (5, 6, 7), [7]),
        (nn.ReLU(), (5, 6, 7, 8), [6]),
        (nn.ReLU(), (5,), [5]),
    ],
)
def test_units_lie_along_the_axis_of_the_layer_before(
    model: nn.Module, shape: tuple[int, ...], units: list[int]
) -> None:
    assert [layer.units for layer in survey_activations(model, [torch.randn(shape)]).layers] == units


def convnext() -> nn.Module:
    blocks = [CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)]
    network: nn.Module = ConvNeXt(blocks, num_classes=5)
    return network


def swin() -> nn.Module:
    network: nn.Module = SwinTransformer([4, 4], 16, [1, 1], [2, 4], [4, 4], num_classes=5)
    return network


@pytest.mark.parametrize("create", [convnext, swin])
def test_units_of_networks_with_channels_last(create: Callable[[], nn.Module]) -> None:
    model = create()
    # Of 16 x 16 patches with 16 channels: their number alone does not tell the axis.
    survey = survey_activations(model, [torch.randn(2, 3, 64, 64)])
    seen = {nn.LayerNorm: 0, nn.GELU: 0}
    for layer in survey.layers:
        module = model.get_submodule(layer.name)
        if isinstance(module, nn.LayerNorm):
            assert layer.units == module.normalized_shape[0], layer.label
        elif isinstance(module, nn.GELU):
            assert layer.units == model.get_submodule(_before(layer.name)).out_features, layer.label
        else:
            continue
        seen[nn.GELU if isinstance(module, nn.GELU) else nn.LayerNorm] += 1
    assert min(seen.values()) >= 2


def test_the_norm_of_convnext_has_its_channels_first() -> None:
    norm = LayerNorm2d(16)
    images = torch.randn(2, 16, 16, 16)
    with torch.no_grad():
        norm.bias[3] = 5
        norm.weight[3] = 0
    (layer,) = survey_activations(norm, [images]).layers
    assert layer.constant == (3,)


def _before(name: str) -> str:
    parent, _, number = name.rpartition(".")
    return f"{parent}.{int(number) - 1}"


class _Encoder(nn.Module):
    """Sees text."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)
        self.cells = nn.LSTM(16, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.cells(self.layers(self.words(tokens), src_key_padding_mask=tokens == 0))
        scores: Tensor = self.head(states[:, -1])
        return scores


def test_a_transformer_is_seen_without_its_fast_path() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(1, 30, (3, 7))
    assert torch.backends.mha.get_fastpath_enabled()
    survey = survey_activations(_Encoder(), [tokens])
    assert torch.backends.mha.get_fastpath_enabled()
    inside = ("self_attn", "norm1", "linear1", "relu()", "linear2", "norm2")
    expected = ["words", *(f"layers.layers.{at}.{name}" for at in range(2) for name in inside)]
    assert [layer.label for layer in survey.layers] == [*expected, "cells", "head"]
    assert [layer.units for layer in survey.layers] == [16, *[16, 16, 32, 32, 16, 16] * 2, 6, 2]


def test_a_compiled_network_runs_eagerly(model: Small, batches: list[Tensor]) -> None:
    def refuse(*_: object) -> Callable[..., Any]:
        raise AssertionError("it is compiled")

    compiled: Any = torch.compile(model, backend=refuse)
    survey = survey_activations(compiled, batches)
    expected = survey_activations(model, batches)
    assert [layer.label for layer in survey.layers] == [layer.label for layer in expected.layers]
    assert [layer.mean for layer in survey.layers] == [layer.mean for layer in expected.layers]


class _Own(nn.ReLU):
    """A ReLU of one's own."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.clamp_min(F.relu(values), 0)


class _Gate(nn.Module):
    """An activation of one's own, made of another."""

    def forward(self, values: Tensor) -> Tensor:
        return values * torch.sigmoid(values)


class _Alias(nn.Module):
    """Is nothing but a function."""

    def forward(self, values: Tensor) -> Tensor:
        return F.silu(values)


def test_a_function_within_an_activation_module_is_not_counted_twice() -> None:
    model = nn.Sequential(nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.ELU(), _Own(), _Gate(), _Alias())
    labels = [layer.label for layer in survey_activations(model, [torch.randn(4, 3)]).layers]
    assert labels == ["0", "1", "2", "3", "4", "5.sigmoid()", "5", "6.silu()"]


def test_what_only_moves_values_about_has_no_row() -> None:
    model = nn.Sequential(
        nn.Identity(), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(), nn.Softmax(1), nn.Linear(12, 2)
    )
    assert [layer.label for layer in survey_activations(model, [torch.randn(2, 3, 4, 4)]).layers] == ["5"]


def test_a_parametrized_layer_has_one_row() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.ReLU())
    layers = survey_activations(model, [torch.randn(5, 4)]).layers
    assert [(layer.label, layer.kind) for layer in layers] == [("0", "linear"), ("1", "activation")]


def test_a_network_that_is_called_several_times_for_a_batch(model: Small, batches: list[Tensor]) -> None:
    def twice(model: nn.Module, batch: Tensor) -> None:
        for half in batch.chunk(2):
            model(half)

    whole, halved = survey_activations(model, batches), survey_activations(model, batches, twice)
    assert [layer.label for layer in halved.layers] == [layer.label for layer in whole.layers]
    assert [layer.values for layer in halved.layers] == [layer.values for layer in whole.layers]


@pytest.mark.parametrize(
    "spelling",
    [torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu, F.gelu, F.silu, F.hardswish, torch.sigmoid,
     Tensor.sigmoid_, F.sigmoid, torch.tanh, Tensor.tanh, F.leaky_relu, F.elu, F.elu_, F.mish, F.softplus],
)  # fmt: skip
def test_functions_are_seen_in_every_spelling(spelling: Callable[[Tensor], Tensor]) -> None:
    class Calling(nn.Module):
        def forward(self, values: Any) -> Tensor:
            return spelling(values.clone()) + 1

    (layer,) = survey_activations(Calling(), [torch.randn(4, 3)]).layers
    assert layer.label == f"{spelling.__name__.rstrip('_')}()"
    assert layer.kind == "activation"
