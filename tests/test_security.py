"""Nothing that a file holds is ever executed, and nothing is written outside the run."""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from pochi_cli.engine.checkpoint import load_checkpoint
from pochi_cli.engine.training import resume, train
from pochi_cli.errors import ModelError, RunError
from pochi_cli.runs.continuation import continued_config
from pochi_cli.runs.index import find_run
from tests.engine.tiny import tiny_config
from tests.engine.trained import going_on

NAMES = ("=cmd|' C calc'!A0", "<img src=x onerror=alert(1)>", "$(touch trace)`touch trace`;", "a,b'c\"d")
"""What a spreadsheet, a browser, a shell and a careless CSV writer would stumble over."""


class Payload:
    """Unpickling this would make a directory."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def _bare(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def _legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _tar(content: object, path: Path) -> None:
    """As torch wrote before version 0.1.10, with a member that climbs out of the directory."""
    inner = path.with_suffix(".inner")
    _bare(content, inner)
    with tarfile.open(path, "w") as archive:
        for name in ("pickle", "storages", "tensors", "../trace"):
            archive.add(inner, name)
    inner.unlink()


FORMATS: dict[str, Callable[[object, Path], object]] = {
    "zip": torch.save,
    "legacy": _legacy,
    "bare pickle": _bare,
    "tar": _tar,
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_malicious_checkpoint_is_refused_and_its_payload_does_not_run(
    few_digits: Path, tmp_path: Path, form: str
) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1))
    config = going_on(run, ["epochs=2"])
    trace = tmp_path / "trace"
    content = torch.load(run.layout.latest_model, weights_only=True)
    FORMATS[form]({**content, "train_history": Payload(trace)}, run.layout.latest_model)
    with pytest.raises(RunError, match=r"latest_model\.pth is (refused|damaged)"):
        resume(run, config)
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"]
    with suppress(Exception):  # whether the rest can be read does not matter
        torch.load(run.layout.latest_model, weights_only=False)
    # The archive that climbs out of its directory is refused by newer versions of Python themselves.
    assert trace.exists() or form == "tar", "the payload was harmless, the test shows nothing"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_malicious_weights_are_refused_and_their_payload_does_not_run(
    few_digits: Path, tmp_path: Path, form: str, name: str
) -> None:
    weights, trace = tmp_path / name, tmp_path / "trace"
    FORMATS[form]({"fc.weight": torch.zeros(4, 512), "x": Payload(trace)}, weights)
    config = tiny_config(few_digits, work_dir=str(tmp_path), pretrained=None, weights=str(weights))
    with pytest.raises(ModelError, match=name):
        train(config)
    assert list(tmp_path.iterdir()) == [weights]


def test_names_are_only_names(few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data; touch trace"
    for part in ("train", "val"):
        for name, label in zip(NAMES, "0123", strict=True):
            shutil.copytree(few_digits / part / label, data / part / name)
    monkeypatch.chdir(tmp_path)
    work_dir = "$(touch trace) `touch trace`; touch trace"
    run = train(tiny_config(data, work_dir=work_dir, epochs=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([data.name, work_dir])
    assert json.loads(run.layout.run_json.read_text())["class_names"] == sorted(NAMES)
    with run.layout.metrics_csv.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


@pytest.mark.parametrize("name", ["latest_model.pth", "weights.pth"])
def test_an_archive_that_grows_is_refused(few_digits: Path, tmp_path: Path, name: str) -> None:
    bomb = tmp_path / name
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    assert bomb.stat().st_size < 100_000
    if name == "weights.pth":
        config = tiny_config(few_digits, work_dir=str(tmp_path), pretrained=None, weights=str(bomb))
        with pytest.raises(ModelError, match="parts of it are compressed"):
            train(config)
    else:
        with pytest.raises(RunError, match="parts of it are compressed"):
            load_checkpoint(bomb)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_has_no_end_is_never_read(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1))
    config = going_on(run, ["epochs=2"])
    layout = run.layout
    for path, read in (
        (layout.latest_model, lambda: resume(run, config)),
        (layout.config_json, lambda: continued_config(run, config)),
        (layout.config_toml, lambda: find_run(run.directory).config),
        (layout.history_json, lambda: run.history),
        (layout.run_json, lambda: find_run(run.directory)),
    ):
        kept = path.rename(tmp_path / "kept")
        for make in (os.mkfifo, lambda link: link.symlink_to("/dev/zero")):
            make(path)
            with pytest.raises(RunError, match=rf"{path.name} is damaged: it is no regular file"):
                read()
            path.unlink()
        kept.rename(path)


def test_other_names_of_the_log_keep_what_they_have(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1))
    backup = tmp_path / "backup.log"
    os.link(run.layout.log, backup)
    before = backup.read_bytes()
    resume(run, going_on(run, ["epochs=2"]))
    assert backup.read_bytes() == before
    assert run.layout.log.read_bytes().startswith(before)
    assert b"epoch 2, train loss" in run.layout.log.read_bytes()
