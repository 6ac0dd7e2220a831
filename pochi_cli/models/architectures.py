"""The bare networks of the catalogue: torchvision's, and two of our own."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import VisionTransformer, get_model

from pochi_cli.config.catalogue import CATALOGUE, ModelName
from pochi_cli.models.vgg import CompactVGG


def build_network(name: ModelName, num_classes: int = 1000, edge: int | None = None) -> nn.Module:
    """Build a network whose parameters start at random, drawn from torch's global generator.

    Args:
        name: The network.
        num_classes: Rows of the head.
        edge: Edge in pixels of the images, for networks that work on patches; by default `input_size`.
    """
    if name == "vgg_compact":
        return CompactVGG(num_classes)
    info = CATALOGUE[name]
    edge = edge or info.input_size
    if name == "vit_tiny":
        return _tiny_transformer(num_classes, edge)
    options = {} if info.patch_size is None else {"image_size": edge}
    network: nn.Module = get_model(name, weights=None, num_classes=num_classes, **options)
    return network


def valueless_device(name: ModelName) -> torch.device:
    """Name the device on which a network is built fastest whose values do not matter."""
    # A RegNet works out its widths with tensors while it is built, so it cannot do without values.
    return torch.device("cpu" if name.startswith("regnet") else "meta")


def _tiny_transformer(num_classes: int, edge: int) -> nn.Module:
    """A Vision Transformer (Dosovitskiy et al., arXiv:2010.11929) for small images.

    As wide as DeiT-Ti (Touvron et al., arXiv:2012.12877), half as deep, with patches of 4 pixels.
    """
    network: nn.Module = VisionTransformer(
        image_size=edge,
        patch_size=4,
        num_layers=6,
        num_heads=3,
        hidden_dim=192,
        mlp_dim=768,
        num_classes=num_classes,
    )
    return network
