"""What is searched, as Optuna draws it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from pochi_cli.config.search import Choices, FloatRange, IntRange
from pochi_cli.config.search_space import Parameter


def distribution(parameter: Parameter) -> BaseDistribution:
    """Make Optuna's distribution of a parameter."""
    match parameter.space:
        case FloatRange(low=low, high=high, log=log, step=step):
            return FloatDistribution(low, high, log=log, step=step)
        case IntRange(low=low, high=high, log=log, step=step):
            last = low + (high - low) // step * step  # Optuna asks for a bound that is reached
            return IntDistribution(low, last, log=log, step=step)
        case Choices(choices=choices):
            return CategoricalDistribution([label(choice) for choice in choices])


def label(choice: Any) -> Any:
    """Write a choice as Optuna keeps it: arrays and tables as text."""
    return json.dumps(choice, ensure_ascii=False) if isinstance(choice, list | tuple | dict) else choice


def value_of(parameter: Parameter, drawn: Any) -> Any:
    """Find the choice that a label stands for; other values are their own."""
    if isinstance(parameter.space, Choices):
        return next(choice for choice in parameter.space.choices if label(choice) == drawn)
    return drawn


def draw(trial: Trial, searched: Sequence[Parameter]) -> dict[str, Any]:
    """Draw the parameters of a trial.

    Returns:
        Their values, by the names of the search space; arguments that the drawn optimizer or scheduler does
        not have are not drawn.
    """
    drawn: dict[str, Any] = {}
    choices: dict[str, Any] = {}
    for parameter in searched:  # those that decide come first
        if parameter.is_active(choices):
            drawn[parameter.name] = value_of(parameter, _suggest(trial, parameter))
            if parameter.decides:
                choices[str(parameter.path[0])] = drawn[parameter.name]
    return drawn


def _suggest(trial: Trial, parameter: Parameter) -> Any:
    match distribution(parameter):
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_float(parameter.name, low, high, log=log, step=step)
        case IntDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_int(parameter.name, low, high, log=log, step=step)
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(parameter.name, choices)
        case other:
            raise AssertionError(other)
