"""A training of Pochi's beside its limits: `python -m tests.benchmarks.peers.pochi_in_turns JOB CONFIG`.

The second epoch stops several times, for some steps alone, and without a cache for some batches of the loader
alone. So all are measured within one process and within seconds: between processes, and from one minute to
the next, the same step can take 1.4 times as long.
"""

from __future__ import annotations

import sys
import time
from itertools import chain, count
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

from pochi_cli import api
from pochi_cli.allocator import keep_freed_memory
from pochi_cli.config.load import load_config
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.cores import usable_cores
from pochi_cli.data.loaders import create_loaders
from pochi_cli.data.prepare import prepare_data
from pochi_cli.display import PlainProgress
from pochi_cli.engine.progress import Start, StepRecord
from tests.benchmarks.comparison.contestants import choice_of
from tests.benchmarks.peers.by_hand import build_model, memory_format
from tests.benchmarks.peers.job import Job, answer, read_job

EPOCH = 2
TURNS = 6
"""Of each kind in the epoch."""
UNCOUNTED = 4
"""First steps of a turn, in which what the turn before left behind comes to rest."""
AHEAD = 3
"""Batches of each process that loads, at least, that are not counted at first: two are made ahead."""
REST_S = 1.0
"""In which such processes make again what was taken of that."""


class PureStep:
    """The training step with nothing around it, on one batch in memory.

    Args:
        job: With the precision and layout of the training.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._model = build_model(job).train()
        self._optimizer = torch.optim.SGD(
            self._model.parameters(), lr=job.learning_rate, momentum=job.momentum, fused=True
        )
        images = torch.randn(job.batch_size, 3, job.size, job.size)
        self._images = images.to(memory_format=memory_format(job))
        self._labels = torch.arange(job.batch_size) % job.classes

    def rate(self, steps: int) -> float:
        """Take some steps; returns images per second of those that count."""
        started = 0.0
        for number in range(steps):
            if number == UNCOUNTED:
                started = time.perf_counter()
            self._step()
        return (steps - UNCOUNTED) * self._job.batch_size / (time.perf_counter() - started)

    def _step(self) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._job.precision == "bf16"):
            logits = self._model(self._images)
        F.cross_entropy(logits.float(), self._labels).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


class LoaderAlone:
    """The loader of a training, with nobody who uses its batches.

    Args:
        config: The config file of the run.
        workers: Processes that load.
    """

    def __init__(self, config: Path, workers: int) -> None:
        valid = load_config(config, [f"num_workers={workers}"])
        assert isinstance(valid, ClassificationConfig)
        data = prepare_data(valid, valid.seed)
        self._workers = workers
        loader = create_loaders(valid, data, seed=valid.seed, device_type="cpu").train
        # Nothing else holds the loader: its processes end with this.
        self._batches = chain.from_iterable(map(loader.batches, count(1)))
        next(self._batches)  # they have begun

    def rate(self, batches: int) -> float:
        """Load some batches, of each process as many; returns images per second."""
        for _ in range(AHEAD * self._workers):
            next(self._batches)
        each = -(-batches // max(1, self._workers))
        started = time.perf_counter()
        images = sum(len(next(self._batches)[1]) for _ in range(each * max(1, self._workers)))
        seconds = time.perf_counter() - started
        if self._workers:
            time.sleep(REST_S)
        return images / seconds


class InTurns(PlainProgress):
    """Tells what the command tells, and lets the limits have their turns.

    Attributes:
        rates: Images per second of each turn: of the training, the step, the loader as the training has it,
            and the loader on all cores.
        job: What is trained, with what was chosen for it.

    Args:
        job: Without the choices.
        has_loader: Whether images are loaded in the second epoch.
    """

    def __init__(self, job: Job, *, has_loader: bool) -> None:
        super().__init__()
        self.job = job
        self.rates: dict[str, list[float]] = {}
        self._has_loader = has_loader
        self._limits: dict[str, PureStep | LoaderAlone] = {}
        self._turn = 0
        self._began_at = (0.0, 0)  # seconds and samples from which the turn counts

    def start(self, start: Start) -> None:
        """Note run and length."""
        super().start(start)
        self._run = api.load_run(start.run)
        self._turn = start.batches // TURNS

    def epoch(self, epoch: int, batches_done: int) -> None:
        """Build the limits for the second epoch, whose first turn begins with the epoch."""
        super().epoch(epoch, batches_done)
        if epoch != EPOCH:
            return
        self.job = choice_of(self.job, api.load_run(self._run.directory))
        self._uncounted = max(UNCOUNTED, AHEAD * self.job.workers)
        if self._turn <= self._uncounted:
            sys.exit(f"turns of {self._turn} batches are too short with {self.job.workers} workers: --images")
        self._limits = {"step": PureStep(self.job)}
        if self._has_loader:
            config = self._run.layout.config_toml
            self._limits |= {
                "loader": LoaderAlone(config, self.job.workers),
                "cores": LoaderAlone(config, usable_cores()),
            }
        self.rates = {"training": [], **{name: [] for name in self._limits}}
        self._began_at = (time.perf_counter(), 0)

    def step(self, record: StepRecord) -> None:
        """End the turn of the training where it ends."""
        super().step(record)
        if not self._limits:
            return
        now = time.perf_counter()
        in_turn = record.batches % self._turn
        if in_turn == self._uncounted and record.batches > self._turn:
            self._began_at = (now, record.samples)
        elif in_turn == 0 and record.batches <= TURNS * self._turn:
            began, samples = self._began_at
            self.rates["training"].append((record.samples - samples) / (now - began))
            if self.job.workers:
                time.sleep(REST_S)
            for name, limit in self._limits.items():
                self.rates[name].append(limit.rate(self._turn))

    def stop(self) -> None:
        """Let the loaders end their processes, while that is in nobody's way."""
        super().stop()
        self._limits.clear()


def main() -> None:
    """Train, and answer with the rates of all turns."""
    job = read_job()
    keep_freed_memory()  # as the command does: what makes a step faster belongs to the limit, too
    config = api.load_config(sys.argv[2])
    assert isinstance(config, ClassificationConfig)
    told = InTurns(job, has_loader=config.cache == "none")
    api.train(config, progress=told)
    answer(turns=told.rates, settings=told.job.settings)


if __name__ == "__main__":
    main()
