"""Which steps of a pipeline cannot take an image of a known size, found without running it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations
from typing import NamedTuple

from pochi_cli.config.steps.arguments import Size, Step
from pochi_cli.config.steps.nested import MOST_ORDERS, AnyStep, RandomApply, RandomChoice, RandomOrder
from pochi_cli.config.steps.tensors import ToTensor


class Refusal(NamedTuple):
    """A step that cannot take its input.

    Attributes:
        position: Position in the pipeline of the step, or of the one that holds it.
        name: The step.
        reason: What it needs, to stand behind its name.
    """

    position: int
    name: str
    reason: str


def find_refusals(steps: Iterable[AnyStep], size: Size | None) -> list[Refusal]:
    """Find the steps that fail, surely or now and then, on images of one size.

    Args:
        steps: The pipeline.
        size: Height and width of the images; `None` where they are not known: then only what follows a step
            that makes one size of them is looked at.
    """
    found: dict[int, Refusal] = {}  # of steps in random order each once
    on_tensors = False
    for position, top in enumerate(steps):
        for step, reason in _refused((top,), size, on_tensors=on_tensors):
            found.setdefault(id(step), Refusal(position, step.name, reason))
        on_tensors |= isinstance(top, ToTensor)
        size = _output(top, size)
    return list(found.values())


def _refused(
    steps: Iterable[AnyStep], size: Size | None, *, on_tensors: bool
) -> Iterator[tuple[AnyStep, str]]:
    for step in steps:
        match step:
            case RandomApply():
                if step.p > 0:
                    yield from _refused(step.transforms, size, on_tensors=on_tensors)
            case RandomChoice():
                for choice, p in zip(step.transforms, step.p or (1,) * len(step.transforms), strict=True):
                    if p > 0:
                        yield from _refused((choice,), size, on_tensors=on_tensors)
            case RandomOrder():
                for order in _orders(step.transforms):
                    yield from _refused(order, size, on_tensors=on_tensors)
            case _:
                if size is not None and (reason := step.refusal(size, on_tensors=on_tensors)):
                    yield step, reason
        size = _output(step, size)


def _orders(steps: tuple[AnyStep, ...]) -> Iterable[tuple[AnyStep, ...]]:
    """The orders that matter: one where no step changes the size; none where there are too many to try."""
    if all(type(step).output_size is Step.output_size for step in steps):
        return [steps]
    return permutations(steps) if len(steps) <= MOST_ORDERS else []


def _output(step: AnyStep, size: Size | None) -> Size | None:
    output = step.output_size(size)
    return None if output is None or min(output) < 1 else output
