"""Patterns that choose parameters by name, for layer-wise rates and for freezing."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterable
from functools import cache

_SLOW_S = 0.25
"""CPU time that a sensible pattern stays far below: it needs 0.01 s for the largest model's names."""


class PatternError(ValueError):
    """A pattern is no regular expression, or one that takes too long."""


def _quietly(expression: str) -> re.Pattern[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "possible nested set": not for the user's eyes
        return re.compile(expression)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return _quietly(rf"(?:{pattern})(?=\.|\Z)")


def matches(pattern: str, name: str) -> bool:
    """Tell whether a pattern chooses a parameter.

    The pattern is a regular expression that must match the start of the dotted name and end at a dot
    or at its end: `layer1` matches `layer1.0.conv1.weight`, never `layer10.x`.
    """
    return _compiled(pattern).match(name) is not None


def assign(patterns: Iterable[str], names: Iterable[str]) -> dict[str, str | None]:
    """Give each parameter the first pattern that matches it.

    Returns:
        The pattern of each name, in the order of the names; `None` where no pattern matches.
    """
    patterns = tuple(patterns)
    return {name: next((p for p in patterns if matches(p, name)), None) for name in names}


@cache
def _searched(pattern: str) -> re.Pattern[str]:
    return _quietly(pattern)


def finds(pattern: str, name: str) -> bool:
    """Tell whether a pattern is found anywhere in a parameter's name, as `exclude_patterns` asks."""
    return _searched(pattern).search(name) is not None


def check_pattern(pattern: str, names: Iterable[str], chooses: Callable[[str, str], bool] = matches) -> None:
    """Check that a pattern can be used on these names.

    Backtracking can take time exponential in the length of the name, as `([a-z0-9.]+)+x` does. The names
    are therefore tried from their first characters on: the time is measured while it is still short.

    Args:
        pattern: The pattern.
        names: What it will be tried on.
        chooses: How: `matches` or `finds`.

    Raises:
        PatternError: It is no regular expression, or takes too long.
    """
    try:
        _quietly(pattern)
    except re.error as error:
        place = "" if error.pos is None else f" at character {error.pos + 1}"
        raise PatternError(f"is not a regular expression: {error.msg}{place}") from None
    except (RecursionError, OverflowError):
        raise PatternError("is no usable expression: it is nested too deeply, or counts too far") from None
    try:
        chooses(pattern, "")
    except re.error:  # sound by itself, but not as a part: it sets a flag for the whole expression
        raise PatternError("sets a flag for all of it: give it to a group, as in (?i:layer1)") from None
    if not re.search(r"[*+{]", pattern):  # without repetition the time is bounded by the pattern's length
        return
    latest = time.thread_time() + _SLOW_S
    for start in sorted({name[:end] for name in names for end in range(1, len(name) + 1)}, key=len):
        chooses(pattern, start)
        if time.thread_time() > latest:
            raise PatternError("takes too long: it repeats a repetition in more ways than can be tried")
