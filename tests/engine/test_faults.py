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
from tests.commands.cli import write_toml
from tests.engine.tiny import tiny_config, tiny_raw
from tests.engine.trained import EVERYTHING, going_on
from tests.stress.soundness import Examiner, assert_identical

CHECKOUT = Path(__file__).parent.parent.parent


KILLED = """
import os, signal, sys
from pathlib import Path
from pochi_cli.config.load import load_config
from pochi_cli.engine.progress import SilentProgress
from pochi_cli.engine.training import train

class Killer(SilentProgress):
    def epoch(self, epoch, batches_done):
        self.now = epoch

    def step(self, record):
        if (self.now, record.batches) == (2, 6):
            os.kill(os.getpid(), signal.SIGKILL)

train(load_config(Path(sys.argv[1])), progress=Killer())
"""


def test_a_run_that_was_killed_within_an_epoch_goes_on_bit_for_bit(few_digits: Path, tmp_path: Path) -> None:
    settings = {**EVERYTHING, "threads": 1, "checkpoint_every_steps": 2}
    killed = {}
    for num_workers in (0, 2):  # at once: most of their time is the import of torch
        work_dir = tmp_path / f"killed_{num_workers}"
        raw = tiny_raw(few_digits, **settings, num_workers=num_workers, work_dir=str(work_dir))
        config = write_toml(tmp_path / f"{num_workers}.toml", raw)
        killed[work_dir] = subprocess.Popen([sys.executable, "-c", KILLED, str(config)], cwd=tmp_path)
    straight = train(tiny_config(few_digits, **settings, work_dir=str(tmp_path / "straight")))
    for work_dir, process in killed.items():
        assert process.wait() == -signal.SIGKILL
        run = find_run("latest", work_dir)
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


@pytest.mark.slow
@pytest.mark.timeout(900)  # seconds on a free machine, minutes on one that does much else
def test_a_disk_that_fails_damages_nothing_and_is_told() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.stress.full_disk", "--cases", "2", "--injected-only"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 of " in result.stdout
    assert "bit-identical" in result.stdout
