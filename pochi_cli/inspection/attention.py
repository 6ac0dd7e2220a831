"""The attention of a network, head by head, as it computes it."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models.swin_transformer import ShiftedWindowAttention

from pochi_cli.engine.preserving import untouched
from pochi_cli.errors import ModelError
from pochi_cli.inspection.attention_record import PatchGrid
from pochi_cli.inspection.running import Running, running_modules, running_openly

_SOFTMAXES = frozenset({F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax})


_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)
_WHAT_IS_SEEN = (
    "seen are nn.MultiheadAttention, F.scaled_dot_product_attention, and a softmax over the last of four or "
    "more dimensions, (batch, heads, queries, keys)"
)


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
        crossing: Modules whose keys are not their queries' tokens, as far as `nn.MultiheadAttention` tells.
        output: What the network returned.
    """

    weights: Mapping[str, Tensor]
    windows: Mapping[str, PatchGrid]
    crossing: frozenset[str]
    output: object


def capture_attention(model: nn.Module, *inputs: object, **keywords: object) -> AttentionMaps:
    """Run a network once in eval mode and take the attention weights of every layer and head.

    Seen are `nn.MultiheadAttention`, also inside torch's and torchvision's Transformers, which never ask for
    the weights themselves; `F.scaled_dot_product_attention`, whose weights are computed from its arguments;
    and a softmax over the last of four or more dimensions, by which networks such as Swin attend explicitly.
    What a layer returns to its caller stays what the caller asked for.

    Afterwards the model is bit-identical: parameters, buffers, training flags and hooks; and so is the state
    of every global source of randomness.

    Args:
        model: Any network.
        *inputs: What it is called with.
        **keywords: Likewise.

    Raises:
        NoAttentionError: Nothing attended.
    """
    found = _Found()
    with untouched(model), torch.no_grad(), running_openly(), running_modules(model) as running:
        model.eval()
        with _Watching(found, running):
            output = model(*inputs, **keywords)
    if not found.weights:
        raise NoAttentionError(f"no attention was seen in {type(model).__name__}", _WHAT_IS_SEEN)
    return AttentionMaps(found.weights, found.windows, frozenset(found.crossing), output)


class _Found:
    """What has been captured so far."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.windows: dict[str, PatchGrid] = {}
        self.crossing: set[str] = set()
        self._calls: Counter[str] = Counter()

    def add(self, name: str, weights: Tensor, grid: PatchGrid | None, *, is_crossing: bool) -> None:
        """Keep the weights of a call."""
        self._calls[name] += 1
        key = name if self._calls[name] == 1 else f"{name}#{self._calls[name]}"
        # A copy: the network may change its own in place.
        self.weights[key] = weights.detach().to("cpu", torch.float32, copy=True)
        if grid is not None:
            self.windows[key] = grid
        if is_crossing:
            self.crossing.add(key)


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
        if func is F.multi_head_attention_forward:
            return self._multi_head(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self._add(_product_weights(*args, **kwargs))
        result = func(*args, **kwargs)
        if func in _SOFTMAXES and isinstance(result, Tensor) and result.ndim >= 4:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if dim in (-1, result.ndim - 1):
                self._add(result.reshape(-1, *result.shape[-3:]))
        return result

    def _multi_head(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """Have the weights of each head computed, and return what the caller asked for."""
        call = _MULTI_HEAD.bind(*args, **kwargs)
        call.apply_defaults()
        wanted = {name: call.arguments[name] for name in ("need_weights", "average_attn_weights")}
        call.arguments |= {"need_weights": True, "average_attn_weights": False}
        attended, weights = F.multi_head_attention_forward(*call.args, **call.kwargs)
        assert weights is not None
        is_crossing = call.arguments["query"] is not call.arguments["key"]
        self._add(weights if weights.ndim == 4 else weights.unsqueeze(0), is_crossing=is_crossing)
        if not wanted["need_weights"]:
            return attended, None
        return attended, weights.mean(-3) if wanted["average_attn_weights"] else weights

    def _add(self, weights: Tensor, *, is_crossing: bool = False) -> None:
        name, module, inputs = self._running[-1]
        grid = None
        if isinstance(module, ShiftedWindowAttention):
            grid = _window_grid(module, inputs[0])
        self._found.add(name or type(module).__name__, weights, grid, is_crossing=is_crossing)


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
