"""Layers, parameters and operations: against torchvision's published figures and against hand counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchvision.models import get_model_weights

from pochi_cli.config.catalogue import CATALOGUE, MODEL_NAMES, ModelName
from pochi_cli.errors import ModelError
from pochi_cli.inspection.model_operations import describe_structure
from pochi_cli.inspection.model_structure import Layer, ModelStructure
from pochi_cli.models.architectures import build_network
from pochi_cli.models.encoder import Encoder
from tests.inspection.test_gradients import Recurrent, Small, assert_untouched, fingerprint

PUBLISHED = [name for name in MODEL_NAMES if CATALOGUE[name].has_published_weights]


def shapes_of(name: ModelName) -> nn.Module:
    """The network without values, which only cost time."""
    if name == "regnet_y_400mf":  # computes its widths with tensors
        return build_network(name)
    with torch.device("meta"):
        return build_network(name)


def by_name(structure: ModelStructure) -> dict[str, Layer]:
    return {layer.name: layer for layer in structure.layers}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_operations_are_those_that_torchvision_publishes(name: ModelName) -> None:
    edge = CATALOGUE[name].input_size
    structure = describe_structure(shapes_of(name), torch.empty(1, 3, edge, edge))
    published = next(iter(get_model_weights(name))).meta
    assert structure.parameters == published["num_params"]
    assert round(structure.macs / 1e9, 3) == published["_ops"]
    assert structure.flops == 2 * structure.macs
    assert structure.device == "meta"


def test_the_compact_vgg_is_counted_by_hand() -> None:
    model = shapes_of("vgg_compact")
    structure = describe_structure(model, torch.empty(1, 3, 32, 32))
    macs = 0
    for name, module in model.named_modules():
        shape = by_name(structure)[name].output_shape if name in by_name(structure) else None
        if isinstance(module, nn.Conv2d):
            assert shape is not None
            macs += module.weight.numel() * shape[2] * shape[3]
        elif isinstance(module, nn.Linear):
            macs += module.weight.numel()
    assert structure.macs == macs == 137_011_200
    assert structure.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_small_transformer_is_counted_by_hand() -> None:
    structure = describe_structure(shapes_of("vit_tiny"), torch.empty(1, 3, 32, 32))
    width, hidden, tokens = 192, 768, 8 * 8 + 1
    attention = tokens * width * 3 * width + 2 * tokens * tokens * width + tokens * width * width
    block = attention + 2 * tokens * width * hidden
    assert structure.macs == 64 * width * 3 * 4 * 4 + 6 * block + width * 1000
    layers = by_name(structure)
    assert layers["encoder.layers.encoder_layer_0.self_attention"].macs == attention
    outer = layers[""]
    assert (outer.label, outer.parameters) == ("VisionTransformer", width)  # the class token
    own = layers["encoder.layers.encoder_layer_0.self_attention"]
    assert own.parameters == 3 * width * (width + 1)  # the projections of the input
    assert layers["encoder.layers.encoder_layer_0.self_attention.out_proj"].output_shape is None


def test_an_encoder_of_vectors() -> None:
    model = Encoder(20, (12, 8), 5, with_projection=True)
    structure = describe_structure(model, torch.zeros(1, 20))
    assert structure.macs == 20 * 5 + 20 * 12 + 12 * 8 + 8 * 5
    assert [(layer.name, layer.block, layer.parameters) for layer in structure.layers] == [
        ("projection", "projection", 105),
        ("hidden.0", "hidden.0", 252),
        ("hidden.1", "hidden.1", 104),
        ("head", "head", 45),
    ]


def test_a_bilinear_layer_by_hand() -> None:
    """For each output a matrix between the two inputs, and then a product with the second."""
    for batch in ((7,), (7, 2)):
        structure = describe_structure(nn.Bilinear(3, 4, 5), torch.zeros(*batch, 3), torch.zeros(*batch, 4))
        samples = torch.Size(batch).numel()
        assert structure.macs == samples * 5 * (3 * 4 + 4)
        assert structure.uncounted == ()


def test_costly_operations_that_are_not_known_are_told() -> None:
    class Costly(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            spectrum = torch.fft.fft(batch).real
            solved: Tensor = torch.linalg.solve(batch @ batch.T, torch.cdist(spectrum, batch))
            norm: Tensor = torch.linalg.vector_norm(batch)
            return solved / norm

    structure = describe_structure(Costly(), torch.rand(4, 4))
    assert structure.macs == 4 * 4 * 4
    told = " ".join(structure.uncounted)
    assert all(name in told for name in ("fft", "linalg_solve", "cdist"))
    assert "norm" not in told
    assert structure.to_record()["uncounted"] == list(structure.uncounted)


def test_a_network_that_has_nothing_to_do_with_images() -> None:
    structure = describe_structure(Recurrent(), torch.zeros(2, 8, dtype=torch.int64))
    layers = by_name(structure)
    assert layers["words"].output_shape == (2, 8, 5)
    assert (layers["words"].macs, layers["cells"].macs) == (0, 2 * 8 * (5 * 24 + 6 * 24))
    assert layers["head"].macs == 2 * 6
    assert structure.input_shapes == ((2, 8),)


class Odd(nn.Module):
    """Shares weights, calls one module twice, has weights and products of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
        self.one = nn.Linear(6, 6)
        self.other = nn.Linear(6, 6)
        self.other.weight = self.one.weight
        self.act = nn.ReLU()
        self.idle = nn.Linear(6, 2).requires_grad_(False)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, batch: Tensor) -> Tensor:
        hidden = self.act(self.one(batch * self.scale))
        weighed: Tensor = self.act(self.other(hidden)) @ self.scale
        return weighed


def test_shared_frozen_and_unused_parameters_and_products_outside_of_layers() -> None:
    structure = describe_structure(Odd(), torch.zeros(4, 6))
    layers = by_name(structure)
    assert (
        structure.parameters == sum(parameter.numel() for parameter in Odd().parameters()) == 6 + 42 + 6 + 14
    )
    assert (structure.trainable, structure.frozen, structure.buffers) == (54, 14, 3)
    assert (layers["one"].parameters, layers["other"].parameters) == (42, 6)
    assert (layers["act"].calls, layers["idle"].calls, layers["idle"].output_shape) == (2, 0, None)
    assert (layers["one"].macs, layers["other"].macs, layers[""].macs) == (4 * 36, 4 * 36, 4 * 6)


def test_a_course_that_depends_on_values_is_run_with_them() -> None:
    class Halting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, batch: Tensor) -> Tensor:
            for _ in range(int(batch[0, 0])):
                batch = self.layer(batch)
            tokens = batch[:, None, None].expand(1, 1, 7, 3)
            attended: Tensor = F.scaled_dot_product_attention(tokens, tokens, tokens)
            return attended

    structure = describe_structure(Halting(), torch.full((1, 3), 5.0))
    assert structure.device == "cpu"
    layers = by_name(structure)
    assert (layers["layer"].calls, layers["layer"].macs) == (5, 5 * 9)
    assert layers[""].macs == 2 * 7 * 7 * 3  # which the CPU would compute in one fused kernel


def test_an_input_that_does_not_fit_is_told() -> None:
    with pytest.raises(ModelError, match=r"cannot take an input of shape \(1, 7\): "):
        describe_structure(nn.Linear(4, 3), torch.zeros(1, 7))


@pytest.mark.parametrize("on_meta", [True, False])
def test_the_model_is_as_it_was(on_meta: bool) -> None:
    class Watched(Small):
        def forward(self, images: Tensor) -> Tensor:
            if not on_meta:
                float(images.sum())
            return F.dropout(super().forward(images))

    model = Watched()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    model.norm.register_forward_hook(lambda *_: None)
    images = torch.rand(2, 1, 7, 7)
    before, state = fingerprint(model), torch.get_rng_state()
    structure = describe_structure(model, images)
    assert structure.device == ("meta" if on_meta else "cpu")
    assert_untouched(before, fingerprint(model))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.backends.mha.get_fastpath_enabled()
