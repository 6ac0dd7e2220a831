"""`pochi optimize` as a user meets it: every value reaches the trainer, and nothing is lost."""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from pochi_cli import api
from pochi_cli.config.load import load_config
from pochi_cli.config.root import Config
from pochi_cli.cores import usable_cores
from pochi_cli.errors import DataError
from pochi_cli.runs.index import open_run
from pochi_cli.runs.search_layout import SearchLayout
from pochi_cli.search import trainer
from pochi_cli.search.messages import Failed, Interrupted, Order, Ready, receive, send
from pochi_cli.search.records import StudyRecord, read_study
from pochi_cli.search.storage import open_storage
from pochi_cli.search.study import SharedStudy
from tests.commands.cli import pochi, write_toml
from tests.engine.tiny import RANDOM_STEPS, classifier, tiny_config
from tests.engine.vectors import vector_raw, write_vectors
from tests.search.spaces import RATE, SIZES, search_config, search_raw


def write(path: Path, data: Path, **changes: Any) -> Path:
    """Write a config with a search."""
    path.write_text(tomli_w.dumps(search_raw(data, **changes)), "utf-8")
    return path


def numbers(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, **more}


def choices(*values: Any) -> dict[str, Any]:
    return {"type": "categorical", "choices": list(values)}


LAYER1 = "layer_wise_lr_config.layer_rates.layer1"
SPACE: dict[str, Any] = {
    "learning_rate": RATE,
    "batch_size": SIZES,
    "optimizer": choices("SGD", "AdamW"),
    "optimizer_params.weight_decay": numbers(0.0, 0.1),
    "optimizer_momentum": numbers(0.5, 0.9),
    "scheduler_gamma": numbers(0.3, 0.9),
    LAYER1: numbers(1e-4, 1e-2, log=True),
    "label_smoothing": numbers(0.0, 0.2),
    "mixup_alpha": numbers(0.1, 0.4),
    "model_name": choices("resnet18", "resnet34"),
    "train_transform[1].degrees": {"type": "int", "low": 0, "high": 20},
    "mean": choices([0.5, 0.5, 0.5], [0.4, 0.4, 0.4]),
}


@pytest.fixture(scope="module")
def home(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a search with every kind of key was made; read only."""
    directory = tmp_path_factory.mktemp("searched")
    config = write(
        directory / "search.toml",
        few_digits,
        train_transform=RANDOM_STEPS,
        class_weights=[1.0, 2.0, 1.0, 3.0],
        enable_layer_wise_lr=True,
        layer_wise_lr_config={"layer_rates": {"layer1": 0.001, "layer2": 0.004}},
        scheduler="StepLR",
        scheduler_params={"step_size": 1, "gamma": 0.5},
        optuna={
            "n_trials": 4,
            "n_jobs": 2,
            "storage": "sqlite:///study.db",
            "search_space": SPACE,
            "pruner": "none",
        },
    )
    result = pochi("optimize", config, cwd=directory)
    assert result.returncode == 0, result.stderr
    assert "learning_rate scales the layer-wise rates" in result.stderr
    assert "[4/4]" in result.stderr
    assert "4 of 4" in result.stdout
    return directory


@pytest.fixture(scope="module")
def study(home: Path) -> StudyRecord:
    return read_study(results(home))


def results(home: Path) -> SearchLayout:
    return SearchLayout(home / "work_dirs" / "optuna_results")


def at(config: dict[str, Any], *path: str | int) -> Any:
    node: Any = config
    for part in path:
        node = node[part]
    return node


PLACES: dict[str, tuple[str | int, ...]] = {
    "optimizer_params.weight_decay": ("optimizer_params", "weight_decay"),
    "optimizer_momentum": ("optimizer_params", "momentum"),
    "scheduler_gamma": ("scheduler_params", "gamma"),
    LAYER1: ("layer_wise_lr_config", "layer_rates", "layer1"),
    "train_transform[1].degrees": ("train_transform", 1, "degrees"),
}


@pytest.mark.parametrize("name", SPACE)
def test_what_was_drawn_is_what_training_used(home: Path, study: StudyRecord, name: str) -> None:
    seen = set()
    for trial in study.trials:
        config = json.loads((results(home).trial(trial.number) / "config.json").read_text())
        if name in trial.params:
            place: tuple[str | int, ...] = PLACES.get(name, (name,))
            used = at(config, *place)
            assert used == trial.params[name]
            seen.add(str(used))
        else:
            assert (name, trial.params["optimizer"]) == ("optimizer_momentum", "AdamW")
            assert "momentum" not in config["optimizer_params"]
    assert len(seen) > 1


def test_the_rest_of_the_file_is_in_force(home: Path, study: StudyRecord) -> None:
    for trial in study.trials:
        run = open_run(results(home).trial(trial.number))
        config = classifier(run.config)
        assert config.optuna is None
        assert (config.epochs, config.class_weights) == (2, (1.0, 2.0, 1.0, 3.0))
        names = ["Resize", "RandomAffine", "ToTensor", "Normalize"]
        assert [step.name for step in config.train_transform] == names
        rate = trial.params["learning_rate"]
        scaled = pytest.approx(0.004 * rate / 0.02)
        assert config.layer_rates == {"layer1": trial.params[LAYER1], "layer2": scaled}
        gamma = trial.params["scheduler_gamma"]
        for pattern, first in config.layer_rates.items():
            used = [epoch.layer_rates[pattern] for epoch in run.history.classification]
            assert used == pytest.approx([first, first * gamma])
        assert run.record.model_name == trial.params["model_name"]


def test_records_agree(home: Path, study: StudyRecord) -> None:
    layout = results(home)
    for trial in study.trials:
        run = open_run(layout.trial(trial.number))
        accuracies = [epoch.val_accuracy for epoch in run.history.classification]
        assert list(trial.metric) == accuracies
        assert trial.value == max(trial.metric) == run.record.best_value
        assert trial.best_epoch == run.record.best_epoch
        assert trial.batch_size == run.config.batch_size
        assert not run.layout.models.exists()
    best = json.loads(layout.best_params.read_text())
    winner = max(study.trials, key=lambda trial: (trial.value or 0.0, -trial.number))
    assert best["trial"] == winner.number
    assert best["value"] == winner.value
    statistics = json.loads(layout.statistics.read_text())
    assert (statistics["complete"], statistics["trials"], statistics["epochs"]) == (4, 4, 8)
    assert sum(statistics["param_importances"].values()) == pytest.approx(1)
    for kind in ("optimization_history", "param_importances", "contour"):
        assert "Plotly.newPlot" in layout.page(kind).read_text("utf-8")


def test_trials_have_their_share_of_the_cores(home: Path, study: StudyRecord) -> None:
    cores = usable_cores()
    for trial in study.trials:
        assert trial.threads == max(1, cores // 2)
        settings = open_run(results(home).trial(trial.number)).record.settings
        assert settings["threads"] == trial.threads


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_trial_knows_how_many_share_the_machine(
    jobs: int, few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []

    def train_trial(config: Config, directory: Path, **named: Any) -> None:
        seen.append((directory, config.threads, named["jobs"]))
        raise DataError("that is enough")

    monkeypatch.setattr("pochi_cli.engine.training.train_trial", train_trial)
    monkeypatch.setattr(trainer, "usable_cores", lambda: 7)
    config = tiny_config(few_digits, threads=None).model_dump(mode="json", exclude_none=True)
    order = Order(config, str(tmp_path), "val_accuracy")
    answer = trainer._train(order, jobs, 0, io.StringIO(), queue.Queue())
    assert answer == Failed("that is enough")
    assert seen == [(tmp_path, None if jobs == 1 else 2, jobs)]


def test_runs_leave_the_trials_out(home: Path) -> None:
    assert "no runs" in pochi("runs", cwd=home).stdout + pochi("runs", cwd=home).stderr


def test_the_best_trial_is_repeated_exactly(home: Path, study: StudyRecord, tmp_path: Path) -> None:
    text = results(home).optimized_config.read_text("utf-8")
    command = next(line for line in text.splitlines() if "once more" in line).rpartition(": ")[2].split()
    assert command[:2] == ["pochi", "train"]
    result = pochi(*command[1:], "--work-dir", tmp_path, cwd=home)
    assert result.returncode == 0, result.stderr
    best = study.best
    assert best is not None
    run = api.load_run("latest", tmp_path)
    assert [epoch.val_accuracy for epoch in run.history.classification] == list(best.metric)
    assert run.record.best_value == best.value


def test_what_was_found_trains_for_all_epochs(home: Path) -> None:
    config = load_config(results(home).optimized_config)
    assert config.epochs == 6
    assert config.optuna is None


def test_the_same_command_has_nothing_more_to_do(home: Path) -> None:
    before = results(home).history.read_text()
    result = pochi("optimize", "search.toml", cwd=home)
    assert result.returncode == 0
    assert results(home).history.read_text() == before
    assert not (home / "work_dirs" / "optuna_results_2").exists()


def test_pictures_of_a_stored_study(home: Path, tmp_path: Path) -> None:
    by_directory = pochi("plot", "study", results(home).directory, "--output-dir", tmp_path / "a", cwd=home)
    by_storage = pochi("plot", "study", "search.toml", "--output-dir", tmp_path / "b", cwd=home)
    for result, name in ((by_directory, "a"), (by_storage, "b")):
        assert result.returncode == 0, result.stderr
        assert {Path(line).name for line in result.stdout.splitlines()} == {
            f"{kind}.{form}"
            for kind in ("optimization_history", "param_importances", "contour")
            for form in ("png", "html")
        }
        assert all((tmp_path / name / Path(line).name).exists() for line in result.stdout.splitlines())


@pytest.mark.slow
def test_a_loss_is_minimized_and_memory_keeps_nothing(few_digits: Path, tmp_path: Path) -> None:
    # With processes that load images: they are forked while the trainer listens. Each trial has a doubt
    # of the same words to tell.
    settings = {"n_trials": 2, "direction": "minimize", "search_space": {"learning_rate": RATE}}
    config = write(tmp_path / "a b.toml", few_digits, num_workers=1, batch_size=100, optuna=settings)
    for count, name in ((2, "optuna_results"), (1, "optuna_results_2")):
        changes = ("--set", "optuna.optuna_epochs=1", "--n-trials", str(count))
        assert pochi("optimize", config, *changes, cwd=tmp_path).returncode == 0
        layout = SearchLayout(tmp_path / "work_dirs" / name)
        found = read_study(layout)
        losses = [open_run(layout.trial(n)).history.classification[0].val_loss for n in range(count)]
        assert [trial.value for trial in found.trials] == losses
        assert found.best is not None
        assert found.best.value == min(trial.value or 9.0 for trial in found.trials)


def test_a_failed_trial_is_recorded_and_the_search_goes_on(few_digits: Path, tmp_path: Path) -> None:
    settings = {
        "n_trials": 3,
        "optuna_epochs": 1,
        "sampler": "GridSampler",
        "search_space": {"seed": choices(0, 1), "weights": choices("nowhere.pth")},
    }
    config = write(tmp_path / "a.toml", few_digits, optuna=settings)
    result = pochi("optimize", config, cwd=tmp_path)
    assert result.returncode == 1
    assert "no trial is complete, of 2; 2 of them because" in result.stderr
    assert "nowhere.pth" in result.stderr
    found = read_study(SearchLayout(tmp_path / "work_dirs" / "optuna_results"))
    assert [trial.state for trial in found.trials] == ["failed", "failed"]
    page = (tmp_path / "work_dirs" / "optuna_results" / "contour.html").read_text("utf-8")
    assert "no trial is complete, and two are needed" in page


@pytest.mark.slow
def test_a_combination_that_is_not_valid_fails_with_its_reason(few_digits: Path, tmp_path: Path) -> None:
    space = {
        "sampler": choices("shuffle", "balanced"),
        "class_weights": choices("none", [1.0, 1.0, 2.0, 1.0]),
    }
    settings = {"optuna_epochs": 1, "sampler": "GridSampler", "search_space": space}
    config = write(tmp_path / "a.toml", few_digits, optuna=settings)
    result = pochi("optimize", config, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = read_study(SearchLayout(tmp_path / "work_dirs" / "optuna_results"))
    assert [trial.state for trial in found.trials].count("complete") == 3
    (failed,) = [trial for trial in found.trials if trial.state == "failed"]
    assert dict(failed.params) == {"sampler": "balanced", "class_weights": [1.0, 1.0, 2.0, 1.0]}
    assert failed.reason is not None
    assert failed.reason.startswith("its config is not valid: ")


# ---------------------------------------------------------------- the end of processes


def started(config: Path, cwd: Path) -> subprocess.Popen[str]:
    """Start a search in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pochi_cli", "optimize", str(config)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def children(process_id: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def exists(process_id: int) -> bool:
    status = Path(f"/proc/{process_id}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def long_search(tmp_path: Path, few_digits: Path, **settings: Any) -> Path:
    """Write a search whose trials take some seconds each."""
    everything = {
        "n_trials": 3,
        "optuna_epochs": 5,
        "storage": "sqlite:///study.db",
        "pruner": "none",
        **settings,
    }
    return write(tmp_path / "a.toml", few_digits, optuna=everything)


def history_of(tmp_path: Path) -> StudyRecord:
    return read_study(SearchLayout(tmp_path / "work_dirs" / "optuna_results"))


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux
@pytest.mark.slow
def test_killed_in_a_trial_the_same_command_goes_on(few_digits: Path, tmp_path: Path) -> None:
    config = long_search(tmp_path, few_digits)
    process = started(config, tmp_path)
    trial = SearchLayout(tmp_path / "work_dirs" / "optuna_results").trial(1)
    wait_for(lambda: (trial / "train_history.json").exists())
    workers = children(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(exists, workers)), 10)
    before = history_of(tmp_path)
    assert before.trials[0].state == "complete"
    result = pochi("optimize", config, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "trial 1 was ended by a crash, and is tried again" in result.stderr
    after = history_of(tmp_path)
    assert [(t.number, t.state, t.retry_of) for t in after.trials] == [
        (0, "complete", None),
        (2, "complete", None),
        (3, "complete", 1),
    ]
    assert after.trials[0] == before.trials[0]
    assert after.put_back == 1


@pytest.mark.slow
@linux
@pytest.mark.parametrize(("number", "times", "code"), [(signal.SIGINT, 2, 130), (signal.SIGTERM, 1, 143)])
def test_an_interrupt_puts_the_trial_back(
    few_digits: Path, tmp_path: Path, number: signal.Signals, times: int, code: int
) -> None:
    config = long_search(tmp_path, few_digits, n_jobs=2)
    process = started(config, tmp_path)
    trial = SearchLayout(tmp_path / "work_dirs" / "optuna_results").trial(0)
    wait_for(lambda: (trial / "train_history.json").exists())
    workers = children(process.pid)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.1)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert "the same command goes on" in told
    assert not any(map(exists, workers))
    assert "Traceback" not in told
    if times == 1:
        assert open_run(trial).record.status == "interrupted"
    search = search_config(few_digits, optuna=load_config(config).model_dump()["optuna"])
    url = f"sqlite:///{tmp_path}/study.db"
    states = [t.state.name for t in SharedStudy(search, open_storage(url))._trials()]
    assert "RUNNING" not in states
    assert states.count("WAITING") + states.count("COMPLETE") == 3


@pytest.mark.slow
@linux
def test_a_process_that_is_killed_fails_its_trial_alone(few_digits: Path, tmp_path: Path) -> None:
    config = long_search(tmp_path, few_digits, n_trials=2)
    process = started(config, tmp_path)
    trial = SearchLayout(tmp_path / "work_dirs" / "optuna_results").trial(0)
    wait_for(lambda: (trial / "train_history.json").exists())
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    failed, complete = history_of(tmp_path).trials
    assert (failed.state, complete.state) == ("failed", "complete")
    assert failed.reason == "its process was ended by SIGKILL, perhaps for want of memory"


def test_no_search_no_optimize(few_digits: Path, tmp_path: Path) -> None:
    raw = {key: value for key, value in search_raw(few_digits).items() if key != "optuna"}
    (tmp_path / "a.toml").write_text(tomli_w.dumps(raw))
    result = pochi("optimize", "a.toml", cwd=tmp_path)
    assert result.returncode == 1
    assert "there is no table [optuna]" in result.stderr
    assert not (tmp_path / "work_dirs").exists()


def test_training_leaves_the_search_alone(few_digits: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "a.toml", few_digits)
    result = pochi("train", config, "--set", "epochs=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run = api.load_run("latest", tmp_path / "work_dirs")
    assert run.config.optuna is None
    assert "optuna" not in run.layout.config_toml.read_text()
    more = pochi("train", config, "--resume", "latest", "--set", "epochs=2", cwd=tmp_path)
    assert more.returncode == 0, more.stderr


def test_options_stand_for_keys(few_digits: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "a.toml", few_digits)
    refused = pochi("optimize", config, "--n-trials", "0", "--timeout", "-1", "--storage", "x", cwd=tmp_path)
    assert refused.returncode == 1
    for text in ("optuna.n_trials is 0", "optuna.timeout_s is -1.0", 'optuna.storage is "x"'):
        assert text in refused.stderr
    late = pochi("optimize", config, "--n-trials", "9", "--timeout", "0.001", cwd=tmp_path)
    assert late.returncode == 1
    assert "no trial was brought to its end" in late.stderr


def test_an_encoder_is_searched(tmp_path: Path) -> None:
    space = {
        "learning_rate": {"type": "float", "low": 1e-3, "high": 3e-2, "log": True},
        "loss_function": {"type": "categorical", "choices": ["DPLossV2", "DPLossV2Norm"]},
        "hidden_dims": {"type": "categorical", "choices": [[8], [16, 8]]},
    }
    search = {"n_trials": 3, "optuna_epochs": 3, "pruner": "none", "search_space": space}
    raw = vector_raw(
        write_vectors(tmp_path), optuna=search, epochs=8, recall_every_epochs=None, work_dir=None
    )
    write_toml(tmp_path / "encoder.toml", raw)
    done = pochi("optimize", "encoder.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    layout = SearchLayout(tmp_path / "work_dirs" / "optuna_results")
    study = read_study(layout)
    assert (study.metric, len(study.complete)) == ("recall_at_5", 3)
    for trial in study.trials:
        run = open_run(layout.trial(trial.number))
        recalls = [record.recall[5] for record in run.history.embedding]
        assert list(trial.metric) == recalls
        assert trial.value == max(trial.metric)
        config = json.loads(run.layout.config_json.read_text())
        assert {name: config[name] for name in space} == trial.params
    best = study.best
    assert best is not None
    command = next(
        line for line in layout.optimized_config.read_text().splitlines() if "once more" in line
    ).rpartition(": ")[2]
    repeated = pochi(*command.split()[1:], "--work-dir", "again", cwd=tmp_path)
    assert repeated.returncode == 0, repeated.stderr
    run = api.load_run("latest", tmp_path / "again")
    assert [record.recall[5] for record in run.history.embedding] == list(best.metric)


TRAINER = """
import sys
from unittest.mock import patch
from pochi_cli.search import messages, trainer

def say():
    print("given back", file=sys.stderr)

sys.argv = ["trainer", "1", "0"]
with (
    patch.object(trainer, "load_torch"),
    patch.object(trainer, "_train", return_value=messages.Interrupted()),
    patch.object(trainer, "return_freed_memory", say),
):
    trainer.main()
"""


def test_a_process_that_waits_for_its_next_trial_gives_memory_back() -> None:
    command = [sys.executable, "-c", TRAINER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin and process.stdout and process.stderr
        assert isinstance(receive(process.stdout.readline()), Ready)
        send(process.stdin, Order({}, "run", "accuracy"))
        assert isinstance(receive(process.stdout.readline()), Interrupted)
        assert process.stderr.readline() == "given back\n"
        process.stdin.close()
