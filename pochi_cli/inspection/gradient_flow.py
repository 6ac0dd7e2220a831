"""The gradients of one backward pass, layer by layer, and their verdicts. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pochi_cli.inspection.findings import Finding, network_finding

NON_FINITE = "non-finite"
DEAD_BLOCK = "dead-block"
DEAD_LAYER = "dead-layer"
DEAD_OUTPUT = "dead-output"
NO_GRADIENT = "no-gradient"

_EXTREMES = 5
_MOST_NAMES = 3


@dataclass(frozen=True)
class LayerGradient:
    """The gradient of one parameter.

    Its statistics are those of all its entries: NaN, all of them, where one entry is not finite.

    Attributes:
        name: The parameter.
        block: The block it belongs to.
        entries: How many numbers it has, at least one.
        non_finite: How many of them are not finite.
        mean, std: Over the entries; the standard deviation is that of the population.
        min, max: The least and the largest entry, with their signs.
        norm: L2 norm.
        rms: Root mean square of the entries.
        ratio: The norm over that of the parameter itself; `None` where that is 0 or not finite.
    """

    name: str
    block: str
    entries: int
    non_finite: int
    mean: float
    std: float
    min: float
    max: float
    norm: float
    rms: float
    ratio: float | None

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class GradientFlow:
    """The gradients of a network for a few batches.

    Attributes:
        layers: Those that are trained and had a gradient, in registration order.
        frozen: The parameters that are not trained.
        unused: Those that are, but that the loss does not depend on, each with its block.
        silent: Layers whose output was 0 throughout, in the order of the forward pass.
        batches: How many batches the gradients are the mean of.
        loss: Mean loss of these batches.
    """

    layers: tuple[LayerGradient, ...]
    frozen: tuple[str, ...]
    unused: tuple[tuple[str, str], ...]
    silent: tuple[str, ...]
    batches: int
    loss: float

    def smallest(self, count: int = _EXTREMES) -> tuple[LayerGradient, ...]:
        """List the layers with the smallest finite norms, rising."""
        return tuple(self._by_norm()[:count])

    def largest(self, count: int = _EXTREMES) -> tuple[LayerGradient, ...]:
        """List the layers with the largest finite norms, falling."""
        return tuple(self._by_norm()[::-1][:count])

    def _by_norm(self) -> list[LayerGradient]:
        finite = [layer for layer in self.layers if math.isfinite(layer.norm)]
        return sorted(finite, key=lambda layer: layer.norm)


Blocks = dict[str, list[LayerGradient]]


def judge_flow(flow: GradientFlow, known: Iterable[Finding] = ()) -> list[Finding]:
    """Judge the gradients of one backward pass.

    One pass tells what is not finite and what is exactly zero; what vanishes, explodes or is unstable shows
    over the steps of a training: see `verdicts.judge_gradients`.

    Args:
        flow: The gradients.
        known: What was found before: what it says about a block is not said again.

    Returns:
        The faults. Blocks with the same fault are told together, but for those of which a part is dead.
    """
    said = {(_kind(one.code), block) for one in known for block in (one.where, *one.also)}
    if not math.isfinite(flow.loss):  # and with it every gradient
        return [] if (NON_FINITE, "loss") in said else [_lost(flow)]
    blocks = _by_block(flow.layers)
    bad = {at: layers for at, layers in blocks.items() if (NON_FINITE, at) not in said}
    still = {at: layers for at, layers in blocks.items() if (DEAD_BLOCK, at) not in said}
    return [
        *_non_finite(flow, bad),
        *_dead_blocks(flow, still),
        *_dead_layers(flow, still),
        *_dead_output(flow),
        *_unused(flow),
    ]


def _kind(code: str) -> str:
    return DEAD_BLOCK if code == DEAD_LAYER else code


def _lost(flow: GradientFlow) -> Finding:
    bad = sum(layer.non_finite > 0 for layer in flow.layers)
    return network_finding(
        NON_FINITE,
        "error",
        "loss",
        f"the loss of a fresh pass is {flow.loss}, so no gradient means anything",
        f"mean loss over {_batches(flow)}: {flow.loss}; {bad} of {len(flow.layers)} layers have gradients "
        "that are not finite",
        "look for weights and inputs that are not finite; train anew with a lower learning_rate, "
        "warmup_epochs or clip_grad_norm",
    )


def _non_finite(flow: GradientFlow, blocks: Blocks) -> Iterator[Finding]:
    bad = {at: [layer for layer in layers if layer.non_finite] for at, layers in blocks.items()}
    where, also = _last([at for at, layers in bad.items() if layers])
    if where is None:
        return
    layers = bad[where]  # the last: the backward pass meets it first
    count, entries = sum(layer.non_finite for layer in layers), sum(layer.entries for layer in layers)
    yield network_finding(
        NON_FINITE,
        "error",
        where,
        f"gradients of {where} are not finite in a fresh pass",
        f"{count:,} of {entries:,} entries, in {_listed([layer.name for layer in layers])}, over "
        f"{_batches(flow)} whose loss is {flow.loss:.4g}",
        'lower learning_rate, add warmup_epochs or clip_grad_norm, or use precision = "fp32"',
        also=also,
    )


def _dead_blocks(flow: GradientFlow, blocks: Blocks) -> Iterator[Finding]:
    where, also = _last([at for at, layers in blocks.items() if all(map(_is_zero, layers))])
    if where is not None:  # the last: it may be what lets no gradient through to the others
        yield network_finding(
            DEAD_BLOCK,
            "error",
            where,
            f"all gradients of {where} are exactly 0 in a fresh pass",
            f"the norm is 0 over {_batches(flow)} for {_listed([one.name for one in blocks[where]])}",
            "look whether its units are dead (always 0), or what comes after it lets no gradient through; "
            "train anew with a lower learning_rate or with warmup_epochs",
            value=0.0,
            also=also,
        )


def _dead_layers(flow: GradientFlow, blocks: Blocks) -> Iterator[Finding]:
    for block, layers in blocks.items():
        zero = [layer.name for layer in layers if _is_zero(layer)]
        if 0 < len(zero) < len(layers):
            yield network_finding(
                DEAD_LAYER,
                "warning",
                block,
                f"{len(zero)} of {len(layers)} gradients of {block} are exactly 0 in a fresh pass",
                f"the norm is 0 over {_batches(flow)} for {_listed(zero)}",
                "look whether its units are dead (always 0) or cut off from the loss; train anew with a "
                "lower learning_rate or with warmup_epochs, or freeze what is not to be trained",
                value=0.0,
            )


def _dead_output(flow: GradientFlow) -> Iterator[Finding]:
    """Name the layer with which it began, which the gradients alone cannot tell: they are 0 on both sides."""
    if not flow.silent or not any(map(_is_zero, flow.layers)):
        return
    where, *others = flow.silent
    yield network_finding(
        DEAD_OUTPUT,
        "error",
        where,
        f"the output of {where} is 0 throughout: nothing behind it depends on the input",
        f"first of {len(flow.silent)} such layers in the forward pass of {_batches(flow)}",
        "train anew with a lower learning_rate or with warmup_epochs, or with other weights",
        value=0.0,
        also=others,
    )


def _last(blocks: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    return (blocks[-1], blocks[:-1]) if blocks else (None, ())


def _is_zero(layer: LayerGradient) -> bool:
    return layer.min == layer.max == 0


def _unused(flow: GradientFlow) -> Iterator[Finding]:
    blocks: dict[str, list[str]] = {}
    for name, block in flow.unused:
        blocks.setdefault(block, []).append(name)
    for block, names in blocks.items():
        yield network_finding(
            NO_GRADIENT,
            "warning",
            block,
            f"the loss does not depend on {len(names)} of the parameters of {block}",
            f"the backward pass of {_batches(flow)} gave no gradient to {_listed(names)}",
            "freeze them, or see that the forward pass uses them",
        )


def _by_block(layers: Iterable[LayerGradient]) -> Blocks:
    blocks: Blocks = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer)
    return blocks


def _batches(flow: GradientFlow) -> str:
    return "1 batch" if flow.batches == 1 else f"{flow.batches} batches"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
