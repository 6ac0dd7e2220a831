"""A run that is being trained is told from one that crashed, and asking disturbs neither."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname

import pytest

from pochi_cli.errors import RunError
from pochi_cli.runs.index import Run, open_run
from pochi_cli.runs.listing import list_runs
from pochi_cli.runs.lock import is_held, locked, process_exists
from tests.runs.fake import make_run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no locks on Windows")

HOLDER = """
import sys
from pathlib import Path
from pochi_cli.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock until it is killed; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def now(run: Run) -> str:
    return run.status


def test_a_killed_process_leaves_a_crashed_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, status="running", host=gethostname(), process_id=os.getppid())
    assert now(run) == "crashed"  # there is no lock, whoever now has the process's number
    with holder(run.layout.lock) as process:
        assert now(run) == "running"
        process.kill()
        process.wait()
        assert run.layout.lock.exists()
        assert now(run) == "crashed"
    assert open_run(run.directory).record.status == "running"


def test_asking_does_not_take_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path):
        pass
    assert is_held(path) is False
    with locked(path):
        assert is_held(path) is True
    assert is_held(path) is False


def test_a_process_keeps_its_own_lock_when_it_lists(tmp_path: Path) -> None:
    # Also before the record names it: a run that is resumed is locked first.
    for process_id in (os.getpid(), 1):
        run = make_run(tmp_path, status="running", host=gethostname(), process_id=process_id)
        with locked(run.layout.lock):
            assert now(run) == "running"
            assert list_runs(tmp_path, datetime.now(UTC))[-1].status == "running"
            code = HOLDER.replace("sys.stdin.read()", "pass")
            other = subprocess.run(
                [sys.executable, "-c", code, str(run.layout.lock)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert "another process is training" in other.stderr
        assert now(run) == "crashed"


def test_a_second_process_is_still_refused(tmp_path: Path) -> None:
    with holder(tmp_path / ".lock"), pytest.raises(RunError, match="another process is training"):
        locked(tmp_path / ".lock").__enter__()


def test_without_a_lock_to_read_the_process_decides(tmp_path: Path) -> None:
    alive = make_run(tmp_path, status="running", host=gethostname(), process_id=os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    gone = make_run(tmp_path, status="running", host=gethostname(), process_id=process.pid)
    for run in (alive, gone):
        run.layout.lock.mkdir()  # like a file that this user may not read
        assert is_held(run.layout.lock) is None
    assert (alive.status, gone.status) == ("running", "crashed")
    assert not process_exists(0)
    assert not process_exists(10**30)


def test_of_another_machine_only_the_record_is_known(tmp_path: Path) -> None:
    assert make_run(tmp_path, status="running", host="elsewhere").status == "running"
    for status in ("finished", "interrupted", "failed"):
        assert make_run(tmp_path, status=status, host=gethostname()).status == status


def test_what_fails_under_a_lock_is_not_the_locks_failure(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / ".lock"):
        raise FileNotFoundError
