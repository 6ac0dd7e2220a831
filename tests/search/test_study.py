"""A shared study: trials are taken once, none is lost, and their number is kept."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from pochi_cli.errors import InstallationError, RunError, StorageError
from pochi_cli.runs.search_layout import SearchLayout
from pochi_cli.search import presence
from pochi_cli.search import study as module
from pochi_cli.search.records import StudyRecord, TrialRecord, TrialState
from pochi_cli.search.storage import open_storage, without_password
from pochi_cli.search.stored import stored_study
from pochi_cli.search.study import SharedStudy, Taken, TakenOverError
from tests.search.spaces import RATE, SIZES, search_config


@pytest.fixture(params=["sqlite:///{}/study.db", "journal:///{}/study.log"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage in a file."""
    return str(request.param).format(tmp_path)


class Process:
    """What a process of a search does with a study."""

    def __init__(self, url: str | None, directory: Path, **settings: Any) -> None:
        config = search_config(optuna={"storage": url, **settings})
        self.study = SharedStudy(config, open_storage(url))
        directory.mkdir(exist_ok=True)
        self.presence = ExitStack()
        self.presence.enter_context(self.study.present(SearchLayout(directory)))

    def take(self) -> Taken:
        taken = self.study.take()
        assert taken is not None
        return taken

    def finish(self, taken: Taken, value: float = 50.0, state: TrialState = "complete") -> None:
        done = state == "complete"
        record = TrialRecord(
            taken.number, state, taken.params, value if done else None, 1 if done else None, epochs=2
        )
        self.study.finish(taken, record)

    def run_all(self) -> list[Taken]:
        done = []
        while (taken := self.study.take()) is not None:
            self.finish(taken, 50.0 + taken.number)
            done.append(taken)
        return done

    @property
    def record(self) -> StudyRecord:
        return self.study.record()


def raw_trials(url: str) -> list[optuna.trial.FrozenTrial]:
    """What Optuna itself reads."""
    return optuna.load_study(study_name="pochitrain_optimization", storage=open_storage(url)).trials


def states(url: str) -> Counter[str]:
    return Counter(trial.state.name for trial in raw_trials(url))


def test_a_study_has_as_many_trials_as_it_is_to_have(url: str, tmp_path: Path) -> None:
    process = Process(url, tmp_path / "a", n_trials=5)
    assert [taken.number for taken in process.run_all()] == list(range(5))
    assert states(url) == {"COMPLETE": 5}
    assert process.record.best is not None
    assert process.record.best.number == 4


def test_what_it_was_told_is_what_it_tells(url: str, tmp_path: Path) -> None:
    process = Process(url, tmp_path / "a", direction="minimize")
    taken = process.take()
    for epoch, value in enumerate((0.9, 0.5), 1):
        assert process.study.report(taken, epoch, value) is False
    told = TrialRecord(
        number=taken.number,
        state="complete",
        params=taken.params,
        value=0.5,
        best_epoch=2,
        epochs=2,
        metric=(0.9, 0.5),
        duration_s=1.5,
        threads=1,
        batch_size=8,
        host="here",
        directory="/a",
    )
    process.study.finish(taken, told)
    (read,) = process.record.trials
    assert replace(read, started_at=None, ended_at=None) == told
    assert read.started_at is not None
    assert read.ended_at is not None


def test_going_on_draws_what_would_have_been_drawn(tmp_path: Path) -> None:
    whole = Process(f"sqlite:///{tmp_path}/whole.db", tmp_path / "a", n_trials=14).run_all()
    url = f"sqlite:///{tmp_path}/parts.db"
    parts: list[Taken] = []
    for _ in range(7):
        process = Process(url, tmp_path / "b", n_trials=14)
        for _ in range(2):
            taken = process.take()
            process.finish(taken, 50.0 + taken.number)
            parts.append(taken)
    assert [taken.params for taken in parts] == [taken.params for taken in whole]
    assert len({str(taken.params) for taken in whole}) == 14


@pytest.mark.parametrize("sampler", ["RandomSampler", "TPESampler"])
def test_two_processes_share_the_trials_and_draw_different_ones(
    url: str, tmp_path: Path, sampler: str
) -> None:
    one, other = (Process(url, tmp_path / name, n_trials=12, sampler=sampler) for name in "ab")
    taken = []
    for process in (one, other, other, one) * 3:
        trial = process.take()
        taken.append(trial)
        process.finish(trial)
    assert one.study.take() is None
    assert other.study.take() is None
    assert sorted(trial.number for trial in taken) == list(range(12))
    assert len({str(trial.params) for trial in taken}) == 12
    assert states(url) == {"COMPLETE": 12}


def test_processes_that_hurry_take_no_trial_twice(url: str, tmp_path: Path) -> None:
    processes = [Process(url, tmp_path / name, n_trials=12) for name in "abc"]
    done: list[list[Taken]] = [[], [], []]

    def run(place: int) -> None:
        done[place] = processes[place].run_all()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken.number for part in done for taken in part) == list(range(12))
    assert states(url) == {"COMPLETE": 12}


CRASH = """
import os, sys
from pathlib import Path
from tests.search.test_study import Process
process = Process(sys.argv[1], Path(sys.argv[2]))
process.finish(process.take())
print(process.take().params, flush=True)
os._exit(9)
"""


def crash(url: str, directory: Path) -> str:
    """Let a process die in its second trial; return that trial's parameters."""
    command = [sys.executable, "-c", CRASH, url, str(directory)]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    assert died.returncode == 9, died.stderr
    return died.stdout.strip()


def test_a_trial_whose_process_died_is_tried_again(url: str, tmp_path: Path) -> None:
    params = crash(url, tmp_path / "a")
    assert states(url) == {"COMPLETE": 1, "RUNNING": 1, "WAITING": 2}
    process = Process(url, tmp_path / "a")
    assert process.study.put_back_crashed() == [1]
    assert process.study.put_back_crashed() == []
    done = process.run_all()
    assert str(done[0].params) == params
    assert states(url) == {"COMPLETE": 4, "FAIL": 1}
    record = process.record
    assert (len(record.finished), record.put_back, record.count("failed")) == (4, 1, 0)
    assert [trial.retry_of for trial in record.trials] == [None, None, None, 1]


def test_a_trial_whose_process_lives_is_left_alone(url: str, tmp_path: Path) -> None:
    one, other = (Process(url, tmp_path / name) for name in "ab")
    taken = one.take()
    command = (
        "import sys; from pathlib import Path; from tests.search.test_study import Process\n"
        "print(Process(sys.argv[1], Path(sys.argv[2])).study.put_back_crashed())"
    )
    seen = subprocess.run(
        [sys.executable, "-c", command, url, str(tmp_path / "c")], capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "[]"
    one.finish(taken)
    assert len(other.run_all()) == 3


def test_a_silent_process_of_another_machine_counts_as_gone(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Process(url, tmp_path / "far")
    monkeypatch.setattr(presence, "gethostname", lambda: "another")
    near = Process(url, tmp_path / "near")
    taken = far.take()
    clock = iter(range(0, 1000, 40))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    assert near.study.put_back_crashed() == []  # first seen
    far.study.beat()
    assert near.study.put_back_crashed() == []  # it has just moved
    assert near.study.put_back_crashed() == []  # 40 s of silence
    assert near.study.put_back_crashed() == [taken.number]


def test_what_is_given_back_is_tried_again(url: str, tmp_path: Path) -> None:
    process = Process(url, tmp_path / "a")
    taken = process.take()
    process.study.give_back(taken)
    again = process.take()
    assert (again.params, again.number) == (taken.params, 4)
    process.take()
    process.study.give_back_all()
    assert states(url) == {"WAITING": 4, "FAIL": 3}
    assert len(process.run_all()) == 4


def test_failed_and_pruned_trials_count(url: str, tmp_path: Path) -> None:
    process = Process(url, tmp_path / "a")
    process.finish(process.take(), state="failed")
    pruned = process.take()
    process.study.report(pruned, 1, 3.0)
    process.finish(pruned, state="pruned")
    assert len(process.run_all()) == 2
    record = process.record
    assert [trial.state for trial in record.trials] == ["failed", "pruned", "complete", "complete"]
    assert record.trials[1].value == 3.0
    assert [trial.number for trial in record.complete] == [2, 3]


def test_more_and_fewer_trials(url: str, tmp_path: Path) -> None:
    assert len(Process(url, tmp_path / "a", n_trials=3).run_all()) == 3
    assert len(Process(url, tmp_path / "a", n_trials=5).run_all()) == 2
    fewer = Process(url, tmp_path / "a", n_trials=2)
    assert fewer.run_all() == []
    assert len(fewer.record.finished) == 5


def test_very_many_trials_are_made_some_at_a_time(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WINDOW", 3)
    process = Process(url, tmp_path / "a", n_trials=8)
    assert states(url) == {"WAITING": 3}
    assert len(process.run_all()) == 8
    assert states(url) == {"COMPLETE": 8}


GRID = {"learning_rate": {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1}, "batch_size": SIZES}


def test_a_grid_is_visited_once(url: str, tmp_path: Path) -> None:
    process = Process(url, tmp_path / "a", n_trials=20, sampler="GridSampler", search_space=GRID)
    taken = process.take()
    process.study.give_back(taken)
    done = process.run_all()
    assert len(done) == 9
    points = {(round(trial.params["learning_rate"], 9), trial.params["batch_size"]) for trial in done}
    assert points == {(rate, size) for rate in (0.1, 0.2, 0.3) for size in (8, 16, 32)}


def test_a_part_of_a_grid_is_visited_and_then_the_rest(url: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"sampler": "GridSampler", "search_space": GRID}
    some = Process(url, tmp_path / "a", n_trials=4, **settings).run_all()
    rest = Process(url, tmp_path / "a", n_trials=9, **settings).run_all()
    assert (len(some), len(rest)) == (4, 5)
    assert len({str(trial.params) for trial in (*some, *rest)}) == 9


def test_a_grid_has_no_point_twice_where_arguments_depend(tmp_path: Path) -> None:
    space = {
        "optimizer": {"type": "categorical", "choices": ["SGD", "Adam"]},
        "optimizer_momentum": {"type": "categorical", "choices": [0.5, 0.9]},
    }
    done = Process(None, tmp_path / "a", n_trials=20, sampler="GridSampler", search_space=space).run_all()
    assert sorted(str(trial.params) for trial in done) == [
        "{'optimizer': 'Adam'}",
        "{'optimizer': 'SGD', 'optimizer_momentum': 0.5}",
        "{'optimizer': 'SGD', 'optimizer_momentum': 0.9}",
    ]


def test_evolution_and_arrays(url: str, tmp_path: Path) -> None:
    space = {
        "learning_rate": RATE,
        "label_smoothing": {"type": "float", "low": 0.0, "high": 0.3},
        "mean": {"type": "categorical", "choices": [[0.5, 0.5, 0.5], [0.1, 0.1, 0.1]]},
    }
    process = Process(url, tmp_path / "a", n_trials=9, sampler="CmaEsSampler", search_space=space)
    done = process.run_all()
    assert len({trial.params["learning_rate"] for trial in done}) == 9
    assert {tuple(trial.params["mean"]) for trial in done} == {(0.5, 0.5, 0.5), (0.1, 0.1, 0.1)}
    assert [trial.params for trial in process.record.trials] == [trial.params for trial in done]


CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "direction": ({"direction": "minimize"}, {}, 'direction was "maximize", and is "minimize" now'),
    "grid": (
        {"sampler": "GridSampler", "search_space": {"batch_size": SIZES}},
        {},
        'sampler was "TPESampler", and is "GridSampler" now',
    ),
    "epochs of a trial": ({"optuna_epochs": 3}, {}, "optuna_epochs was 2, and is 3 now"),
    "space": ({"search_space": {"learning_rate": RATE}}, {}, "search_space.batch_size was {"),
    "another key": ({}, {"label_smoothing": 0.1}, "label_smoothing was 0.0, and is 0.1 now"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_study_goes_on_only_with_its_own_settings(url: str, tmp_path: Path, name: str) -> None:
    settings, keys, message = CHANGED[name]
    Process(url, tmp_path / "a")
    config = search_config(optuna={"storage": url, **settings}, **keys)
    with pytest.raises(RunError) as caught:
        SharedStudy(config, open_storage(url))
    assert message in caught.value.message
    assert caught.value.hint is not None
    assert "study_name" in caught.value.hint


def test_what_does_not_change_the_trials_may_change(url: str, tmp_path: Path) -> None:
    Process(url, tmp_path / "a")
    settings = {"storage": url, "n_trials": 9, "n_jobs": 3, "pruner": "none", "timeout_s": 5.0}
    config = search_config(optuna=settings, work_dir="elsewhere", save_interval=3)
    assert SharedStudy(config, open_storage(url)).limit == 9


def test_a_study_of_others_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OPENING_S", 0.2)
    foreign = optuna.create_study(
        study_name="pochitrain_optimization", storage=open_storage(url), direction="maximize"
    )
    foreign.ask()
    with pytest.raises(RunError, match="that pochi optimize has not made"):
        SharedStudy(search_config(optuna={"storage": url}), open_storage(url))


def test_a_study_that_nobody_could_sign_is_taken_up(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OPENING_S", 0.2)
    name = "pochitrain_optimization"
    optuna.create_study(study_name=name, storage=open_storage(url), direction="maximize")
    process = Process(url, tmp_path / "a")
    assert len(process.run_all()) == 4
    assert Process(url, tmp_path / "a").study.study_id == process.study.study_id


def test_a_trial_that_was_taken_over_is_given_up(url: str, tmp_path: Path) -> None:
    silent, other = (Process(url, tmp_path / name) for name in "ab")
    taken = silent.take()
    other.study._put_back(next(t for t in other.study._trials() if t.number == taken.number))
    with pytest.raises(TakenOverError, match="trial 0 was taken over"):
        silent.study.report(taken, 1, 5.0)
    with pytest.raises(TakenOverError):
        silent.finish(taken)
    assert len(other.run_all()) == 4


def test_reading_a_stored_study(url: str, tmp_path: Path) -> None:
    config = search_config(optuna={"storage": url})
    with pytest.raises(StorageError, match="there is no storage"):
        stored_study(config)
    open_storage(url)
    with pytest.raises(RunError, match="has no study"):
        stored_study(config)
    Process(url, tmp_path / "a").run_all()
    assert len(stored_study(config).complete) == 4
    with pytest.raises(RunError, match="names no storage"):
        stored_study(search_config())


BAD = [
    ("sqlite:////nowhere/at/all/study.db", "there is no directory /nowhere/at/all"),
    ("journal:////nowhere/at/all/study.log", "there is no directory /nowhere/at/all"),
    ("postgres://user:secret@host/db", "cannot open postgres://user:***@host/db"),
    ("nonsense://x", "cannot open nonsense://x"),
    ("postgresql://user:secret@host:port/db", "cannot open postgresql:..."),
    ("postgresql:/user:secret/db", "cannot open postgresql:..."),
    ("nonsense://host/db?password=secret", "cannot open nonsense://host/db?password=hidden"),
    ("://", "cannot open"),
]


@pytest.mark.parametrize(("url", "message"), BAD)
def test_a_storage_that_cannot_be_opened(url: str, message: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(url)
    assert message in caught.value.message
    assert "secret" not in str(caught.value)


def test_processes_that_make_a_storage_together(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    code = "import sys; from pochi_cli.search.storage import open_storage; open_storage(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, told


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database " * 100)
    with pytest.raises(StorageError, match="file is not a database"):
        open_storage(f"sqlite:///{tmp_path}/study.db")


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "study.log").write_text("no journal\n" * 10)
    with pytest.raises(StorageError, match="no journal of Optuna's"):
        open_storage(f"journal:///{tmp_path}/study.log")


def test_a_driver_that_is_missing() -> None:
    with pytest.raises(InstallationError) as caught:
        open_storage("mysql+pymysql://user:secret@host/db")
    assert "secret" not in str(caught.value)
    assert caught.value.hint == "pip install pymysql"


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert without_password("sqlite:///a.db") == "sqlite:///a.db"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Put Optuna's own messages back as they were."""
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)
