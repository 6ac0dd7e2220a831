"""Files are there whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pochi_cli.errors import StorageError
from pochi_cli.runs.atomic import atomic_writer, remove_leftovers, write_json, write_text


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_replaces_the_old_one_and_is_readable_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "näw\n")
    assert (tmp_path / "a.txt").read_bytes() == "näw\n".encode()
    assert names(tmp_path) == ["a.txt", "plain"]
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert len(modes) == 1


def test_what_fails_in_between_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_writer(tmp_path / "a.txt") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_disk_that_became_read_only_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]))

    path = tmp_path / "a.txt"
    write_text(path, "old")
    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(StorageError, match=r"a\.txt: Read-only file system"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = f"""
import resource, signal
from pathlib import Path
from pochi_cli.errors import StorageError
from pochi_cli.runs.atomic import write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(Path({str(path)!r}), "x" * 5000)
except StorageError as error:
    print(error.message)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == f"cannot write {path}: File too large\n"
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_missing_directory_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        write_text(tmp_path / "nowhere" / "a.txt", "")


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"values": [1.5, math.nan, math.inf], "名前": None})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(path.read_text("utf-8"), parse_constant=refuse)


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / ".tmp-latest.pth-12").write_text("half")
    (tmp_path / "models" / "latest.pth").write_text("whole")
    remove_leftovers(tmp_path)
    assert names(tmp_path / "models") == ["latest.pth"]
