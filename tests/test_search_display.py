"""What a search shows while it goes on: everything that counts, on any width."""

from __future__ import annotations

import io
import re
import sys
import time
from dataclasses import replace

import pytest

from pochi_cli.console import stderr_console
from pochi_cli.search.progress import RunningTrial
from pochi_cli.search.records import StudyRecord, TrialRecord
from pochi_cli.search_display import LiveView, PlainView, create_view

PARAMS = {
    "learning_rate": 0.0123456,
    "optimizer": "SGD",
    "train_transform[1].degrees": 12,
    "mean": [0.5, 0.5],
}
DONE = TrialRecord(
    0, "complete", PARAMS, value=75.0, best_epoch=2, epochs=3, metric=(50.0, 75.0, 70.0), duration_s=4.0
)
PRUNED = TrialRecord(1, "pruned", PARAMS, value=10.0, epochs=1, metric=(10.0,), duration_s=1.0, reason="x")
FAILED = TrialRecord(2, "failed", PARAMS, duration_s=2.0, reason="out of memory")
STUDY = StudyRecord("id", "a study", None, "maximize", "val_accuracy", 9, 3, {}, (DONE, PRUNED, FAILED))
RUNNING = RunningTrial(3, PARAMS, 2, 0.5, (60.0,), 7.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=[80, 140])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return int(request.param)


def lines(terminal: io.StringIO) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "\n").splitlines()


def test_the_live_table_shows_what_counts(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    view = create_view()
    assert isinstance(view, LiveView)
    view.start(replace(STUDY, trials=()), "work_dirs/optuna_results", 2, None)
    clock = time.monotonic
    monkeypatch.setattr("time.monotonic", lambda: clock() + 60.0)
    console = stderr_console(soft_wrap=False)
    console.print(view._picture(STUDY, [RUNNING]))
    view.stop()
    shown = lines(terminal)
    text = " ".join(" ".join(shown).split())
    for part in (
        "3 of 9, 1 pruned, 1 failed",
        "1 min 0 s so far, about 1 min",
        "trial 3",
        "epoch 2/3; 60.00 %;",
        "best 75.0000 %",
        "trial 0; learning_rate = 0.01235,",
        "mean = [0.5, 0.5]",
    ):
        assert part in text, part
    assert all(len(line) <= width - 3 for line in shown if "━" in line)


@pytest.mark.parametrize(
    ("trial", "told"),
    [
        (DONE, "trial 0: val_accuracy 75.0000 %, the best (4.0 s); learning_rate = 0.01235, optimizer = "),
        (PRUNED, "trial 1: pruned after epoch 1 of 3, 10.0000 % (1.0 s);"),
        (FAILED, "trial 2: failed: out of memory (2.0 s);"),
    ],
)
def test_ended_trials_are_told_whole(
    width: int, monkeypatch: pytest.MonkeyPatch, trial: TrialRecord, told: str
) -> None:
    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    LiveView().trial_done(trial, STUDY, is_best=trial is DONE)
    monkeypatch.setattr(sys, "stderr", pipe)
    view = create_view()
    assert isinstance(view, PlainView)
    view.trial_done(trial, STUDY, is_best=trial is DONE)
    (line,) = lines(pipe)
    assert line.startswith(f"[3/9] {told}")
    assert line.endswith("mean = [0.5, 0.5]")
    shown = lines(terminal)
    assert all(len(part) <= width for part in shown)
    assert " ".join(part.strip() for part in shown) == line.removeprefix("[3/9] ")
