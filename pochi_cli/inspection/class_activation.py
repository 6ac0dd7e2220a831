"""Where in an image a convolutional network finds a class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pochi_cli.engine.preserving import untouched
from pochi_cli.errors import ModelError
from pochi_cli.inspection.running import running_openly

_LEAST_CELLS = 4
"""Edge of the smallest map that is taken where there is a choice: coarser ones show little."""
_MOST_STRETCH = 2.0
"""How far the proportions of a map may be from those of the image; a larger one is no map of it."""


class NoFeatureMapError(ModelError):
    """A network of which no layer is a map of the image, or not the layer that was asked for."""


@dataclass(frozen=True, eq=False)
class ClassActivation:
    """Where a layer finds a class; maps are float32 (batch, rows, columns), at least 0, not scaled.

    Attributes:
        layer: Dotted name of the module.
        grad_cam: Its channels weighed by the mean of their gradients (Selvaraju et al., arXiv:1610.02391,
            equations 1 and 2).
        layer_cam: Weighed cell by cell by the positive gradients (Jiang et al. 2021, LayerCAM, equations 4 to
            6), which also suits layers before the last.
        logits: What the network returned, float32 (batch, classes).
        classes: int64 (batch,): whose maps they are.
    """

    layer: str
    grad_cam: Tensor
    layer_cam: Tensor
    logits: Tensor
    classes: Tensor


def class_activation_maps(
    model: nn.Module, images: Tensor, classes: Tensor | None = None, layer: str | None = None
) -> ClassActivation:
    """Compute Grad-CAM and LayerCAM in eval mode.

    Afterwards the model is bit-identical: parameters, their `grad`, buffers, training flags and hooks.

    Args:
        model: Takes images to logits, (batch, classes).
        images: (batch, 3, height, width).
        classes: int64 (batch,); by default the predicted ones.
        layer: Dotted name of the module whose output is looked at; by default the last that every path from
            the image to the logits goes through and that is a map of the image of at least 4 x 4 cells, or
            else of the most cells.

    Raises:
        NoFeatureMapError: There is no such layer.
    """
    with untouched(model), running_openly():
        model.eval()
        layer = layer or last_feature_map(model, images[:1])
        with torch.enable_grad(), _kept_output(model, layer) as kept:
            logits = model(images)
        if not kept:
            raise NoFeatureMapError(f"{layer} does not run when the network does, or returns no tensor")
        features = kept[-1]
        if _as_map(features, images) is None:
            raise NoFeatureMapError(
                f"{layer} gives {tuple(features.shape)}, which is no map of the image",
                f"{last_feature_map(model, images[:1])} gives one",
            )
        if classes is None:
            classes = logits.argmax(1)
        (gradients,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), features)
    weights, values = _as_map(gradients.float(), images), _as_map(features.detach().float(), images)
    assert weights is not None
    assert values is not None
    return ClassActivation(
        layer,
        (weights.mean((2, 3), keepdim=True) * values).sum(1).relu(),
        (weights.relu() * values).sum(1).relu(),
        logits.detach().float(),
        classes,
    )


@contextmanager
def _kept_output(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Keep the outputs of a module, at which the graph begins."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()  # what follows may change it in place

    try:
        handle = model.get_submodule(layer).register_forward_hook(keep)
    except AttributeError:
        raise NoFeatureMapError(
            f"{type(model).__name__} has no layer {layer}", "give the dotted name of a module"
        ) from None
    try:
        yield kept
    finally:
        handle.remove()


def last_feature_map(model: nn.Module, images: Tensor) -> str:
    """Find the last module that all that reaches the logits goes through, and whose output is a map.

    Args:
        model: In eval mode.
        images: (1, 3, height, width).

    Returns:
        Its dotted name; the map has at least 4 x 4 cells if there is such a one.

    Raises:
        NoFeatureMapError: No module gives a map of more than one cell.
    """
    sizes = _map_sizes(model, images)
    least = min(_LEAST_CELLS, max(sizes.values(), default=0))
    for name in reversed([name for name, cells in sizes.items() if cells >= least]):
        if _is_passed_by_all(model, images, name):
            return name
    raise NoFeatureMapError(f"{type(model).__name__} has no layer whose output is a map of the image")


@torch.no_grad()
def _map_sizes(model: nn.Module, images: Tensor) -> dict[str, int]:
    """Measure the maps that modules give, in the order of their last calls: rows or columns, the fewer."""
    sizes: dict[str, int] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and (found := _as_map(output, images)) is not None:
            sizes.pop(name, None)
            sizes[name] = min(found.shape[2:])

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if name and not isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d)
    ]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def _is_passed_by_all(model: nn.Module, images: Tensor, layer: str) -> bool:
    """Tell whether the image reaches the logits through a module alone, rather than past it as well."""
    images = images.detach().clone().requires_grad_()
    cut = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: output.detach())
    try:
        with torch.enable_grad():
            logits = model(images)
    finally:
        cut.remove()
    if not logits.requires_grad:
        return True
    (gradient,) = torch.autograd.grad(logits.sum(), images, allow_unused=True)
    return gradient is None


def _as_map(output: Tensor, images: Tensor) -> Tensor | None:
    """Take an output for a map of the image, (batch, channels, rows, columns); also with channels last."""
    if output.ndim != 4 or len(output) != len(images):
        return None
    for maps in (output, output.permute(0, 3, 1, 2)):
        rows, columns = maps.shape[2:]
        stretch = rows / columns * images.shape[3] / images.shape[2]
        is_smaller = rows <= images.shape[2] and columns <= images.shape[3]
        if min(rows, columns) > 1 and is_smaller and 1 / _MOST_STRETCH < stretch < _MOST_STRETCH:
            return maps
    return None
