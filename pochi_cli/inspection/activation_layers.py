"""Which layers of a network have activations to look at, and along which axis their units lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from pochi_cli.inspection.activation_record import Kind

_MODULES: dict[type[nn.Module], str] = {
    nn.ReLU6: "relu6",  # before the class that it is derived from
    nn.Hardtanh: "hardtanh",
    nn.ReLU: "relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Mish: "mish",
    nn.Hardswish: "hardswish",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.LeakyReLU: "leaky_relu",
    nn.PReLU: "prelu",
    nn.RReLU: "rrelu",
    nn.ELU: "elu",
    nn.SELU: "selu",
    nn.CELU: "celu",
    nn.Softplus: "softplus",
    nn.Softsign: "softsign",
    nn.LogSigmoid: "logsigmoid",
    nn.Softshrink: "softshrink",
    nn.Hardshrink: "hardshrink",
    nn.Threshold: "threshold",
}
_BOUNDS = {
    "relu6": (0.0, 6.0),
    "hardsigmoid": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
}
_REACH_ZERO = {
    "relu", "relu6", "threshold", "hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink"
}  # fmt: skip
"""Activations that are exactly 0 over a stretch of their inputs; the others come near it at most."""
_CUTTING = {
    "clamp": ("input", "min", "max"),
    "clip": ("input", "min", "max"),
    "clamp_min": ("input", "min"),
    "maximum": ("input", "other"),
}
"""Functions that are rectifiers where they cut off what is below 0, with their parameters."""


class Units(NamedTuple):
    """Where the units of an output lie.

    Attributes:
        axis: Which dimension; may count from the end.
        size: How many there are; `None` where the layer does not say.
    """

    axis: int
    size: int | None


@dataclass(frozen=True)
class Layer:
    """What is known of a layer before it runs.

    Attributes:
        kind: What it is.
        type: Its class, or the function's name.
        units: Where its units lie, where it says so itself.
        bounds: Least and largest value that a bounded activation can have.
        is_rectifier: Whether its lower bound is a rectifier's 0.
        is_smooth: Whether it is an activation that is 0 at single inputs only.
    """

    kind: Kind
    type: str
    units: Units | None = None
    bounds: tuple[float, float] | None = None
    is_rectifier: bool = False
    is_smooth: bool = False


def named_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Layer]]:
    """List the layers of a network: what computes or activates, and nothing that only moves values about.

    These are convolutions, linear layers, norms, attention, recurrent layers and activations; and of the
    other modules without children those with parameters or buffers of their own, and those of classes that
    belong neither to torch nor to torchvision, but for the network itself.
    """
    seen: set[int] = set()

    def walk(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module, Layer]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        layer = _describe(module)
        if layer is not None and (name or layer.kind != "other"):
            # What it holds, such as a parametrization, is part of it.
            yield name, module, layer
            return
        for child, inner in module.named_children():
            yield from walk(f"{name}.{child}" if name else child, inner)

    yield from walk("", model)


def activation_functions() -> dict[Callable[..., Any], str]:
    """List the activation functions, in all the places where torch has them, in-place ones included."""
    functions: dict[Callable[..., Any], str] = {}
    for name in (*_MODULES.values(), *_CUTTING):
        for place in (torch, Tensor, F):
            for spelling in (name, f"{name}_"):
                if (function := getattr(place, spelling, None)) is not None:
                    functions[function] = name
    return functions


def describe_function(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Layer | None:
    """Describe a call of an activation function; `None` for a `clamp` or `maximum` that is no rectifier."""
    if name in _CUTTING:
        return _describe_cut(name, dict(zip(_CUTTING[name], arguments, strict=False)) | named)
    if name != "hardtanh":
        return _activation(name, name, _BOUNDS.get(name))
    given = dict(zip(("input", "min_val", "max_val"), arguments, strict=False)) | named
    return _activation(name, name, (float(given.get("min_val", -1)), float(given.get("max_val", 1))))


def _describe_cut(name: str, given: dict[str, Any]) -> Layer | None:
    low, high = (given.get(key) for key in (_CUTTING[name][1], "max"))
    if low is None or bool(low.any() if isinstance(low, Tensor) else low):
        return None
    if high is None:
        return _activation(name, name, None)
    if isinstance(high, Tensor) and high.numel() != 1:
        return None
    return _activation(name, name, (0.0, float(high)))


def unit_axis(shape: tuple[int, ...], own: Units | None, before: Units | None) -> int:
    """Find the dimension along which the units of an output lie.

    It is where the layer itself says: dimension 1 of what convolutions and the norms beside them put out, the
    last of what linear layers put out and of what LayerNorm does over one dimension. An activation takes that
    of the last such layer before it. Where the size there is not that layer's number of units, because the
    tensor was rearranged, it is dimension 1 or the last, whichever has that size. Without a layer before it
    is dimension 1 of matrices and images, and the last of sequences (N, T, C).

    Args:
        shape: Of the output; not empty.
        own: What the layer says.
        before: What the last layer before that said so had.

    Returns:
        From 0 on.
    """
    for units in (own, before):
        if units is None:
            continue
        wanted = [at % len(shape) for at in (units.axis, 1, -1) if -len(shape) <= at < len(shape)]
        fitting = [at for at in wanted if units.size is None or shape[at] == units.size]
        if fitting:
            return fitting[0]
    return min(1, len(shape) - 1) if len(shape) != 3 else 2


def _describe(module: nn.Module) -> Layer | None:
    kind = type(module).__name__
    for of, name in _MODULES.items():
        if isinstance(module, of):
            bounds = _BOUNDS.get(name)
            if isinstance(module, nn.Hardtanh):
                bounds = float(module.min_val), float(module.max_val)
            return _activation(name, kind, bounds)
    if isinstance(module, _ConvNd):
        # Counted from the end, for there may be no batch.
        return Layer("convolution", kind, Units(-1 - len(module.kernel_size), module.out_channels))
    if isinstance(module, nn.Linear | nn.Bilinear):
        return Layer("linear", kind, Units(-1, module.out_features))
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return Layer("recurrent", kind, Units(-1, None))
    if isinstance(module, nn.MultiheadAttention):  # it computes with the weights of what it holds itself
        return Layer("attention", kind, Units(-1, module.embed_dim))
    if (units := _norm_units(module)) is not None:
        return Layer("norm", kind, units)
    if isinstance(module, nn.Embedding):
        return Layer("other", kind, Units(-1, module.embedding_dim))
    if any(module.children()):
        return None
    has_own = any(True for _ in (*module.parameters(), *module.buffers()))
    is_foreign = type(module).__module__.partition(".")[0] not in ("torch", "torchvision")
    return Layer("other", kind) if has_own or is_foreign else None


def _norm_units(module: nn.Module) -> Units | None:
    if isinstance(module, _InstanceNorm):
        return Units(1, None)  # it does not know its channels unless it has parameters
    if isinstance(module, _NormBase):
        return Units(1, module.num_features)
    if isinstance(module, nn.GroupNorm):
        return Units(1, module.num_channels)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        shape = tuple(module.normalized_shape)
        if len(shape) > 1:
            return Units(-len(shape), shape[0])
        # Derived ones of this name, such as ConvNeXt's LayerNorm2d, have their channels in dimension 1.
        return Units(1 if type(module).__name__.endswith("2d") else -1, shape[0])
    if type(module).__name__ == "FrozenBatchNorm2d":  # torchvision's, with buffers only
        return Units(1, None)
    return None


def _activation(name: str, kind: str, bounds: tuple[float, float] | None) -> Layer:
    is_rectifier = name in {"relu6", "hardtanh", *_CUTTING} and bounds is not None and bounds[0] == 0
    is_smooth = name not in {*_REACH_ZERO, *_CUTTING}
    return Layer("activation", kind, None, bounds, is_rectifier, is_smooth)
