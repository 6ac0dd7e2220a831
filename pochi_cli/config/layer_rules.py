"""The rules on layer-wise rates and frozen layers, whose patterns are held against the model's parameters."""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterator, Sequence
from functools import cache
from typing import Literal

from pochi_cli.config.patterns import PatternError, assign, check_pattern, matches
from pochi_cli.config.root import TrainingConfig
from pochi_cli.config.rules import Rules
from pochi_cli.errors import Diagnostic, KeyPath, Note

LAYER_RULES = Rules(TrainingConfig)  # type: ignore[type-abstract]  # nothing is made of it

_HEADS = frozenset({"head", "heads", "fc", "classifier", "last"})
"""What the last layer is called in one model or another."""


@LAYER_RULES.rule("enable_layer_wise_lr", "layer_wise_lr_config.layer_rates")
def _layer_rates_given(config: TrainingConfig) -> Iterator[Diagnostic]:
    if config.enable_layer_wise_lr and not config.layer_wise_lr_config.layer_rates:
        yield Diagnostic(
            "missing-layer-rates",
            "enable_layer_wise_lr is true, but no layer_rates are given",
            ("enable_layer_wise_lr",),
            help="add [layer_wise_lr_config.layer_rates] with lines such as `layer1 = 0.0002`",
        )


@LAYER_RULES.rule("model_name", "hidden_dims", "layer_wise_lr_config.layer_rates", "freeze")
def _patterns(config: TrainingConfig) -> Iterator[Diagnostic]:
    if not config.freeze and not config.layer_wise_lr_config.layer_rates:
        return
    names = config.parameter_names
    rates = config.layer_wise_lr_config.layer_rates
    bad = yield from _unmatched(config, config.freeze, ("freeze",), names)
    bad |= yield from _unmatched(config, tuple(rates), ("layer_wise_lr_config", "layer_rates"), names)
    frozen = [pattern for pattern in config.freeze if pattern not in bad]
    rates = {pattern: rate for pattern, rate in rates.items() if pattern not in bad}
    trained = [name for name in names if not any(matches(pattern, name) for pattern in frozen)]
    if not trained:
        yield Diagnostic(
            "conflict",
            f"freeze covers every parameter of {config.network}: nothing is left to train",
            ("freeze",),
            help=f"leave the head `{config.head}` out of it",
        )
        return
    taken = set(assign(rates, trained).values())
    for pattern in rates:
        if pattern not in taken:
            earlier = any(matches(pattern, name) for name in trained)
            yield Diagnostic(
                "unmatched-layer-pattern",
                f"the pattern `{pattern}` "
                + (
                    "matches only parameters that an earlier pattern takes"
                    if earlier
                    else "matches only frozen parameters"
                ),
                ("layer_wise_lr_config", "layer_rates", pattern),
                at="key",
                help="put the more specific pattern first" if earlier else "leave it out, or unfreeze them",
                notes=() if earlier else (Note("freeze is set here", ("freeze",)),),
            )


def _unmatched(
    config: TrainingConfig, patterns: tuple[str, ...], key: KeyPath, names: Sequence[str]
) -> Generator[Diagnostic, None, set[str]]:
    """Report the patterns that are no regular expression or match no parameter.

    Returns:
        These patterns.
    """
    bad: set[str] = set()
    for position, pattern in enumerate(patterns):
        where = (*key, position if key == ("freeze",) else pattern)
        try:
            check_pattern(pattern, names)
        except PatternError as error:
            bad.add(pattern)
            yield Diagnostic(
                "wrong-type",
                f"the pattern `{pattern}` of {key[-1]} {error}",
                where,
                at=_at(key),
                help="a layer's name such as `layer1` is a pattern, too",
            )
            continue
        if not any(matches(pattern, name) for name in names):
            bad.add(pattern)
            closest = closest_layers(pattern, config.parameter_names, config.head)
            yield Diagnostic(
                "unmatched-layer-pattern",
                f"the pattern `{pattern}` of {key[-1]} matches no parameter of {config.network}",
                where,
                at=_at(key),
                notes=(Note(f"{config.model_key} is set here", (config.model_key,)),),
                help="the closest layers are " + ", ".join(f"`{layer}`" for layer in closest),
            )
    return bad


def _at(key: KeyPath) -> Literal["key", "value"]:
    """A pattern is a value in `freeze`, and a key in `layer_rates`."""
    return "value" if key == ("freeze",) else "key"


@cache
def closest_layers(pattern: str, names: tuple[str, ...], head: str, count: int = 3) -> list[str]:
    """Find the layers (prefixes of parameter names) that look most like a pattern."""
    layers: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts)):
            layers.setdefault(".".join(parts[:end]))
    plain = pattern.replace("\\", "").lower()[:100]
    if plain.partition(".")[0] in _HEADS:
        return [head]
    top = [layer for layer in layers if "." not in layer]
    begun = [layer for layer in top if layer.lower().startswith(plain)] if plain else []
    # What is right up to a dot is probably meant: its own layers come before those of others.
    first = next((layer for layer in top if plain.startswith(f"{layer.lower()}.")), None)
    inside = [layer for layer in layers if first and layer.startswith(f"{first}.")]
    close = begun or difflib.get_close_matches(plain, inside or layers, n=count, cutoff=0.5)
    return close or inside[:count] or top[:8]
