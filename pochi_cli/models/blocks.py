"""Which block of a network a parameter belongs to. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONVOLUTION = re.compile(r"features\.(\d+)\.weight")
_LINEAR = re.compile(r"classifier\.(\d+)\.weight")
# What a block is called, by what its parameters' names begin with; the first that matches counts.
_RULES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"encoder\.layers\.(encoder_layer_\d+)\.", r"\1"),  # Vision Transformers
        (r"encoder\.(\w+)", r"\1"),
        (r"(features\.\w+)\.", r"\1"),  # stages of ConvNeXt, EfficientNet, MobileNet, Swin; DenseNet's blocks
        (r"trunk_output\.(\w+)\.", r"\1"),  # stages of RegNet
        (r"(classifier\.\d+)\.", r"\1"),
        (r"(hidden\.\d+)\.", r"\1"),  # layers of an encoder of vectors
        (r"(\w+)", r"\1"),
    )
)


def blocks_of(names: Sequence[str]) -> dict[str, str]:
    """Give each parameter of a network the name of its block.

    ResNet: `conv1`, `bn1`, `layer1` to `layer4`, `fc`. VGG: `stage1` to `stage5` (the compact one has four),
    its convolutions between two poolings, and `classifier.<n>`, a linear layer with the norm behind it.
    Vision Transformers: `class_token`, `conv_proj`, `pos_embedding`, one block per encoder layer, `ln`,
    `heads`. RegNet: `stem`, `block1` to `block4`, `fc`. The others: their `features.<n>`. Any other network:
    the first part of the name.

    Args:
        names: Dotted names of all its parameters, in registration order.

    Returns:
        The block of each name, in the order of the names.
    """
    stages = _vgg_stages(names)
    return {name: stages.get(name.rpartition(".")[0]) or _block(name) for name in names}


def _block(name: str) -> str:
    for pattern, block in _RULES:
        if match := pattern.match(name):
            return match.expand(block)
    return name


def _vgg_stages(names: Sequence[str]) -> dict[str, str]:
    """Name the stages of VGG, whose layers are numbered through, poolings included.

    Within a stage a convolution follows the one before after its activation (and normalisation); a pooling in
    between makes the distance larger by one.

    Returns:
        The stage of each layer `features.<n>`, and the block of each norm `classifier.<n>`; nothing for other
        networks.
    """
    layers = [int(match[1]) for name in names if (match := _CONVOLUTION.fullmatch(name))]
    is_vgg = len(layers) > 1 and all(
        re.match(r"(features|classifier)\.\d+\.(weight|bias)\Z", name) for name in names
    )
    if not is_vgg:
        return {}
    has_norms = layers[1] == layers[0] + 1
    convolutions = layers[::2] if has_norms else layers
    within = 3 if has_norms else 2
    stages: dict[str, str] = {}
    stage = 1
    for position, layer in enumerate(convolutions):
        if position and layer - convolutions[position - 1] > within:
            stage += 1
        stages[f"features.{layer}"] = f"stage{stage}"
        if has_norms:
            stages[f"features.{layer + 1}"] = f"stage{stage}"
    return stages | _classifier_norms(names)


def _classifier_norms(names: Sequence[str]) -> dict[str, str]:
    """Give each norm of VGG's classifier to the block of the linear layer that it directly follows."""
    layers = {int(match[1]) for name in names if (match := _LINEAR.fullmatch(name))}
    return {f"classifier.{n}": f"classifier.{n - 1}" for n in layers if n - 1 in layers}
