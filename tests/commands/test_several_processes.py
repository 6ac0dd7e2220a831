"""`pochi train --nproc`: several processes from start to end, however it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pochi_cli.engine.training import resume
from pochi_cli.runs.index import Run, find_run
from tests.commands.cli import pochi, pochi_process, write_toml
from tests.engine.tiny import tiny_raw
from tests.engine.trained import going_on

KEYS: dict[str, Any] = {
    "model_name": "vit_tiny",
    "stem": None,
    "checkpoint_every_steps": 1,
    "save_interval": 100,
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def config(data: Path, directory: Path, **keys: Any) -> Path:
    raw = tiny_raw(data, **{**KEYS, **keys, "work_dir": str(directory / "runs")})
    return write_toml(directory / "config.toml", raw)


def started(path: Path, *, epochs: int) -> subprocess.Popen[str]:
    """Start a training by two processes, and wait until it has done an epoch."""
    command = [sys.executable, "-m", "pochi_cli", "train", str(path), "--nproc", "2", "--epochs", str(epochs)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    runs = path.parent / "runs"
    until(lambda: any(runs.glob("*/models/latest_model.pth")))
    return process


def until(condition: Callable[[], bool], limit_s: float = 60) -> float:
    """Wait until something is so; returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s
        time.sleep(0.05)
    return time.monotonic() - began


def workers(launcher: int) -> list[int]:
    """The processes that train, by rank."""
    found = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            values = (directory / "environ").read_text().split("\0")
        except OSError:
            continue
        ranks = [value for value in values if value.startswith("RANK=")]
        if parent == launcher and ranks:
            found[ranks[0]] = int(directory.name)
    return [found[rank] for rank in sorted(found)]


def assert_goes_on(run: Run) -> None:
    """By one process, for one epoch."""
    done = run.record.epochs_done
    again = resume(run, going_on(run), on_epoch=lambda _: "stop")
    assert again.record.status == "finished"
    assert len(again.history) == done + 1


def test_a_killed_process_ends_the_others(few_digits: Path, tmp_path: Path) -> None:
    process = started(config(few_digits, tmp_path), epochs=1000)
    trained = workers(process.pid)
    assert len(trained) == 2
    os.kill(trained[1], signal.SIGKILL)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    until(lambda: not any(Path(f"/proc/{one}").exists() for one in trained), 1)
    assert f"process 1 of 2 (number {trained[1]}) was killed by SIGKILL" in told
    run = find_run("latest", tmp_path / "runs")
    assert run.record.status == "failed"
    assert f"pochi train --resume {run.directory}" in told
    assert told.count("error:") == 1
    assert "Traceback" not in told


@pytest.mark.slow
@pytest.mark.parametrize("is_launcher", [True, False])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_once_and_ends_all(
    few_digits: Path, tmp_path: Path, number: signal.Signals, is_launcher: bool
) -> None:
    process = started(config(few_digits, tmp_path), epochs=1000)
    trained = workers(process.pid)
    os.kill(process.pid if is_launcher else trained[1], number)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number
    assert not any(Path(f"/proc/{one}").exists() for one in trained)
    assert told.count("stopped and saved") == 1
    assert "Traceback" not in told
    run = find_run("latest", tmp_path / "runs")
    assert (run.record.status, run.record.reason) == ("interrupted", f"stopped by {number.name}")
    assert_goes_on(run)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_one_that_hangs(few_digits: Path, tmp_path: Path) -> None:
    process = started(config(few_digits, tmp_path), epochs=1000)
    trained = workers(process.pid)
    os.kill(trained[1], signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "waiting for 2 processes to end the step and to save" in told
    assert "stopped before it was saved" in told
    assert not any(Path(f"/proc/{one}").exists() for one in trained)
    assert_goes_on(find_run("latest", tmp_path / "runs"))


@pytest.mark.slow
def test_a_killed_launcher_leaves_nothing_running(few_digits: Path, tmp_path: Path) -> None:
    process = started(config(few_digits, tmp_path), epochs=1000)
    trained = workers(process.pid)
    process.kill()
    until(lambda: not any(Path(f"/proc/{one}").exists() for one in trained), 30)
    process.communicate()
    run = find_run("latest", tmp_path / "runs")
    assert run.record.status == "interrupted"
    assert_goes_on(run)


@pytest.mark.slow
def test_a_run_of_two_is_like_any_other(few_digits: Path, tmp_path: Path) -> None:
    path = config(few_digits, tmp_path)
    done = pochi_process("train", path, "--nproc", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run ") == 1
    assert done.stderr.count("best so far") <= 2
    run = find_run("latest", tmp_path / "runs")
    assert run.record.settings["processes"] == 2
    for command in (["infer"], ["plot", "metrics"], ["runs", "show"], ["report"]):
        assert pochi(*command, str(run.directory), cwd=tmp_path).returncode == 0, command
    again = pochi_process(
        "train", "--resume", str(run.directory), "--epochs", "3", "--nproc", "2", cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("epochs = 3 by --epochs") == 1
    assert find_run(run.directory).record.epochs_done == 3


@pytest.mark.slow
def test_torchrun_starts_them_as_well(few_digits: Path, tmp_path: Path) -> None:
    path = config(few_digits, tmp_path)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "pochi_cli", "train", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert find_run("latest", tmp_path / "runs").record.settings["processes"] == 2


def test_a_mistake_is_told_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("epoch = 3\n")
    done = pochi("train", path, "--lr", "0.1", "--set", "class_weights=none", "--nproc", "2", cwd=tmp_path)
    assert done.returncode == 1
    assert 'class_weights = "none" by --set, instead of nothing' in done.stderr
    assert done.stderr.count("learning_rate = 0.1 by --lr") == 1
    assert done.stderr.count("unknown-key") == 1


def test_variables_of_another_launcher_are_told(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("epoch = 3\n")
    done = pochi("train", path, cwd=tmp_path, RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", MASTER_PORT="1")
    assert "trains alone: WORLD_SIZE is set, as by a launcher, but not LOCAL_WORLD_SIZE, MASTER_ADDR" in (
        done.stderr.replace("\n", " ")
    )


def test_as_many_processes_as_were_launched(few_digits: Path, tmp_path: Path) -> None:
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    done = pochi("train", config(few_digits, tmp_path), "--nproc", "2", cwd=tmp_path, **place)
    assert done.returncode == 2
    assert "and 3 processes were launched on this machine" in done.stderr
