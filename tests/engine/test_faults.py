"""Kills and failing disks, as many as a test has time for; `tests/stress` has all of them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pochi_cli.engine.training import resume, train
from pochi_cli.errors import StorageError
from pochi_cli.runs.index import find_run
from tests.engine.tiny import tiny_config, tiny_raw
from tests.engine.trained import EVERYTHING, going_on
from tests.stress.soundness import Examiner, assert_identical

CHECKOUT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_that_was_killed_within_an_epoch_goes_on_bit_for_bit(
    few_digits: Path, tmp_path: Path, num_workers: int
) -> None:
    settings = {**EVERYTHING, "threads": 1, "num_workers": num_workers, "checkpoint_every_steps": 2}
    straight = train(tiny_config(few_digits, **settings, work_dir=str(tmp_path / "straight")))
    raw = tiny_raw(few_digits, **settings, work_dir=str(tmp_path / "killed"))
    code = f"""
import os, signal
from pochi_cli.config.load import validate
from pochi_cli.engine.progress import SilentProgress
from pochi_cli.engine.training import train

class Killer(SilentProgress):
    def epoch(self, epoch, batches_done):
        self.now = epoch

    def step(self, record):
        if (self.now, record.batches) == (2, 6):
            os.kill(os.getpid(), signal.SIGKILL)

train(validate({raw!r}), progress=Killer())
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    run = find_run("latest", tmp_path / "killed")
    assert run.status == "crashed"
    assert Examiner().examine(run.directory).place == (2, 4)
    assert_identical(straight, resume(run, going_on(run)))


def test_a_run_that_cannot_begin_leaves_nothing(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system_open = os.open

    def refuse_locks(path: Any, *arguments: Any, **named: Any) -> int:
        if Path(path).name == ".lock":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return system_open(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse_locks)
    with pytest.raises(StorageError, match=r"cannot write .*: Input/output error"):
        train(tiny_config(few_digits, work_dir=str(tmp_path / "runs")))
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_disk_that_fails_damages_nothing_and_is_told() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.stress.full_disk", "--cases", "6", "--injected-only"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 of " in result.stdout
    assert "bit-identical" in result.stdout
