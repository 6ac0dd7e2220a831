from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pochi_cli.data import digits as module
from pochi_cli.data.digits import cache_directory, digits_root, write_digits
from pochi_cli.errors import DataError, StorageError


def test_every_digit_is_there_once(digits: Path) -> None:
    values, labels = load_digits(return_X_y=True)
    files = {path.stem: path for path in digits.rglob("*.png")}
    assert len(files) == len(list(digits.rglob("*.png"))) == 1797
    for number in range(0, 1797, 100):
        path = files[f"{number:04d}"]
        assert path.parent.name == str(labels[number])
        with Image.open(path) as image:
            assert image.mode == "L"
            expected = np.floor(values[number].reshape(8, 8) * 255 / 16 + 0.5)
            assert np.abs(np.asarray(image) - expected).max() <= 1


def test_split_is_stratified_and_seeded(digits: Path, tmp_path: Path) -> None:
    count = write_digits(tmp_path / "again")
    assert count.train + count.val == 1797
    for digit in range(10):
        train, val = (
            len(list((tmp_path / "again" / part / str(digit)).iterdir())) for part in ("train", "val")
        )
        assert val == round(0.2 * (train + val))
    names = [
        sorted(str(p.relative_to(root)) for p in root.rglob("*.png")) for root in (digits, tmp_path / "again")
    ]
    assert names[0] == names[1]
    write_digits(tmp_path / "other", seed=1, val_fraction=0.5)
    other = sorted(
        str(p.relative_to(tmp_path / "other")) for p in (tmp_path / "other" / "val").rglob("*.png")
    )
    assert 890 < len(other) < 907


def test_target_must_be_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    write_digits(Path())
    assert sorted(path.name for path in Path().iterdir()) == ["train", "val"]
    with pytest.raises(DataError, match="mine exists and is not empty"):
        write_digits(tmp_path / "mine")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(DataError, match="file exists"):
        write_digits(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Image.Image.save

    def full(self: Image.Image, path: Path) -> None:  # a full disk after some files
        if path.name == "0500.png":
            raise OSError(28, "No space left on device")
        saved(self, path)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(StorageError, match=r"digits: No space left on device"):
        write_digits(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=str(tmp_path / "file" / "digits")):
        write_digits(tmp_path / "file" / "digits")


def test_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("POCHI_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == tmp_path / ".cache" / "pochi"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory() == tmp_path / ".cache" / "pochi"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "pochi"
    monkeypatch.setenv("POCHI_CACHE_DIR", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


def test_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = digits_root(tmp_path)
    assert root == tmp_path / "digits"

    def never(*_: object) -> None:
        raise AssertionError("written twice")

    monkeypatch.setattr(module, "write_digits", never)
    assert digits_root(tmp_path) == root


@pytest.mark.slow
def test_two_processes_at_once(tmp_path: Path) -> None:
    code = "from pochi_cli.data.digits import digits_root; digits_root()"
    environment = {**os.environ, "POCHI_CACHE_DIR": str(tmp_path)}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    assert len(list(tmp_path.rglob("*.png"))) == 1797
