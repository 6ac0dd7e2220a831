"""When a training of Pochi's does what: `python -m tests.benchmarks.peers.pochi_timeline CONFIG`.

The answer's times are of the clock that all processes share, so that whoever started this one can tell how
long after its start each was.
"""

from __future__ import annotations

import sys
import time

from pochi_cli import api
from pochi_cli.engine.progress import SilentProgress, StepRecord
from pochi_cli.installation import load_torch
from tests.benchmarks.peers.job import answer


class Timeline(SilentProgress):
    """Notes when the loop began, its first step was done, and the last step or validation batch."""

    def __init__(self) -> None:
        self.loop = self.first_step = self.last_batch = 0.0

    def epoch(self, epoch: int, batches_done: int) -> None:  # noqa: ARG002
        self.loop = self.loop or time.monotonic()

    def step(self, record: StepRecord) -> None:  # noqa: ARG002
        self.last_batch = time.monotonic()
        self.first_step = self.first_step or self.last_batch

    def validation(self, batches_done: int) -> None:  # noqa: ARG002
        self.last_batch = time.monotonic()


def main() -> None:
    """Train, and answer with the times."""
    timeline = Timeline()
    load_torch()  # as the command does, which also ends the sooner for it
    api.train(api.load_config(sys.argv[1]), progress=timeline)
    answer(loop=timeline.loop, first_step=timeline.first_step, last_batch=timeline.last_batch)


if __name__ == "__main__":
    main()
