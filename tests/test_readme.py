"""README's examples are true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_readme_names_every_example_config() -> None:
    for path in (ROOT / "configs").glob("*.toml"):
        assert f"`{path.stem}`" in README


def test_readme_commands_exist() -> None:
    commands = re.findall(r"^pochi ([a-z-]+)", README, re.MULTILINE)
    assert commands == [
        "data",
        "init",
        "validate-config",
        "train",
        "plot",
        "inspect",
        "inspect",
        "inspect",
        "migrate",
        "train",
        "train",
        "train",
        "infer",
        "infer",
        "plot",
        "report",
        "export",
        "optimize",
        "train",
        "plot",
        "train",
        "infer",
        "embed",
        "train",
        "inspect",
        "plot",
        "train",
        "inspect",
        "inspect",
        "inspect",
        "inspect",
        "inspect",
        "train",
        "runs",
        "runs",
        "runs",
        "runs",
        "runs",
        "plot",
    ]
    for command in set(commands):
        result = subprocess.run(
            [sys.executable, "-m", "pochi_cli", command, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr


def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    # The same lines on fewer epochs, in a place of their own.
    code = code.replace("epochs=3", "epochs=1").replace('"configs/', f'"{ROOT}/configs/')
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert (tmp_path / "work_dirs").is_dir()


def test_picture_is_there() -> None:
    (path,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert (ROOT / path).is_file()


def test_the_diagnostics_are_those_that_readme_shows(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```\n(error\[.*?)```", README, re.DOTALL)
    lines = [""] * 31
    lines[0] = 'learning_rate = 0.1\ntrain_data_root = "a"\ntrain_transform = [{ name = "ToTensor" }]'
    lines[3] = "num_classes = 4"
    lines[4] = "pretrained = false"
    lines[9] = "epoch = 30"
    lines[30] = "class_weights = [1.0, 2.0, 1.5]"
    text = "\n".join([lines[0], *lines[3:]])
    assert text.splitlines()[9] == "epoch = 30"
    (tmp_path / "my.toml").write_text(text)
    result = subprocess.run(
        [sys.executable, "-m", "pochi_cli", "validate-config", "my.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == f"{shown}\n2 errors, 0 warnings in my.toml\n"
