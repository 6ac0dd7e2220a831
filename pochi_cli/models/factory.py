"""From the config's model keys to a network that is ready to train."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights

from pochi_cli.config.catalogue import CATALOGUE, ModelName, uses_small_stem
from pochi_cli.config.image_sizes import misfit
from pochi_cli.config.model import ModelConfig
from pochi_cli.errors import ModelError
from pochi_cli.models.architectures import build_network, valueless_device
from pochi_cli.models.fitting import apply_state, fit_positions
from pochi_cli.models.freezing import train_mode
from pochi_cli.models.weights import load_state, pretrained_state

_STEM_WEIGHT = "conv1.weight"
_LARGER_EDGES = (32, 64, 96, 128, 224, 256, 384)


@dataclass(frozen=True)
class BuiltModel:
    """A network and how it came to be.

    Attributes:
        model: On the CPU, float32, in training mode; takes images (batch, 3, height, width) to logits
            (batch, num_classes).
        messages: What happened with stem, weights and head, one line each, for the user.
        small_stem: Whether it has the stem for small images.
    """

    model: nn.Module
    messages: tuple[str, ...]
    small_stem: bool


def create_model(config: ModelConfig, num_classes: int, size: tuple[int, int]) -> BuiltModel:
    """Build a classifier of the catalogue with its weights.

    What is left new is drawn from torch's global generator.

    Args:
        config: `weights` goes before `pretrained`.
        num_classes: Rows of the head.
        size: Height and width in pixels of the images to come.

    Raises:
        ModelError: The model cannot take this size or stem, or its weights cannot be loaded.
    """
    name = config.model_name
    info = CATALOGUE[name]
    small_stem = uses_small_stem(name, config.stem, size)
    if small_stem and not info.has_small_stem:
        raise ModelError(f'`stem = "small"`: {name} has no stem for small images', "only ResNets have one")
    edge = _square_edge(name, size) if info.patch_size else None
    model = build_network(name, num_classes, edge)
    messages: tuple[str, ...] = ()
    if small_stem:
        _fit_small_stem(model)
        messages += (f"stem: small (3x3 convolution of stride 1, no max-pooling) for {_text(size)} images",)
    return BuiltModel(model, messages + _load_weights(model, config, edge, small_stem=small_stem), small_stem)


def create_shell(config: ModelConfig, num_classes: int, size: tuple[int, int]) -> nn.Module:
    """Build a classifier of the catalogue for weights that are still to be loaded, all of them.

    To draw values that are then replaced would take a second or more for a large network. No random state
    changes.

    Args:
        config: Which weights it names does not matter.
        num_classes: Rows of the head.
        size: Height and width in pixels of the images to come.

    Returns:
        As `BuiltModel.model`, but every parameter and buffer is zero.

    Raises:
        ModelError: The model cannot take this size or stem.
    """
    untrained = config.model_copy(update={"pretrained": False, "weights": None})
    with torch.random.fork_rng(devices=[]), valueless_device(config.model_name):
        model = create_model(untrained, num_classes, size).model
    model.to_empty(device="cpu")
    for value in model.state_dict().values():  # left as they are, a buffer of indices would lead anywhere
        value.zero_()
    return model


def _square_edge(name: ModelName, size: tuple[int, int]) -> int:
    if mistake := misfit(name, size):
        raise ModelError(*mistake)
    return size[0]


def _fit_small_stem(model: nn.Module) -> None:
    """Keep the resolution of small images, as He et al. (arXiv:1512.03385, section 4.2) do for CIFAR-10."""
    conv = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = conv
    model.maxpool = nn.Identity()


def _load_weights(
    model: nn.Module, config: ModelConfig, edge: int | None, *, small_stem: bool
) -> tuple[str, ...]:
    name = config.model_name
    if config.weights is not None:
        state, source = load_state(config.weights), config.weights
    elif config.pretrained:
        state, source = pretrained_state(name), f"torchvision's {get_model_weights(name).DEFAULT}"
    else:
        return ("weights: none, all parameters start at random",)
    messages: tuple[str, ...] = ()
    patch_size = CATALOGUE[name].patch_size
    if edge is not None and patch_size is not None:
        state, messages = fit_positions(state, edge, patch_size)
    return messages + apply_state(
        model,
        state,
        head=CATALOGUE[name].head,
        source=source,
        model_name=name,
        replaced=frozenset({_STEM_WEIGHT}) if small_stem else frozenset(),
    )


def check_input(model: nn.Module, model_name: ModelName, size: tuple[int, int], batch_size: int) -> int:
    """Find out whether a model can train on such batches, and how much work that is, by shapes alone.

    The forward pass of one training step runs on the meta device, on a copy that holds shapes only;
    neither the model nor any random state changes. Frozen batch norms stay in eval mode, as in training.

    Args:
        model: Not compiled, not wrapped.
        model_name: For the message.
        size: Height and width in pixels.
        batch_size: Of the smallest batch that training will meet.

    Returns:
        Multiply-adds of an image's forward pass.

    Raises:
        ModelError: The images are too small or of a wrong size for the network, or a batch norm would
            see one value per channel.
    """
    shapes = shapes_only(model)
    train_mode(shapes)
    with FlopCounterMode(display=False) as counter:
        trouble = _try(shapes, size, batch_size)
    if trouble is None:
        return int(counter.get_total_flops()) // 2 // batch_size
    remedies = []
    if batch_size < 2 and _try(shapes, size, 2) is None:
        remedies.append("set `batch_size` to 2 or more")
    larger = (edge for edge in _LARGER_EDGES if edge > max(size))
    if (edge := next((e for e in larger if _try(shapes, (e, e), batch_size) is None), None)) is not None:
        remedies.append(f"use larger images: {edge}x{edge} work")
    if CATALOGUE[model_name].has_small_stem and tuple(model.get_parameter(_STEM_WEIGHT).shape[2:]) != (3, 3):
        remedies.append('set `stem = "small"`')
    raise ModelError(
        f"{model_name} cannot train on images of {_text(size)} (height x width) "
        f"with batch_size {batch_size}: {trouble}",
        ", or ".join(remedies) or None,
    )


def shapes_only(model: nn.Module) -> nn.Module:
    """Copy a model to the meta device; no value is copied, so it costs milliseconds."""
    # Naming the copies in advance keeps deepcopy from copying the values first.
    memo: dict[int, object] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in model.buffers()}
    copied: nn.Module = copy.deepcopy(model, memo)
    return copied


def _try(shapes: nn.Module, size: tuple[int, int], batch_size: int) -> str | None:
    try:
        with torch.no_grad():
            shapes(torch.empty(batch_size, 3, *size, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:  # whichever the layer that objects raises
        return str(error).strip().partition("\n")[0]
    return None


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
