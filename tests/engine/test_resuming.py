"""A run that was stopped, however, goes on as if it had not been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pochi_cli.config.named_datasets import NAMED_DATASETS
from pochi_cli.engine.progress import SilentProgress, StepRecord
from pochi_cli.engine.resuming import latest_checkpoint
from pochi_cli.engine.training import resume, train
from pochi_cli.errors import DataError, Interrupted, RunError, StorageError
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.index import Run, find_run
from tests.data.published_files import write_published
from tests.engine.tiny import classifier, tiny_config, tiny_raw
from tests.engine.trained import (
    EVERYTHING,
    assert_equal,
    assert_same_run,
    checkpoint,
    going_on,
    rows,
)


@pytest.fixture(scope="module")
def straight(
    request: pytest.FixtureRequest, few_digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run of everything, with the keys of the parameter, that was never stopped; read only."""
    work_dir = str(tmp_path_factory.mktemp("straight"))
    return train(tiny_config(few_digits, **{**EVERYTHING, **request.param, "work_dir": work_dir}))


@pytest.mark.parametrize(
    ("straight", "num_workers"),
    [
        ({"epochs": 4, "sampler": "shuffle"}, 1),
        pytest.param({"epochs": 4, "sampler": "balanced"}, 0, marks=pytest.mark.slow),
    ],
    indirect=["straight"],
)
def test_resuming_equals_never_stopping(
    few_digits: Path, tmp_path: Path, straight: Run, num_workers: int
) -> None:
    sampler = classifier(straight.config).sampler
    settings = {**EVERYTHING, "work_dir": str(tmp_path), "sampler": sampler, "num_workers": num_workers}
    half = train(tiny_config(few_digits, **settings, epochs=2))
    torch.manual_seed(12345)  # what happens between the sessions does not matter
    resumed = resume(half, going_on(half, ["epochs=4"]))
    assert resumed.directory == half.directory
    assert resumed.record.status == "finished"
    assert_same_run(straight, resumed)


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_resuming_on_a_published_data_set(
    num_workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published("cifar10", tmp_path / "data", monkeypatch)
    steps = [{"name": "RandomCrop", "size": 32, "padding": 4}, {"name": "ToTensor"}, {"name": "Normalize"}]
    settings: dict[str, Any] = {
        "dataset": "cifar10",
        "train_data_root": str(tmp_path / "data"),
        "model_name": "vgg_compact",
        "stem": None,
        "train_transform": steps,
        "num_workers": num_workers,
        "work_dir": str(tmp_path / "runs"),
    }
    straight = train(tiny_config(**settings, epochs=2))
    half = train(tiny_config(**settings, epochs=1))
    resumed = resume(half, going_on(half, ["epochs=2"]))
    assert resumed.record.class_names == NAMED_DATASETS["cifar10"].class_names
    assert_same_run(straight, resumed)
    # Other images under the same names and of the same sizes are other data.
    shutil.rmtree(tmp_path / "data")
    monkeypatch.setattr(
        "tests.data.published_files.draw", lambda _, labels, shape: np.zeros((len(labels), *shape), np.uint8)
    )
    write_published("cifar10", tmp_path / "data", monkeypatch)
    with pytest.raises(RunError, match="data"):
        resume(resumed, going_on(resumed, ["epochs=3"]))


def test_where_images_are_held_changes_no_value(few_digits: Path, tmp_path: Path) -> None:
    """From the second epoch on they are cut out of memory in whole batches; a resumed run decodes anew."""
    steps = [
        {"name": "Resize", "size": 32},
        {"name": "RandomCrop", "size": 30, "padding": 3, "fill": 100},
        {"name": "RandomHorizontalFlip"},
        {"name": "ToTensor"},
        {"name": "Normalize"},
    ]
    keys = {"train_transform": steps, "val_transform": [steps[0], *steps[3:]], "num_workers": 0}
    decoded = train(tiny_config(few_digits, **keys, work_dir=str(tmp_path), cache="none", epochs=4))
    held = train(tiny_config(few_digits, **keys, work_dir=str(tmp_path), cache="ram", epochs=2))
    held = resume(held, going_on(held, ["epochs=4"]))
    one, other = (checkpoint(run.layout.latest_model) for run in (decoded, held))
    assert_equal(one["model_state_dict"], other["model_state_dict"], "model")
    assert [epoch.metrics for epoch in decoded.history.classification] == [
        epoch.metrics for epoch in held.history.classification
    ]


def test_a_finished_run_has_nothing_left_to_do(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path)))
    with pytest.raises(RunError, match="is finished, after 2 of 2 epochs"):
        resume(run, going_on(run))


def test_the_checkpoint_is_not_held_while_the_training_goes_on(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=1))
    loaded = []

    def load(*arguments: Any) -> dict[str, Any] | None:
        content = latest_checkpoint(*arguments)
        assert content is not None
        loaded.append(weakref.ref(content["model_state_dict"]["fc.weight"]))
        return content

    monkeypatch.setattr("pochi_cli.engine.training.latest_checkpoint", load)
    held: list[Any] = []
    resume(run, going_on(run, ["epochs=2"]), on_epoch=lambda _: held.append(loaded[0]()))
    assert held == [None]


def test_resuming_refuses_other_data(few_digits: Path, tmp_path: Path) -> None:
    data = shutil.copytree(few_digits, tmp_path / "data")
    run = train(tiny_config(data, work_dir=str(tmp_path / "runs")))
    next((data / "train" / "0").iterdir()).unlink()
    with pytest.raises(RunError, match=r"have changed .* had 65 training images and has 64"):
        resume(run, going_on(run, ["epochs=3"]))
    assert find_run(run.directory).record.status == "finished"


def test_a_lost_or_damaged_checkpoint_is_named_with_the_one_before(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), save_interval=1))
    config = going_on(run, ["epochs=3"])
    older = shutil.copytree(run.layout.models, tmp_path / "older")
    latest, history = run.layout.latest_model, run.layout.history_json.read_text()
    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 1
    latest.unlink()
    with pytest.raises(RunError, match="there is no checkpoint") as missing:
        resume(run, config)
    assert "checkpoint_epoch_002.pth" in str(missing.value.hint)
    for damaged in (bytes(content), b"", os.urandom(1000)):
        latest.write_bytes(damaged)
        with pytest.raises(RunError, match="damaged") as caught:
            resume(run, config)
        assert "checkpoint_epoch_002.pth" in str(caught.value.hint)
    assert run.layout.history_json.read_text() == history
    shutil.copy(older / "checkpoint_epoch_001.pth", latest)
    assert len(resume(run, config).history) == 3


def test_what_a_killed_process_left_is_removed(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=1))
    (run.layout.models / ".tmp-latest_model.pth-0123abcd").write_bytes(b"half")
    shutil.rmtree(run.layout.visualization)
    resume(run, going_on(run, ["epochs=2"]))
    assert not list(run.directory.rglob(".tmp-*"))
    assert len(rows(run)) == 2


def test_two_processes_never_train_one_run(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path)))
    code = f"""
from pathlib import Path
from pochi_cli.runs.lock import locked
with locked(Path({str(run.layout.lock)!r})):
    print("held", flush=True)
    input()
"""
    config = going_on(run, ["epochs=3"])
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match="another process is training"):
        resume(run, config)
    holder.kill()
    holder.communicate()
    assert len(resume(run, config).history) == 3


class Stopper(SilentProgress):
    """Sends this process a signal at a place in the training."""

    def __init__(self, number: int, *, epoch: int, batches: int | None) -> None:
        self.number, self.place = number, (epoch, batches)
        self.now = 0

    def epoch(self, epoch: int, batches_done: int) -> None:  # noqa: ARG002
        self.now = epoch

    def step(self, record: StepRecord) -> None:
        if self.place == (self.now, record.batches):
            os.kill(os.getpid(), self.number)

    def validation(self, batches_done: int) -> None:
        if self.place == (self.now, None) and batches_done == 1:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("straight", [{"epochs": 3}], indirect=True)
@pytest.mark.parametrize(
    ("number", "epoch", "batches"),
    [
        (signal.SIGINT, 1, 2),  # before there is any checkpoint
        (signal.SIGTERM, 2, 4),
        (signal.SIGINT, 2, 7),  # after the last step
        (signal.SIGHUP, 3, None),  # while validating
    ],
)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    few_digits: Path,
    tmp_path: Path,
    straight: Run,
    number: signal.Signals,
    epoch: int,
    batches: int | None,
) -> None:
    settings = {**EVERYTHING, "work_dir": str(tmp_path), "epochs": 3}
    with pytest.raises(Interrupted, match="go on with: pochi train --resume") as stop:
        train(tiny_config(few_digits, **settings), progress=Stopper(number, epoch=epoch, batches=batches))
    assert stop.value.signal_number == number
    run = find_run("latest", tmp_path)
    assert (run.status, run.record.reason) == ("interrupted", f"stopped by {number.name}")
    assert len(run.history) == epoch - 1
    torch.manual_seed(12345)
    resumed = resume(run, going_on(run, []))
    assert resumed.record.status == "finished"
    assert_same_run(straight, resumed)


def test_a_run_without_checkpoint_starts_again_in_its_directory(few_digits: Path, tmp_path: Path) -> None:
    straight = train(tiny_config(few_digits, work_dir=str(tmp_path)))
    killed = train(tiny_config(few_digits, work_dir=str(tmp_path)))
    for path in killed.layout.models.iterdir():
        path.unlink()
    record = json.loads(killed.layout.run_json.read_text())
    killed.layout.run_json.write_text(json.dumps({**record, "status": "running", "epochs_done": 0}))
    killed = find_run(killed.directory)
    resumed = resume(killed, going_on(killed, []))
    assert_same_run(straight, resumed)


def test_a_second_interrupt_stops_at_once(few_digits: Path, tmp_path: Path) -> None:
    class Impatient(SilentProgress):
        def step(self, record: StepRecord) -> None:  # noqa: ARG002
            os.kill(os.getpid(), signal.SIGINT)
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                # A library may turn it into an error of its own, as torch's writer of checkpoints does.
                raise RuntimeError("unexpected pos") from None

        def stop(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)  # a third one must not spoil the record

    with pytest.raises(Interrupted, match="stopped at once"):
        train(tiny_config(few_digits, work_dir=str(tmp_path)), progress=Impatient())
    run = find_run("latest", tmp_path)
    assert run.record.status == "interrupted"
    assert not run.layout.latest_model.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_full_disk_fails_the_run_and_keeps_what_was_there(few_digits: Path, tmp_path: Path) -> None:
    raw = tiny_raw(few_digits, work_dir=str(tmp_path / "runs"), epochs=3)
    code = f"""
import resource, signal
from pochi_cli.config.load import load_config, validate
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.engine.training import train
from pochi_cli.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def fill_the_disk(record):
    if record.epoch == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

try:
    train(validate({raw!r}), on_epoch=fill_the_disk)
except StorageError as error:
    print(error.message)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    run = find_run("latest", tmp_path / "runs")
    assert f"cannot write {run.layout.models}" in result.stdout
    assert run.record.status == "failed"
    assert "cannot write" in str(run.record.reason)
    assert [path.name for path in run.directory.rglob(".tmp-*")] == []
    assert checkpoint(run.layout.latest_model)["epoch"] == 1
    assert len(run.history) == len(rows(run)) == 1
    resumed = resume(run, going_on(run, []))
    assert len(resumed.history) == 3


def test_a_training_stopped_early_has_nothing_left_to_do(few_digits: Path, tmp_path: Path) -> None:
    stopping = {"enabled": True, "patience": 1, "min_delta": 90.0}
    settings: dict[str, Any] = {"work_dir": str(tmp_path), "epochs": 9, "early_stopping": stopping}
    straight = train(tiny_config(few_digits, **settings))

    def die(record: EpochRecord) -> None:
        if record.epoch == len(straight.history):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(tiny_config(few_digits, **settings), on_epoch=die)
    run = find_run("latest", tmp_path)
    resumed = resume(run, run.config)
    assert resumed.record.status == "finished"
    assert_same_run(straight, resumed)
    with pytest.raises(RunError, match="was stopped after epoch 2, before its last one"):
        resume(resumed, run.config.model_copy(update={"epochs": 20}))


def test_moved_data_are_the_same_data(few_digits: Path, tmp_path: Path) -> None:
    data = shutil.copytree(few_digits, tmp_path / "data")
    run = train(tiny_config(data, work_dir=str(tmp_path / "runs"), epochs=1))
    moved = data.rename(tmp_path / "moved")
    changes = ["epochs=2", f"train_data_root={moved / 'train'}", f"val_data_root={moved / 'val'}"]
    assert len(resume(run, going_on(run, changes)).history) == 2


class Bomb(SilentProgress):
    """Ends the training without a chance to save, and remembers where epochs began."""

    def __init__(self, *, epoch: int, batches: int) -> None:
        self.place = (epoch, batches)
        self.now = 0
        self.begun: list[tuple[int, int]] = []

    def epoch(self, epoch: int, batches_done: int) -> None:
        self.now = epoch
        self.begun.append((epoch, batches_done))

    def step(self, record: StepRecord) -> None:
        if self.place == (self.now, record.batches):
            raise ZeroDivisionError


def test_steps_between_saves_are_all_that_a_crash_costs(few_digits: Path, tmp_path: Path) -> None:
    settings = {**EVERYTHING, "work_dir": str(tmp_path), "epochs": 2}
    straight = train(tiny_config(few_digits, **settings))
    config = tiny_config(few_digits, **settings, checkpoint_every_steps=2)
    with pytest.raises(ZeroDivisionError):
        train(config, progress=Bomb(epoch=2, batches=6))
    crashed = find_run("latest", tmp_path)
    place = checkpoint(crashed.layout.latest_model)["sampler_state"]
    assert (place["epoch"], place["batches"], place["steps"]) == (2, 4, 2)
    progress = Bomb(epoch=0, batches=0)
    resumed = resume(crashed, going_on(crashed), progress=progress)
    assert progress.begun == [(2, 4)]
    assert "goes on in epoch 2, after batch 4" in resumed.layout.log.read_text()
    assert_same_run(straight, resumed)


def test_an_epochs_time_is_that_of_all_its_sessions(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(
            tiny_config(few_digits, work_dir=str(tmp_path), epochs=1),
            progress=Stopper(signal.SIGINT, epoch=1, batches=2),
        )
    run = find_run("latest", tmp_path)
    spent = run.record.duration_s
    assert spent > 0
    content = checkpoint(run.layout.latest_model)
    assert content["sampler_state"]["duration_s"] == pytest.approx(spent)
    content["sampler_state"]["duration_s"] += 1000
    torch.save(content, run.layout.latest_model)
    (record,) = resume(run, going_on(run)).history.classification
    assert 1000 + spent < record.duration_s < 1100
    assert record.samples_per_second == pytest.approx(65 / record.duration_s, rel=0.1)


@pytest.mark.parametrize("scheduler", [None, "StepLR"])
def test_more_epochs_tell_the_course_of_the_rate(
    few_digits: Path, tmp_path: Path, scheduler: str | None
) -> None:
    params = {"step_size": 1, "gamma": 0.1} if scheduler else None
    config = tiny_config(
        few_digits, work_dir=str(tmp_path), epochs=1, scheduler=scheduler, scheduler_params=params
    )
    run = train(config)
    resume(run, going_on(run, ["epochs=3"]))
    told = run.layout.log.read_text()
    assert "goes on in epoch 2, to epoch 3 instead of 1" in told
    expected = (
        "from 0.02 in epoch 1 to 0.0002 in epoch 3 (StepLR" if scheduler else "0.02 in epoch 3 (no scheduler)"
    )
    assert expected in told


def test_a_checkpoint_of_another_training_is_refused(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path)))
    other = train(tiny_config(few_digits, work_dir=str(tmp_path), learning_rate=0.01))
    shutil.copy(other.layout.latest_model, run.layout.latest_model)
    with pytest.raises(RunError, match=r"of a training with another config: learning_rate differs"):
        resume(run, going_on(run, ["epochs=3"]))


def test_a_run_writes_only_inside_its_directory(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1))
    config = going_on(run, ["epochs=2"])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    for path in (run.layout.log, run.layout.lock, run.layout.models, run.layout.visualization):
        kept = path.rename(tmp_path / "kept")
        path.symlink_to(outside if kept.is_dir() else outside / "file")
        with pytest.raises(StorageError, match="is a symbolic link"):
            resume(run, config)
        path.unlink()
        kept.rename(path)
    # A link in the place of a file that is written anew is replaced, not followed.
    for path in (run.layout.latest_model, run.layout.metrics_csv, run.layout.history_json):
        kept = path.rename(outside / path.name)
        path.symlink_to(kept)
    before = {path: path.read_bytes() for path in outside.iterdir()}
    assert len(resume(run, config).history) == 2
    assert {path: path.read_bytes() for path in outside.iterdir()} == before
    assert not run.layout.latest_model.is_symlink()


def test_a_lost_best_model_is_put_back_or_told(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=1))
    best = run.layout.best_model.read_bytes()
    run.layout.best_model.unlink()  # other names of the file keep it
    run.layout.best_model.write_bytes(best[:1000])
    longer = resume(run, going_on(run, ["epochs=2"]))
    assert "best_model.pth is damaged" in longer.layout.log.read_text()
    assert "it is put back from checkpoint_epoch_001.pth" in longer.layout.log.read_text()
    if longer.record.best_epoch == 1:
        assert longer.layout.best_model.read_bytes() == best
    for path in longer.layout.models.glob("[bc]*.pth"):
        path.unlink()
    resume(longer, going_on(longer, ["epochs=3"]))
    assert "and no other checkpoint is of its epoch" in longer.layout.log.read_text()


def test_half_a_line_in_the_log_stays_one(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=1))
    with run.layout.log.open("a") as file:
        file.write("2026-11-20 12:00:0")
    resume(run, going_on(run, ["epochs=2"]))
    lines = run.layout.log.read_text().splitlines()
    assert "2026-11-20 12:00:0" in lines
    assert all(line[:4].isdigit() and len(line) < 300 for line in lines)


@pytest.mark.parametrize(
    ("on_bad_image", "num_workers"), [("error", 1), pytest.param("skip", 0, marks=pytest.mark.slow)]
)
def test_data_that_vanish_fail_the_run_and_it_goes_on_when_they_are_back(
    few_digits: Path, tmp_path: Path, num_workers: int, on_bad_image: str
) -> None:
    data = shutil.copytree(few_digits, tmp_path / "data")
    away = tmp_path / "away"
    settings = {"work_dir": str(tmp_path / "runs"), "num_workers": num_workers, "on_bad_image": on_bad_image}
    settings["cache"] = "none"  # else nothing is missed

    def unmount(record: EpochRecord) -> None:
        if record.epoch == 1:
            data.rename(away)

    with pytest.raises(DataError, match=r"\.png: no such file or directory; the file was there when") as lost:
        train(tiny_config(data, **settings), on_epoch=unmount)
    assert "then resume the run" in str(lost.value.hint)
    run = find_run("latest", tmp_path / "runs")
    assert (run.status, run.record.epochs_done) == ("failed", 1)
    with pytest.raises(DataError, match="does not exist"):
        resume(run, going_on(run))
    away.rename(data)
    straight = train(tiny_config(data, **settings))
    assert_same_run(straight, resume(run, going_on(run)))
