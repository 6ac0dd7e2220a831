"""The commands that are compared: Pochi, a loop written by hand, the peers, and the settings they take."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from pochi_cli.api import load_run
from pochi_cli.runs.index import Run
from tests.benchmarks.comparison.turns import FailedError, Finished, note, run
from tests.benchmarks.peers.job import Job
from tests.benchmarks.peers.pochi_config import config_of

PEERS = "tests.benchmarks.peers"

Choice = tuple[Literal["fp32", "bf16"], bool]
"""Precision, and whether the channels come last."""
PLAIN: Choice = ("fp32", False)
HALF: Choice = ("bf16", True)


@dataclass(frozen=True)
class Peer:
    """A script that trains a job.

    Attributes:
        module: Its module among the peers.
        choices: What it can be told to compute in; a user would try them.
    """

    module: str
    choices: Sequence[Choice]


PEER_OF: Mapping[str, Peer] = {
    "careful loop fp32": Peer("careful_loop", [PLAIN]),
    "careful loop bf16": Peer("careful_loop", [HALF]),
    "timm": Peer("with_timm", [HALF, PLAIN]),
    "lightning": Peer("with_lightning", [HALF, PLAIN]),
    "fastai": Peer("with_fastai", [("fp32", True), PLAIN]),
    "ultralytics": Peer("with_ultralytics", [PLAIN]),
}


class Commands:
    """Runs contestants, with their caches and settings in a scratch directory.

    Args:
        home: The scratch directory.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._environment = {
            "POCHI_CACHE_DIR": str(home / "cache"),
            "YOLO_CONFIG_DIR": str(home / "ultralytics"),
            "YOLO_OFFLINE": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def script(self, module: str, *arguments: str) -> Finished:
        """Run one of the peers' modules."""
        return run(["-m", f"{PEERS}.{module}", *arguments], self._environment)

    def python(self, code: str) -> Finished:
        """Run some lines of code."""
        return run(["-c", code], self._environment)

    def peer(self, peer: Peer, job: Job) -> Finished:
        """Train a job with a peer."""
        return self.script(peer.module, job.argument())

    def pochi(self, job: Job, *, is_fresh: bool = False, **changes: Any) -> tuple[Finished, Run]:
        """Train a job with `pochi train`.

        Args:
            job: The job.
            is_fresh: Whether nothing is remembered of the runs before.
            changes: Other keys of the config.
        """
        home = Path(tempfile.mkdtemp(dir=self._home))
        config = self.write_config(job, home, **changes)
        environment = self._forgetful(home) if is_fresh else self._environment
        return run(["-m", "pochi_cli", "train", str(config)], environment), load_run("latest", home)

    def in_turns(self, job: Job, cache: str) -> Finished:
        """Train a job with Pochi, the limits of its second epoch measured in turns with it."""
        home = Path(tempfile.mkdtemp(dir=self._home))
        config = self.write_config(job, home, cache=cache)
        return self.script("pochi_in_turns", job.argument(), str(config))

    def timeline(self, job: Job) -> Finished:
        """Train a job with Pochi, which remembers nothing, and ask when it did what."""
        home = Path(tempfile.mkdtemp(dir=self._home))
        config = self.write_config(job, home)
        return run(["-m", f"{PEERS}.pochi_timeline", str(config)], self._forgetful(home))

    def _forgetful(self, home: Path) -> dict[str, str]:
        return self._environment | {"POCHI_CACHE_DIR": str(home / "cache")}

    def write_config(self, job: Job, home: Path, **changes: Any) -> Path:
        """Write a job's config into a directory, where its run will be, too."""
        path = home / "config.toml"
        path.write_text(tomli_w.dumps(config_of(job, home, **changes)))
        return path

    def best(self, peer: Peer, job: Job, workers: Sequence[int], cost: Callable[[Finished], float]) -> Job:
        """Try what a user of the peer would try: first the precisions, then the numbers of workers.

        Args:
            peer: The peer.
            job: Without the choices.
            workers: Numbers of workers, the most promising first.
            cost: What is to be small.

        Raises:
            FailedError: Nothing that was tried ran.
        """
        costs: dict[Job, float] = {}
        reason = ""

        def attempt(tried: Job) -> None:
            nonlocal reason
            note(f"trying {peer.module}: {tried.settings}")
            try:
                costs[tried] = cost(self.peer(peer, tried))
            except FailedError as error:
                reason = str(error)

        jobs = [
            replace(job, precision=precision, channels_last=last, workers=workers[0])
            for precision, last in peer.choices
        ]
        if len(jobs) == len(workers) == 1:
            return jobs[0]
        for tried in jobs:
            attempt(tried)
        if not costs:
            raise FailedError(reason)
        best = min(costs, key=costs.__getitem__)
        for number in workers[1:]:
            attempt(replace(best, workers=number))
        return min(costs, key=costs.__getitem__)


def choice_of(job: Job, trained: Run) -> Job:
    """The job with what Pochi chose for itself."""
    settings = trained.record.settings
    return replace(
        job,
        precision=settings["precision"],
        channels_last=settings["channels_last"],
        workers=settings["num_workers"][0],  # of the training data
    )


def second_epoch(trained: Run) -> float:
    """Training images per second of a run's second epoch."""
    return trained.history.classification[1].samples_per_second
