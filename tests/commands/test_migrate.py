"""`pochi migrate` as a user meets it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.commands.cli import pochi
from tests.migration.guide import BASE, HARDWARE, file

LACKING = "epochs = 3\n"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "pochi_train_config.py"
    path.write_text(file(), "utf-8")
    return path


def test_toml_goes_to_stdout(old: Path, tmp_path: Path) -> None:
    result = pochi("migrate", old, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert tomllib.loads(result.stdout) == BASE


def test_output_writes_a_new_file_that_is_valid(old: Path, tmp_path: Path) -> None:
    result = pochi("migrate", old, "--output", "new.toml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "wrote new.toml; next: pochi validate-config new.toml\n"
    assert tomllib.loads((tmp_path / "new.toml").read_text("utf-8")) == BASE
    assert pochi("validate-config", "new.toml", cwd=tmp_path).returncode == 0


def test_an_existing_file_is_kept(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.toml"
    new.write_text("mine")
    result = pochi("migrate", old, "-o", new, cwd=tmp_path)
    assert result.returncode == 1
    assert f"{new} exists already" in result.stderr
    assert new.read_text() == "mine"
    assert pochi("migrate", old, "-o", old, cwd=tmp_path).returncode == 1
    assert old.read_text("utf-8") == file()


@pytest.mark.parametrize("output", ["none/new.toml", "."])
def test_a_file_that_cannot_be_written_is_told(old: Path, tmp_path: Path, output: str) -> None:
    result = pochi("migrate", old, "--output", output, cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


def test_warnings_go_to_stderr_and_fail_nothing(old: Path, tmp_path: Path) -> None:
    old.write_text(file(HARDWARE), "utf-8")
    result = pochi("migrate", old, cwd=tmp_path)
    assert result.returncode == 0
    assert "warning[dropped-key]" in result.stderr
    assert "0 errors, 4 warnings" in result.stderr
    assert tomllib.loads(result.stdout) == BASE | {"device": "cuda"}


def test_a_config_that_lacks_something_is_written_and_fails(old: Path, tmp_path: Path) -> None:
    old.write_text(LACKING)
    result = pochi("migrate", old, "--output", "new.toml", cwd=tmp_path)
    assert result.returncode == 1
    assert "new.toml" in result.stderr
    assert "`learning_rate` is missing" in result.stderr
    assert tomllib.loads((tmp_path / "new.toml").read_text("utf-8")) == {"epochs": 3}
    result = pochi("migrate", old, cwd=tmp_path)
    assert result.returncode == 1
    assert tomllib.loads(result.stdout) == {"epochs": 3}


@pytest.mark.parametrize("content", [b"epochs = ", b"\xff", b"a\0"])
def test_a_file_that_is_no_python_is_told(old: Path, tmp_path: Path, content: bytes) -> None:
    old.write_bytes(content)
    result = pochi("migrate", old, "--output", "new.toml", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert str(old) in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "new.toml").exists()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    result = pochi("migrate", "none.py", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "there is no such file" in result.stderr


def test_stdout_is_the_file_to_the_byte(old: Path, tmp_path: Path) -> None:
    old.write_text('work_dir = ":fire: [bold]作業"  # a\tb\n', "utf-8")
    with (tmp_path / "new.toml").open("wb") as new:
        subprocess.run(
            [sys.executable, "-m", "pochi_cli", "migrate", old],
            stdout=new,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONIOENCODING": "shift_jis"},
            cwd=tmp_path,
            check=False,
        )
    text = (tmp_path / "new.toml").read_text("utf-8")
    assert text.splitlines()[-1] == 'work_dir = ":fire: [bold]作業"  # a b'


def test_a_full_disk_is_told(old: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "pochi_cli", "migrate", old],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == "error: cannot write the result: No space left on device\n"
