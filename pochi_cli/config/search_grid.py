"""The points of a finite search space."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterator
from itertools import product
from typing import Any

from pochi_cli.config.search import Choices, FloatRange, IntRange
from pochi_cli.config.search_space import Parameter

MOST_VALUES = 1_000_000_000
"""Of a range with steps."""
_MOST_SHUFFLED = 1_000_000
"""Points of a grid up to which it is visited in an order that does not depend on how many are visited."""


def is_countable(space: FloatRange | IntRange | Choices) -> bool:
    """Tell whether a range has a sensible number of steps, if it has steps at all."""
    if isinstance(space, Choices) or space.step is None or space.low >= space.high:
        return True
    return (space.high - space.low) / space.step <= MOST_VALUES


def values_of(space: FloatRange | IntRange | Choices) -> int:
    """Count the values of a finite space."""
    match space:
        case Choices(choices=choices):
            return len(choices)
        case IntRange(low=low, high=high, step=step):
            return (high - low) // step + 1
        case FloatRange(low=low, high=high, step=step):
            assert step is not None
            return math.floor((high - low) / step + 1e-8) + 1  # as Optuna: 0.3 is three steps of 0.1


def value_at(space: FloatRange | IntRange | Choices, place: int) -> Any:
    """Find a value of a finite space, a range's from its lowest on."""
    match space:
        case Choices(choices=choices):
            return choices[place]
        case IntRange(low=low, step=step):
            return low + place * step
        case FloatRange(low=low, high=high, step=step):
            assert step is not None
            return min(low + place * step, high)  # three steps of 0.1 are a little more than 0.3


class Grid:
    """The points of a finite search space: each combination of values that makes a different trial.

    Args:
        searched: What is searched.
        seed: Of the order in which they are visited.

    Attributes:
        size: How many there are.
    """

    def __init__(self, searched: tuple[Parameter, ...], seed: int) -> None:
        deciding = [parameter for parameter in searched if parameter.decides]
        self._parts: list[tuple[dict[str, Any], tuple[Parameter, ...], int]] = []
        counts = (range(values_of(parameter.space)) for parameter in deciding)
        for places in product(*counts):
            chosen = {
                parameter: value_at(parameter.space, place)
                for parameter, place in zip(deciding, places, strict=True)
            }
            choices = {str(key.path[0]): value for key, value in chosen.items()}
            free = tuple(other for other in searched if other.is_active(choices) and not other.decides)
            count = math.prod(values_of(parameter.space) for parameter in free)
            self._parts.append(({key.name: value for key, value in chosen.items()}, free, count))
        self.size = sum(count for _, _, count in self._parts)
        self._seed = seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Find a point: values by the names of the search space."""
        for fixed, free, count in self._parts:
            if index < count:
                point = dict(fixed)
                for parameter in free:
                    index, place = divmod(index, values_of(parameter.space))
                    point[parameter.name] = value_at(parameter.space, place)
                return point
            index -= count
        raise IndexError(index)

    def order(self, visited: Collection[int], count: int) -> Iterator[int]:
        """Choose points that were not visited yet.

        Args:
            visited: The others.
            count: How many points there are to be in all, those included.
        """
        wanted = self.size if self.size <= _MOST_SHUFFLED else min(self.size, count + len(visited))
        for index in random.Random(self._seed).sample(range(self.size), wanted):  # noqa: S311 - no secret
            if index not in visited:
                yield index
