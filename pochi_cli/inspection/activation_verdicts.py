"""Verdicts on activations: units that are dead, constant, saturated or not finite. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pochi_cli.inspection.activation_record import ActivationSurvey, LayerActivation
from pochi_cli.inspection.findings import Finding, Gravity, network_finding

NON_FINITE = "non-finite"
DEAD_LAYER = "dead-layer"
DEAD_UNITS = "dead-units"
CONSTANT_OUTPUT = "constant-output"
CONSTANT_UNITS = "constant-units"
SATURATED = "saturated"

MANY_SILENT = 0.1
"""Share of a layer's units from which on they are missed."""
MANY_SATURATED = 0.5
"""Share of values at the bounds of an activation."""
ENOUGH_VALUES = 100
"""Of a unit: with fewer one that answers to few inputs looks dead."""

_MOST_RANGES = 60


@dataclass(frozen=True)
class ActivationFinding(Finding):
    """A fault of a layer's activations; see `Finding`.

    Attributes:
        units: The units that it is about, from 0, all of them; empty where it is about values.
    """

    units: tuple[int, ...] = ()


def judge_activations(survey: ActivationSurvey) -> list[ActivationFinding]:
    """Judge the activations of a network.

    Layers whose silent units have the very same numbers are told of together. Dead units are those of the
    activation among them if they are dead there, and else of the layer with which they begin; the others,
    such as the norm before that is constant, or a layer behind, are named with it.

    Args:
        survey: The activations.

    Returns:
        What is wrong, in the order of the network within each kind.
    """
    return [*_non_finite(survey), *_silent(survey), *_saturated(survey)]


def index_ranges(indices: Sequence[int], most: int | None = None) -> str:
    """Write rising numbers as ranges: `0-3, 7, 9-12`.

    Args:
        indices: The numbers.
        most: How many ranges are written; of more it is counted how many numbers are left.
    """
    cuts = [
        0,
        *(at + 1 for at, (one, next_) in enumerate(pairwise(indices)) if next_ > one + 1),
        len(indices),
    ]
    ranges = [(indices[start], indices[end - 1]) for start, end in pairwise(cuts) if end > start]
    shown = ranges if most is None else ranges[:most]
    rest = sum(last - first + 1 for first, last in ranges[len(shown) :])
    text = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in shown)
    return text + (f" and {rest:,} more" if rest else "")


def _non_finite(survey: ActivationSurvey) -> Iterator[ActivationFinding]:
    bad = [layer for layer in survey.layers if layer.non_finite]
    if not bad:
        return
    first = bad[0]
    yield _finding(
        NON_FINITE,
        "error",
        first,
        f"the output of {first.label} is not finite",
        f"{first.non_finite:,} of its {first.values:,} values are NaN or infinite, in no layer before it any",
        "look for weights and inputs that are not finite; with precision fp16 values above 65,504 are lost: "
        "use bf16 or fp32; else train anew with a lower learning_rate, warmup_epochs or clip_grad_norm",
        also=bad[1:],
    )


def _silent(survey: ActivationSurvey) -> Iterator[ActivationFinding]:
    """Tell each set of silent units once, with the layers that have the same."""
    groups: dict[object, list[LayerActivation]] = {}
    for layer in survey.layers:
        units = _silent_units(layer)
        if units:
            # All of a layer silenced silence all of those behind it, of however many units they are.
            is_all = len(units) == layer.units
            groups.setdefault("all" if is_all else (layer.units, units), []).append(layer)
    for group in groups.values():
        told = _blamed(group)
        rest = [layer for layer in group if layer is not told]
        if len(_silent_units(told)) == told.units:
            yield _judge_whole(told, rest)
        else:
            yield from _judge_some(told, rest)


def _silent_units(layer: LayerActivation) -> tuple[int, ...]:
    constant = () if layer.kind == "other" else layer.constant  # it may well give parameters of its own
    return tuple(sorted((*layer.dead, *constant)))


def _blamed(group: Sequence[LayerActivation]) -> LayerActivation:
    """Choose of which of the layers with the same silent units these are told."""
    activation = next((layer for layer in group if layer.kind == "activation"), group[0])
    return activation if activation.dead else group[0]


def _judge_whole(layer: LayerActivation, rest: Sequence[LayerActivation]) -> ActivationFinding:
    assert layer.units is not None  # else nothing is known of them
    units = _silent_units(layer)
    if len(layer.dead) == layer.units:
        return _finding(
            DEAD_LAYER,
            "error",
            layer,
            f"all {_counted(layer.units)} of {layer.label} are dead",
            _how_dead(layer),
            _REVIVING,
            value=1.0,
            threshold=1.0,
            also=rest,
            units=units,
        )
    return _finding(
        CONSTANT_OUTPUT,
        "error",
        layer,
        f"the output of {layer.label} does not depend on the input",
        f"each of its {_counted(layer.units)} has one and the same value in all "
        f"{layer.values_per_unit:,}, {len(layer.dead):,} of them 0",
        "look at what comes before it: dead or saturated layers, weights that are 0, inputs that are all "
        "the same",
        value=1.0,
        threshold=1.0,
        also=rest,
        units=units,
    )


def _judge_some(layer: LayerActivation, rest: Sequence[LayerActivation]) -> Iterator[ActivationFinding]:
    if layer.dead:
        yield _some(layer, DEAD_UNITS, layer.dead, _how_dead(layer), _REVIVING, rest)
    if len(_silent_units(layer)) > len(layer.dead):
        yield _some(
            layer,
            CONSTANT_UNITS,
            layer.constant,
            f"one and the same value other than 0 in all {layer.values_per_unit:,} of each",
            "look at what comes before them: dead or saturated units, or weights that are 0",
            () if layer.dead else rest,
        )
    for other in rest:
        # Constant for another: dead for this one.
        if other.kind == "activation" and other.dead and other.dead != layer.dead:
            yield _some(other, DEAD_UNITS, other.dead, _how_dead(other), _REVIVING, ())


_REVIVING = (
    "train anew with a lower learning_rate or with warmup_epochs: behind a ReLU a dead unit has no gradient "
    "and does not come back; units cut out on purpose, by pruning, are as they should be"
)


def _how_dead(layer: LayerActivation) -> str:
    of_each = f"in all {layer.values_per_unit:,} values of each"
    if layer.dead_limit:
        return f"no magnitude above {layer.dead_limit:.3g}, 1e-4 of the layer's largest, {of_each}"
    return f"exactly 0 {of_each}"


def _some(
    layer: LayerActivation,
    code: str,
    units: Sequence[int],
    how: str,
    suggestion: str,
    rest: Sequence[LayerActivation],
) -> ActivationFinding:
    assert layer.units is not None  # else nothing is known of them
    share = len(units) / layer.units
    is_sure, is_many = layer.values_per_unit >= ENOUGH_VALUES, share >= MANY_SILENT
    if not is_sure:
        suggestion = "these are few values: look at more inputs before you judge"
    elif not is_many:
        suggestion = "a few are usual and cost little; if they become more: " + suggestion
    what = f"{'is' if len(units) == 1 else 'are'} {'dead' if code == DEAD_UNITS else 'constant'}"
    return _finding(
        code,
        "warning" if is_many and is_sure else "note",
        layer,
        f"{len(units):,} of {_counted(layer.units)} of {layer.label} {what} ({100 * share:.3g} %)",
        f"{how}: {index_ranges(units, _MOST_RANGES)} (counted from 0)",
        suggestion,
        value=share,
        threshold=MANY_SILENT,
        also=rest,
        units=units,
    )


def _saturated(survey: ActivationSurvey) -> Iterator[ActivationFinding]:
    # The network's own output is left out: a classifier that is sure of itself ends at the bounds.
    for layer in survey.layers[:-1]:
        at = layer.saturation
        if at is None or at.share < MANY_SATURATED:
            continue
        sides = [] if at.is_rectifier else [f"{100 * at.at_low:.1f} % at {at.low:g}"]
        sides.append(f"{100 * at.at_high:.1f} % at {at.high:g}")
        yield _finding(
            SATURATED,
            "warning",
            layer,
            f"{100 * at.share:.1f} % of the values of {layer.label} are at a bound of {layer.type}",
            f"{' and '.join(sides)}, within 1 % of the range; there hardly any gradient passes",
            "normalise what comes before it, start with smaller weights, lower learning_rate, or use an "
            "activation without bounds",
            value=at.share,
            threshold=MANY_SATURATED,
        )


def _counted(units: int) -> str:
    return "1 unit" if units == 1 else f"{units:,} units"


def _finding(
    code: str,
    severity: Gravity,
    layer: LayerActivation,
    message: str,
    evidence: str,
    suggestion: str,
    *,
    value: float | None = None,
    threshold: float | None = None,
    also: Sequence[LayerActivation] = (),
    units: Sequence[int] = (),
) -> ActivationFinding:
    found = network_finding(
        code,
        severity,
        layer.label,
        message,
        evidence,
        suggestion,
        value=value,
        threshold=threshold,
        also=[one.label for one in also],
    )
    return ActivationFinding(**vars(found), units=tuple(units))
