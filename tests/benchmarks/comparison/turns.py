"""Commands that take turns, and what is printed of them: medians, spreads, ratios within a round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")


class FailedError(Exception):
    """A command failed, with the last line that it wrote."""


@dataclass(frozen=True)
class Finished:
    """What a command took.

    Attributes:
        started, ended: Seconds of the clock that all processes share.
        memory_mib: Largest resident size of the largest of its processes.
        answer: The JSON object on the last line of its output; empty without.
    """

    started: float
    ended: float
    memory_mib: float
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From the start of the process to its end."""
        return self.ended - self.started


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> Finished:
    """Run this Python with some arguments in an empty directory of its own.

    Raises:
        FailedError: It did not end with 0.
    """
    with tempfile.TemporaryDirectory() as home, (Path(home) / "output.txt").open("w+") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=home,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)  # unlike the sum over all children, it is this one's
        ended = time.monotonic()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = [line for line in output.read().splitlines() if line.strip()] or [""]
    if process.returncode != 0:
        raise FailedError(f"ended with {process.returncode}: {lines[-1].strip()}")
    answer = json.loads(lines[-1]) if lines[-1].startswith("{") else {}
    return Finished(started, ended, usage.ru_maxrss / 1024, answer)


def take_turns(
    entries: Mapping[str, Callable[[], T]], rounds: int
) -> tuple[dict[str, list[T]], dict[str, str]]:
    """Measure every entry once in every round, forwards and backwards in turn.

    Returns:
        What each gave, a value for each round; and why those failed that did, which are not among the first.
    """
    measured: dict[str, list[T]] = {name: [] for name in entries}
    failed: dict[str, str] = {}
    for number in range(rounds):
        names = [name for name in entries if name not in failed]
        for name in reversed(names) if number % 2 else names:
            note(f"round {number + 1}: {name}")
            try:
                measured[name].append(entries[name]())
            except FailedError as error:
                failed[name] = str(error)
    return {name: values for name, values in measured.items() if name not in failed}, failed


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, with the smallest and the largest value."""
    low, middle, high = min(values), median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Divide round by round: what disturbs a round disturbs both."""
    return [value / other for value, other in zip(values, others, strict=True)]


def write_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; all columns but the first are aligned at the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    sys.stdout.write(f"\n{title}\n")
    for row in (header, *rows):
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell on the error channel how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
