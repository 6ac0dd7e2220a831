"""Real small data for every test."""

from __future__ import annotations

import os

# Threads that wait do so asleep. By default they spin, and where the processes of the tests outnumber the
# cores, those that spin keep those that work from running. OpenMP reads this when torch is loaded, here and
# in every process that a test starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pochi_cli.data.digits import write_digits
from pochi_cli.engine.training import train
from pochi_cli.runs.index import Run, open_run
from tests.data.few import write_few_digits
from tests.engine.tiny import tiny_config


@pytest.fixture(scope="session", autouse=True)
def _heeding_signals() -> None:
    """Let the commands under test heed signals, even where pytest runs in a shell's background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCHI_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _not_waiting_for_the_disk() -> Iterator[None]:
    """What tests write need not outlast a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as an image folder with `train` and `val`; read only."""
    directory = tmp_path_factory.mktemp("data") / "digits"
    write_digits(directory)
    return directory


@pytest.fixture(scope="session")
def few_digits(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few digits as a folder: `train` with 65 images of 4 uneven classes, `val` with 30; read only."""
    directory = tmp_path_factory.mktemp("data") / "few"
    return write_few_digits(digits, directory, train=(25, 20, 15, 5), val=(10, 10, 5, 5))


@pytest.fixture(scope="session")
def trained_run(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished training on the few digits, with validation; read only."""
    work_dir = tmp_path_factory.mktemp("trained") / "work_dirs"
    return train(tiny_config(few_digits, work_dir=str(work_dir), batch_size=4, learning_rate=0.003, epochs=4))


@pytest.fixture
def own_run(trained_run: Run, tmp_path: Path) -> Run:
    """A copy of it below `tmp_path / "work_dirs"`."""
    directory = tmp_path / "work_dirs" / trained_run.layout.name
    shutil.copytree(trained_run.directory, directory)
    return open_run(directory)
