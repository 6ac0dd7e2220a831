"""Checkpoints are whole or not there, and never run code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pochi_cli.engine.checkpoint import FORMAT_VERSION, copy_checkpoint, load_checkpoint, save_checkpoint
from pochi_cli.errors import RunError, StorageError

CONTENT = {"format_version": FORMAT_VERSION, "weights": torch.arange(5.0)}


def test_every_name_gets_the_whole_checkpoint(tmp_path: Path) -> None:
    best, latest = tmp_path / "best.pth", tmp_path / "latest.pth"
    save_checkpoint(CONTENT, [best, latest])
    save_checkpoint({**CONTENT, "weights": torch.zeros(5)}, [latest])
    assert torch.equal(load_checkpoint(best)["weights"], torch.arange(5.0))
    assert torch.equal(load_checkpoint(latest)["weights"], torch.zeros(5))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pth", "latest.pth"]


def test_without_hard_links_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    save_checkpoint(CONTENT, [tmp_path / "a.pth", tmp_path / "b.pth"])
    assert torch.equal(load_checkpoint(tmp_path / "b.pth")["weights"], torch.arange(5.0))


def test_a_disk_that_became_read_only_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]))

    save_checkpoint(CONTENT, [tmp_path / "a.pth"])
    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(StorageError, match=r"b\.pth: Read-only file system"):
        copy_checkpoint(tmp_path / "a.pth", tmp_path / "b.pth")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "latest.pth"
    save_checkpoint(CONTENT, [path])
    # The limit on a file's size makes the write fail as a full disk does, also for root.
    code = f"""
import resource, signal, torch
from pathlib import Path
from pochi_cli.engine.checkpoint import save_checkpoint
from pochi_cli.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint({{"weights": torch.zeros(1_000_000)}}, [Path({str(path)!r})])
except StorageError as error:
    print(error.message)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"cannot write {path}: File too large" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["latest.pth"]
    assert torch.equal(load_checkpoint(path)["weights"], torch.arange(5.0))


def test_an_unwritable_place_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        save_checkpoint(CONTENT, [tmp_path / "file" / "latest.pth"])


class Payload:
    """Unpickling this would make a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickled_code_is_refused_and_never_runs(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    torch.save({"format_version": 1, "x": Payload(trace)}, path)
    with pytest.raises(RunError, match="more than tensors"):
        load_checkpoint(path)
    assert not trace.exists()


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latest.pth"
    with pytest.raises(RunError, match="there is no checkpoint"):
        load_checkpoint(path)
    save_checkpoint(CONTENT, [path])
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not a checkpoint", os.urandom(5000)):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=f"{path} is damaged"):
            load_checkpoint(path)
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(RunError, match="not a checkpoint of Pochi"):
        load_checkpoint(path)
    torch.save({"format_version": FORMAT_VERSION + 1}, path)
    with pytest.raises(RunError, match="has format 2"):
        load_checkpoint(path)
