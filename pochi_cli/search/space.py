"""What is searched, as Optuna draws it."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from pochi_cli.config.search import Choices, FloatRange, IntRange
from pochi_cli.config.search_rules import grid_size, grid_values
from pochi_cli.config.search_space import Parameter, active_parameters

_MOST_SHUFFLED = 1_000_000
"""Points of a grid up to which it is visited in an order that does not depend on how many are visited."""


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
        if parameter in active_parameters(tuple(searched), choices):
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


class Grid:
    """The points of a finite search space: each combination of values that makes a different trial.

    Args:
        searched: What is searched.
        seed: Of the order in which they are visited.
    """

    def __init__(self, searched: tuple[Parameter, ...], seed: int) -> None:
        deciding = [parameter for parameter in searched if parameter.decides]
        self._parts: list[tuple[Parameter, ...]] = []
        self._fixed: list[dict[str, Any]] = []
        for combination in product(*(grid_values(parameter.space) for parameter in deciding)):
            choices = {
                str(parameter.path[0]): choice
                for parameter, choice in zip(deciding, combination, strict=True)
            }
            active = active_parameters(searched, choices)
            self._parts.append(tuple(parameter for parameter in active if not parameter.decides))
            self._fixed.append(
                {parameter.name: choice for parameter, choice in zip(deciding, combination, strict=True)}
            )
        self._sizes = [prod(grid_size(parameter.space) for parameter in part) for part in self._parts]
        self._seed = seed

    def __len__(self) -> int:
        """Count the points."""
        return sum(self._sizes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Find a point: labels by the names of the search space."""
        for part, fixed, size in zip(self._parts, self._fixed, self._sizes, strict=True):
            if index < size:
                point = dict(fixed)
                for parameter in part:
                    index, place = divmod(index, grid_size(parameter.space))
                    point[parameter.name] = label(grid_values(parameter.space)[place])
                return point
            index -= size
        raise IndexError(index)

    def order(self, visited: Collection[int], count: int) -> Iterator[int]:
        """Choose points that were not visited yet.

        Args:
            visited: The others.
            count: How many points there are to be in all, those included.
        """
        total = len(self)
        wanted = total if total <= _MOST_SHUFFLED else min(total, count)
        for index in random.Random(self._seed).sample(range(total), wanted):  # noqa: S311 - no secret
            if index not in visited:
                yield index
