"""The models that Pochi knows, as a table that needs no torch.

The parameter names and shapes of each model lie beside this file in `parameters/<name>.txt`, one
`name shape` a line in registration order, as the model is built for 1,000 classes and images of its
`input_size`. `tests/config/test_catalogue.py` holds both against the models (and says how to write them
anew).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import prod
from typing import Literal, get_args

ModelName = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg_compact",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vit_tiny",
    "vit_b_16",
    "vit_b_32",
    "vit_l_16",
    "swin_t",
    "convnext_tiny",
    "convnext_small",
    "convnext_base",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_v2_s",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "densenet121",
    "regnet_y_400mf",
]
MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)

Shape = tuple[int, ...]

POSITIONS = "encoder.pos_embedding"
"""The parameter of a Vision Transformer that depends on the size of the images."""

SMALL_INPUT = 64
"""Longest edge in pixels up to which `stem = "auto"` takes the small stem."""


@dataclass(frozen=True)
class ModelInfo:
    """What the config needs to know of a model.

    Attributes:
        head: Dotted name of the last linear layer, which holds one row per class.
        input_size: Edge in pixels of the images that torchvision's weights were trained on, or that a model
            of our own is meant for.
        patch_size: Edge of a patch for Vision Transformers, whose input must be a multiple of it.
        has_small_stem: Whether the model has a stem for small images.
        has_published_weights: Whether torchvision has weights for it.
        has_attention: Whether its layers attend.
    """

    head: str
    input_size: int = 224
    patch_size: int | None = None
    has_small_stem: bool = False
    has_published_weights: bool = True
    has_attention: bool = False


_RESNET = ModelInfo(head="fc", has_small_stem=True)
_VGG = ModelInfo(head="classifier.6")
_CONVNEXT = ModelInfo(head="classifier.2")
_MOBILENET = ModelInfo(head="classifier.3")

CATALOGUE: dict[ModelName, ModelInfo] = {
    "resnet18": _RESNET,
    "resnet34": _RESNET,
    "resnet50": _RESNET,
    "resnet101": _RESNET,
    "resnet152": _RESNET,
    "vgg_compact": ModelInfo(head="classifier.3", input_size=32, has_published_weights=False),
    "vgg11": _VGG,
    "vgg11_bn": _VGG,
    "vgg13": _VGG,
    "vgg13_bn": _VGG,
    "vgg16": _VGG,
    "vgg16_bn": _VGG,
    "vgg19": _VGG,
    "vgg19_bn": _VGG,
    "vit_tiny": ModelInfo(
        head="heads.head", input_size=32, patch_size=4, has_published_weights=False, has_attention=True
    ),
    "vit_b_16": ModelInfo(head="heads.head", patch_size=16, has_attention=True),
    "vit_b_32": ModelInfo(head="heads.head", patch_size=32, has_attention=True),
    "vit_l_16": ModelInfo(head="heads.head", patch_size=16, has_attention=True),
    "swin_t": ModelInfo(head="head", has_attention=True),
    "convnext_tiny": _CONVNEXT,
    "convnext_small": _CONVNEXT,
    "convnext_base": _CONVNEXT,
    "efficientnet_b0": ModelInfo(head="classifier.1"),
    "efficientnet_b1": ModelInfo(head="classifier.1", input_size=240),
    "efficientnet_b2": ModelInfo(head="classifier.1", input_size=288),
    "efficientnet_b3": ModelInfo(head="classifier.1", input_size=300),
    "efficientnet_b4": ModelInfo(head="classifier.1", input_size=380),
    "efficientnet_v2_s": ModelInfo(head="classifier.1", input_size=384),
    "mobilenet_v3_small": _MOBILENET,
    "mobilenet_v3_large": _MOBILENET,
    "densenet121": ModelInfo(head="classifier"),
    "regnet_y_400mf": ModelInfo(head="fc"),
}


@cache
def parameter_shapes(model_name: ModelName) -> dict[str, Shape]:
    """Look up a model's parameters without building it.

    Returns:
        Shape of each parameter by its dotted name, in registration order, for 1,000 classes.
    """
    text = files("pochi_cli.config").joinpath("parameters", f"{model_name}.txt").read_text("utf-8")
    shapes: dict[str, Shape] = {}
    for line in text.splitlines():
        name, shape = line.split()
        shapes[name] = tuple(int(edge) for edge in shape.split("x"))
    return shapes


def uses_small_stem(model_name: ModelName, stem: str, size: tuple[int, int]) -> bool:
    """Tell whether a model gets the small stem for images of this height and width."""
    if stem == "auto":
        return CATALOGUE[model_name].has_small_stem and max(size) <= SMALL_INPUT
    return stem == "small"


def parameter_counts(
    model_name: ModelName, num_classes: int, *, small_stem: bool = False, edge: int | None = None
) -> dict[str, int]:
    """Count the numbers in each of a model's parameters without building it.

    Args:
        model_name: The model.
        num_classes: Rows of the head.
        small_stem: Whether it has the stem for small images.
        edge: Edge in pixels of the images; by default the model's `input_size`.

    Returns:
        The count by the parameter's dotted name, in registration order.
    """
    info = CATALOGUE[model_name]
    counts: dict[str, int] = {}
    for name, shape in parameter_shapes(model_name).items():
        if name.startswith(f"{info.head}."):
            shape = (num_classes, *shape[1:])
        elif name == POSITIONS and info.patch_size and edge:
            shape = (1, (edge // info.patch_size) ** 2 + 1, shape[2])
        elif small_stem and name == "conv1.weight":
            shape = (*shape[:2], 3, 3)
        counts[name] = prod(shape)
    return counts
