"""What starts quickly must not import what starts slowly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.migration.guide import file
from tests.runs.fake import history, make_run

CONFIGS = Path(__file__).parent.parent.parent / "configs"
HEAVY = {"torch", "torchvision", "numpy", "optuna", "matplotlib", "plotly", "sklearn", "tensorboard", "PIL"}


def imported_by(*arguments: str) -> set[str]:
    code = f"""
import sys
sys.argv = ["pochi", *{list(arguments)!r}]
from pochi_cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("IMPORTED", *sys.modules, *{{name.split(".")[0] for name in sys.modules}})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition("IMPORTED ")[2].split())


def test_help_imports_hardly_anything() -> None:
    assert not imported_by("--help") & (HEAVY | {"pydantic"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--help"),
        ("plot", "metrics", "--help"),
        ("plot", "gradients", "--help"),
        ("inspect", "gradients", "--help"),
        ("data", "check", "--help"),
        ("infer", "--help"),
        ("report", "--help"),
        ("export", "--help"),
        ("optimize", "--help"),
        ("plot", "study", "--help"),
    ],
)
def test_help_of_a_command_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not imported_by(*arguments) & HEAVY


@pytest.mark.parametrize("name", ["layerwise", "search_digits"])
def test_validate_config_imports_no_torch(name: str) -> None:
    assert not imported_by("validate-config", str(CONFIGS / f"{name}.toml")) & HEAVY


@pytest.mark.parametrize("arguments", [("schema",), ("schema", "--format", "markdown"), ("init",)])
def test_schema_and_init_import_no_torch(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not imported_by(*arguments) & HEAVY


def test_data_check_imports_what_decodes_and_no_more(few_digits: Path) -> None:
    assert imported_by("data", "check", str(few_digits)) & HEAVY == {"numpy", "PIL"}


def test_runs_are_listed_without_what_reads_configs(tmp_path: Path) -> None:
    for _ in range(2):
        make_run(tmp_path, history(90.0))
    work_dir = ("--work-dir", str(tmp_path))
    slow = HEAVY | {
        "pochi_cli.config.base",
        "pochi_cli.config.root",
    }  # newer typers bring pydantic themselves
    for arguments in (("runs",), ("runs", "--json"), ("runs", "compare", "20261120_001", "20261120_002")):
        assert not imported_by(*arguments, *work_dir) & slow
    assert not imported_by("runs", "show", *work_dir) & HEAVY


def test_a_confusion_matrix_is_drawn_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(",a,b\na,3,1\nb,0,2\n")
    assert not imported_by("plot", "confusion", str(path)) & {"torch", "torchvision", "sklearn"}


def test_migrate_imports_no_torch(tmp_path: Path) -> None:
    old = tmp_path / "old.py"
    old.write_text(file(), "utf-8")
    imported = imported_by("migrate", str(old))
    assert not imported & HEAVY
    assert "tomllib" in imported


def test_version_imports_hardly_anything() -> None:
    assert not imported_by("--version") & (HEAVY | {"pydantic"})
