"""Weights meet a model: what fits is loaded, what may differ is left new, the rest is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from pochi_cli.config.catalogue import CATALOGUE, MODEL_NAMES, POSITIONS, ModelName, parameter_shapes
from pochi_cli.errors import ModelError

SHOWN = 3
"""How many tensors an error names of each kind."""

# Buffers that a model makes itself; files saved by other programs often leave them out.
_DERIVED = ("num_batches_tracked", "relative_position_index")


@dataclass(frozen=True)
class _Misfit:
    """What of a file and a model does not belong together, each as text for the user."""

    missing: tuple[str, ...]
    different: tuple[str, ...]
    unexpected: tuple[str, ...]


def apply_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    head: str,
    source: str,
    model_name: ModelName,
    replaced: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Load tensors into a model.

    A head that fits is loaded, one of another shape (or none) leaves the model's own. Everything else
    must fit; only counters and indices that the model makes itself may be missing.

    Args:
        model: Changed in place, unless an error is raised.
        state: Tensors by the names of `model.state_dict()`.
        head: Dotted name of the last linear layer.
        source: What the tensors come from, for messages.
        model_name: What the model is, for messages.
        replaced: Names of parameters of the small stem, left new where the shape is another.

    Returns:
        What happened, one line each.

    Raises:
        ModelError: A tensor is missing, of another shape, or unknown to the model.
    """
    wanted: dict[str, Tensor] = model.state_dict()
    head_names = {name for name in wanted if _in_head(name, head)}
    new_head = not all(name in state and _fits(state[name], wanted[name]) for name in head_names)
    new_stem = {name for name in replaced if name in state and state[name].shape != wanted[name].shape}
    left_new = new_stem | (head_names if new_head else set())
    offered = {
        name: tensor
        for name, tensor in state.items()
        if name not in left_new and not (new_head and _in_head(name, head))
    }
    needed = {name: tensor for name, tensor in wanted.items() if name not in left_new}
    if misfit := _compare(offered, needed):
        raise ModelError(f"{source} does not fit {model_name}: {_tell(misfit)}", _remedy(state, model_name))
    model.load_state_dict(offered, strict=False)

    parts = [f"weights: {len(offered)} of {len(wanted)} tensors from {source}"]
    if absent := len(needed) - len(offered):
        parts.append(f"{absent} buffers that it lacks are the model's own")
    parts += [f"new {name} ({_shape(wanted[name])}) for the small stem" for name in sorted(new_stem)]
    if head_names:
        parts.append(_tell_head(head, wanted, state, new=new_head))
    return ("; ".join(parts),)


def fit_positions(
    state: dict[str, Tensor], edge: int, patch_size: int
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Fit a Vision Transformer's position embedding to another image size, bicubically.

    Args:
        state: Tensors by name; not changed.
        edge: Edge in pixels of the images to come.
        patch_size: Edge in pixels of a patch.

    Returns:
        The tensors, and what happened, one line each. A position embedding that is missing or has no
        square grid is left as it is.
    """
    positions = state.get(POSITIONS)
    patches = edge // patch_size
    if positions is None or positions.ndim != 3 or len(positions) != 1:
        return state, ()
    before = round((positions.shape[1] - 1) ** 0.5)
    if before < 1 or before**2 != positions.shape[1] - 1 or before == patches:
        return state, ()
    with torch.no_grad():
        fitted = interpolate_embeddings(edge, patch_size, {**state, POSITIONS: positions.float()})
    change = f"{before}x{before} patches interpolated to {patches}x{patches}"
    return dict(fitted), (f"position embedding: {change} for images of {edge} px",)


def _in_head(name: str, head: str) -> bool:
    return name.startswith(f"{head}.")


def _fits(tensor: Tensor, wanted: Tensor) -> bool:
    # Integers in place of weights are quantised ones: without their scale they mean nothing.
    return tensor.shape == wanted.shape and (tensor.is_floating_point() or not wanted.is_floating_point())


def _compare(offered: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> _Misfit | None:
    missing = [name for name in needed if name not in offered and not name.endswith(_DERIVED)]
    different = [name for name in needed if name in offered and not _fits(offered[name], needed[name])]
    unexpected = [name for name in offered if name not in needed]
    if not missing and not different and not unexpected:
        return None
    return _Misfit(
        tuple(f"{name} {_shape(needed[name])}" for name in missing),
        tuple(f"{name} {_shape(offered[name])}, not {_shape(needed[name])}" for name in different),
        tuple(f"{name} {_shape(offered[name])}" for name in unexpected),
    )


def _tell(misfit: _Misfit) -> str:
    kinds = {
        "missing": misfit.missing,
        "of another shape or type": misfit.different,
        "unknown to the model": misfit.unexpected,
    }
    return "; ".join(
        f"{len(entries)} {'tensor' if len(entries) == 1 else 'tensors'} {kind} "
        f"({', '.join(entries[:SHOWN])}{', ...' if len(entries) > SHOWN else ''})"
        for kind, entries in kinds.items()
        if entries
    )


def _tell_head(head: str, wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], *, new: bool) -> str:
    weight = f"{head}.weight"
    classes = len(wanted[weight])
    if not new:
        return f"its head {head} is kept ({classes} classes)"
    theirs = (
        f"the file's has {len(state[weight])}"
        if weight in state and state[weight].ndim
        else "the file has none"
    )
    return f"new head {head} ({classes} classes, {theirs})"


def _remedy(state: Mapping[str, Tensor], model_name: ModelName) -> str:
    guess = _guess_model(state)
    if guess is not None and guess != model_name:
        return f'the file holds a {guess}: set `model_name = "{guess}"`'
    stem = state.get("conv1.weight")
    if guess == model_name and stem is not None and stem.shape[2:] == (3, 3):
        return 'the file has the stem for small images: set `stem = "small"`'
    owner = "torchvision's " if CATALOGUE[model_name].has_published_weights else ""
    return f"`weights` must hold the parameters of {owner}{model_name}"


def _guess_model(state: Mapping[str, Tensor]) -> ModelName | None:
    """Find the largest model of the catalogue whose parameters are all in the file."""
    found: dict[ModelName, int] = {}
    for name in MODEL_NAMES:
        body = {
            parameter: shape
            for parameter, shape in parameter_shapes(name).items()
            if parameter not in {"conv1.weight", POSITIONS} and not _in_head(parameter, CATALOGUE[name].head)
        }
        if all(key in state and tuple(state[key].shape) == shape for key, shape in body.items()):
            found[name] = sum(prod(shape) for shape in body.values())
    return max(found, key=lambda name: found[name], default=None)


def _shape(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    return shape if tensor.is_floating_point() else f"{shape} {str(tensor.dtype).removeprefix('torch.')}"
