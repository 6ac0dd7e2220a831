"""The graph of a model."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from pochi_cli.config.catalogue import CATALOGUE, ModelName
from pochi_cli.models.architectures import build_network
from pochi_cli.tensorboard.graph import model_graph

# One of each family, and both of our own.
FAMILIES: list[ModelName] = [
    "resnet18",
    "vgg_compact",
    "vgg11_bn",
    "vit_tiny",
    "swin_t",
    "convnext_tiny",
    "efficientnet_b0",
    "mobilenet_v3_small",
    "densenet121",
    "regnet_y_400mf",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_graph(name: ModelName) -> None:
    model = build_network(name).to("meta")
    graph = model_graph(model, torch.empty(1, 3, *2 * [CATALOGUE[name].input_size], device="meta"))
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    layers = [path for path, part in model.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    for path in layers:
        # Attention does its projections by itself, with the layers' weights.
        scope = re.sub(r"(_attention|\.attn)\.\w+$", r"\1", path).replace(".", "/")
        assert any(node.startswith(f"{scope}/") for node in names), path
    for node in graph.node:
        assert set(node.input) <= set(names)
    (result,) = (node for node in graph.node if node.op == "output")
    (logits,) = (node for node in graph.node if node.name == result.input[0])
    (shape,) = logits.attr["_output_shapes"].list.shape
    assert [dim.size for dim in shape.dim] == [1, 1000]


def test_the_model_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model = build_network("mobilenet_v3_small", 10)
    model.train()
    model.get_submodule("features.3").eval()  # as frozen batch norm is
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    model_graph(model, torch.zeros(1, 3, 32, 32))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_compiled_model_has_the_same_graph() -> None:
    model = build_network("vgg_compact", 10)
    images = torch.zeros(2, 3, 32, 32)
    plain = model_graph(model, images)
    model.compile(backend="eager")
    assert model_graph(model, images) == plain
