"""`pochi data`: its output, its errors and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.commands.cli import pochi, pochi_process
from tests.data.test_check import noise, plain


def test_digits(tmp_path: Path) -> None:
    result = pochi("data", "digits", "d", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "d").rglob("*.png"))) == 1797
    assert pochi("data", "digits", "d", cwd=tmp_path).returncode == 1


def test_check_of_healthy_data(few_digits: Path, tmp_path: Path) -> None:
    result = pochi("data", "check", few_digits, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "0 errors, 0 warnings in" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["images", "65", "30"] in lines
    assert ["height", "x", "width", "8", "x", "8", "(all)", "8", "x", "8", "(all)"] in lines
    assert ["3", "5", "5", "3.25"] in lines
    assert "Classes (4), the largest 5 times the smallest" in result.stdout


@pytest.mark.parametrize("columns", ["80", "140"])
def test_names_are_shown_as_they_are(tmp_path: Path, columns: str) -> None:
    names = ["猫とても長い名前のクラスです", "[red]b:dog:", "a\x1b[31m\nb", os.fsdecode(b"caf\xe9")]
    try:
        root = plain(tmp_path / "data", *(f"{name}/1.png" for name in names))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    result = pochi("data", "check", root, cwd=tmp_path, COLUMNS=columns)
    assert result.returncode == 0, result.stderr
    shown = result.stdout
    assert "\x1b" not in shown
    assert all(name in shown for name in (names[0], names[1], "a\\x1b[31m\\nb", "caf�"))
    values = json.loads(pochi("data", "check", root, "--json", cwd=tmp_path).stdout)
    assert {row["name"] for row in values["classes"]} == {*names[:3], "caf�"}


def test_of_many_classes_the_extremes_are_shown(tmp_path: Path) -> None:
    root = plain(tmp_path / "data", *(f"{i:03}/{j}.png" for i in range(100) for j in range(1 + i % 3)))
    shown = pochi("data", "check", root, cwd=tmp_path).stdout
    assert "Classes (100)" in shown
    assert "(84 classes between)" in shown
    listed = [int(line.split()[0]) for line in shown.splitlines() if line[:3].isdigit()]
    assert [1 + i % 3 for i in listed] == [3] * 8 + [1] * 8


def test_check_of_broken_data(tmp_path: Path) -> None:
    root = plain(tmp_path / "data", "train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png")
    (root / "train" / "a" / "empty.png").touch()
    shutil.copy(root / "train" / "a" / "1.png", root / "val" / "b")
    result = pochi("data", "check", "data", cwd=tmp_path)
    assert result.returncode == 1
    for part in ("bad-image", "data/train/a/empty.png: the file is empty", "1 of the 3 images in val is also",
                 "contradicting-labels", "1 error, 2 warnings"):  # fmt: skip
        assert part in result.stdout
    assert "Traceback" not in result.stderr
    assert ["images", "3", "3"] in [line.split() for line in result.stdout.splitlines()]

    result = pochi("data", "check", "data", "--json", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == ""
    values = json.loads(result.stdout)
    train, val = values["splits"]
    assert train["bad"] == [{"path": "data/train/a/empty.png", "reason": "the file is empty"}]
    assert (train["images"], val["images"]) == (3, 3)
    assert train["sizes"]["median"] == [8, 8]
    assert values["classes"] == [
        {"name": "a", "images": {"train": 2, "val": 1}},
        {"name": "b", "images": {"train": 1, "val": 2}},
    ]
    assert values["class_weights"] == [0.75, 1.5]
    assert values["duplicates"] == [
        [
            {"split": "train", "class_name": "a", "path": "data/train/a/1.png"},
            {"split": "val", "class_name": "b", "path": "data/val/b/1.png"},
        ]
    ]
    assert [finding["code"] for finding in values["diagnostics"]] == [
        "bad-image", "duplicate-images", "contradicting-labels",
    ]  # fmt: skip
    assert [note["message"] for note in values["diagnostics"][0]["notes"]] == [
        "data/train/a/empty.png: the file is empty"
    ]


def test_a_warning_alone_is_no_failure(tmp_path: Path) -> None:
    root = plain(tmp_path / "data", "a/1.png", "b/2.png", "loose.png")
    result = pochi("data", "check", root, cwd=tmp_path)
    assert result.returncode == 0
    assert "0 errors, 1 warning" in result.stdout


def test_images_without_classes(tmp_path: Path) -> None:
    result = pochi("data", "check", ".", cwd=plain(tmp_path / "all", "1.png", "2.png"))
    assert result.returncode == 1
    assert "error[no-classes]" in result.stdout
    assert [line.split() for line in result.stdout.splitlines()[3:6]] == [
        ["images", "0"],
        ["classes", "0"],
        ["images", "in", "no", "class", "2"],
    ]
    assert "Classes" not in result.stdout


def test_terminal_that_does_not_speak_utf8(tmp_path: Path) -> None:
    root = plain(tmp_path / "data", "猫/1.png", "dog/2.png")
    result = pochi_process("data", "check", root, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "\\u732b" in result.stdout


def test_missing_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = pochi("data", "check", "date", cwd=tmp_path)
    assert result.returncode == 1
    assert "error: date does not exist" in result.stderr
    assert "did you mean data?" in result.stderr
    assert result.stdout == ""


def test_interruption_is_130_without_a_traceback(tmp_path: Path) -> None:
    large = noise(tmp_path / "a" / "0.png", 0, (1500, 1500))
    (tmp_path / "b").mkdir()
    for i in range(1, 2000):  # it would take minutes
        (tmp_path / "ab"[i % 2] / f"{i}.png").hardlink_to(large)
    terminal, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pochi_cli", "data", "check", tmp_path],
        stdout=subprocess.PIPE,
        stderr=child,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(child)
    told = b""
    while b"/2000" not in told:
        told += os.read(terminal, 1000)
    assert b"decoding images" in told
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    with suppress(OSError):  # what Linux says at the end of a terminal
        while more := os.read(terminal, 1000):
            told += more
    os.close(terminal)
    assert process.returncode == 130
    assert shown == b""
    assert b"Traceback" not in told
