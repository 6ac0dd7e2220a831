"""The attention of a network, head by head, as it computes it."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torchvision.models.swin_transformer import ShiftedWindowAttention

from pochi_cli.errors import ModelError
from pochi_cli.inspection.attention_record import PatchGrid
from pochi_cli.inspection.preserving import preserved
from pochi_cli.inspection.running import Running, plain_name, running_modules, running_openly

_SOFTMAXES = frozenset({F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax})


class NoAttentionError(ModelError):
    """A network that has no attention to look at."""


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The attention of each layer in one forward pass.

    Attributes:
        weights: By the dotted name of the module, in the order of the calls; float32 on the CPU, (batch,
            heads, queries, keys), or (batch x windows, heads, tokens, tokens) where a layer attends within
            windows. A row sums to 1; it is NaN where every key is masked. The second call of a module has
            `#2` behind its name, and so on.
        windows: Where the windows lie, of those modules that have them.
        output: What the network returned.
    """

    weights: Mapping[str, Tensor]
    windows: Mapping[str, PatchGrid]
    output: object


def capture_attention(model: nn.Module, *inputs: object, **keywords: object) -> AttentionMaps:
    """Run a network once in eval mode and take the attention weights of every layer and head.

    Seen are `nn.MultiheadAttention`, also inside torch's and torchvision's Transformers, which never ask for
    the weights themselves; `F.scaled_dot_product_attention`, whose weights are computed from its arguments;
    and a softmax over the last of four dimensions, by which networks such as Swin attend explicitly. What a
    layer returns to its caller stays what the caller asked for.

    Afterwards the model is bit-identical: parameters, buffers, training flags and hooks.

    Args:
        model: Any network.
        *inputs: What it is called with.
        **keywords: Likewise.

    Raises:
        NoAttentionError: Nothing attended.
    """
    found = _Found()
    with preserved(model), torch.no_grad(), running_openly(), running_modules(model) as running:
        model.eval()
        with _asking_for_weights(model, found), _Watching(found, running):
            output = model(*inputs, **keywords)
    if not found.weights:
        raise NoAttentionError(f"{type(model).__name__} has no attention: none of its layers attends")
    return AttentionMaps(found.weights, found.windows, output)


class _Found:
    """What has been captured so far."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.windows: dict[str, PatchGrid] = {}
        self._calls: Counter[str] = Counter()

    def add(self, name: str, weights: Tensor, grid: PatchGrid | None = None) -> None:
        """Keep the weights of a call."""
        self._calls[name] += 1
        key = name if self._calls[name] == 1 else f"{name}#{self._calls[name]}"
        self.weights[key] = weights.detach().float().cpu()
        if grid is not None:
            self.windows[key] = grid


class _Watching(TorchFunctionMode):
    """Sees functions that attend; what such a function calls in turn is not seen.

    Args:
        found: Where the weights go.
        running: The modules that run, the innermost last.
    """

    def __init__(self, found: _Found, running: list[Running]) -> None:
        super().__init__()
        self._found = found
        self._running = running

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function, and look at what it attends to."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self._add(_product_weights(*args, **kwargs))
        result = func(*args, **kwargs)
        if func in _SOFTMAXES and isinstance(result, Tensor) and result.ndim == 4:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if dim in (-1, 3):
                self._add(result)
        return result

    def _add(self, weights: Tensor) -> None:
        name, module, inputs = self._running[-1]
        grid = None
        if isinstance(module, ShiftedWindowAttention):
            grid = _window_grid(module, inputs[0])
        self._found.add(name or type(module).__name__, weights, grid)


def _window_grid(module: ShiftedWindowAttention, features: Tensor) -> PatchGrid:
    """Find out how a layer of Swin cuts its input, (batch, height, width, channels), into windows."""
    rows, columns = features.shape[1:3]
    height, width = module.window_size
    # A window that holds all there is does not move.
    down = module.shift_size[0] if rows > height else 0
    across = module.shift_size[1] if columns > width else 0
    return PatchGrid(rows, columns, window=(height, width), shift=(down, across))


def _product_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,  # noqa: ARG001 - the arguments of torch's function
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Compute what `F.scaled_dot_product_attention` weighs values by, (batch, heads, queries, keys)."""
    query, key = query.float(), key.float()
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    logits = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        is_later = torch.ones_like(logits[..., :, :], dtype=torch.bool).triu(1)
        logits = logits.masked_fill(is_later, -torch.inf)
    if attn_mask is not None:
        is_mask = attn_mask.dtype == torch.bool
        logits = logits.masked_fill(~attn_mask, -torch.inf) if is_mask else logits + attn_mask
    weights = logits.softmax(-1)
    if weights.ndim == 3:
        weights = weights.unsqueeze(1)
    return weights.reshape(-1, *weights.shape[-3:])


@contextmanager
def _asking_for_weights(model: nn.Module, found: _Found) -> Iterator[None]:
    """Make each `nn.MultiheadAttention` compute the weights of its heads, unnoticed by its caller."""
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, nn.MultiheadAttention) and _can_be_asked(module):
                for handle in _ask(plain_name(name) or type(module).__name__, module, found):
                    hooks.callback(handle.remove)
        yield


def _can_be_asked(module: nn.MultiheadAttention) -> bool:
    """Tell whether it takes torch's own arguments, which a class derived from it need not."""
    return {"need_weights", "average_attn_weights"} <= inspect.signature(module.forward).parameters.keys()


def _ask(name: str, module: nn.MultiheadAttention, found: _Found) -> tuple[RemovableHandle, RemovableHandle]:
    signature = inspect.signature(module.forward)
    wanted: list[tuple[bool, bool]] = []

    def before(
        _: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        call = signature.bind(*inputs, **keywords)
        call.apply_defaults()
        wanted.append((call.arguments["need_weights"], call.arguments["average_attn_weights"]))
        call.arguments |= {"need_weights": True, "average_attn_weights": False}
        return call.args, call.kwargs

    def after(_: nn.Module, __: object, outputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        attended, weights = outputs
        has_batch = weights.ndim == 4
        found.add(name, weights if has_batch else weights.unsqueeze(0))
        needs_weights, is_averaged = wanted.pop()
        if not needs_weights:
            return attended, None
        return attended, weights.mean(-3) if is_averaged else weights

    # After the hooks that are there, which may change what goes in, and before those that see what comes out.
    return (
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, prepend=True),
    )
