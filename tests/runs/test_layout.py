"""Directories of runs: numbered, made atomically."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from pochi_cli.errors import StorageError
from pochi_cli.runs.layout import create_run_directory

NOW = datetime(2026, 11, 20, 12, 30, 5)


def test_names_and_parts(tmp_path: Path) -> None:
    layout = create_run_directory(tmp_path / "new" / "runs", NOW)
    assert layout.name == "20261120_001"
    assert layout.models.is_dir()
    assert layout.metrics_csv == layout.visualization / "training_metrics_20261120_123005.csv"
    assert layout.metrics_figure("loss").name == "training_metrics_20261120_123005_loss.png"
    assert layout.checkpoint(5).name == "checkpoint_epoch_005.pth"
    assert layout.checkpoint(1234).name == "checkpoint_epoch_1234.pth"


def test_numbers_go_on_past_999_and_heed_only_their_day(tmp_path: Path) -> None:
    for name in ("20261120_999", "20261119_5000", "20261120_x", "notes"):
        (tmp_path / name).mkdir()
    assert create_run_directory(tmp_path, NOW).name == "20261120_1000"
    assert create_run_directory(tmp_path, NOW).name == "20261120_1001"


def test_processes_at_once_get_directories_of_their_own(tmp_path: Path) -> None:
    code = f"""
from datetime import datetime
from pathlib import Path
from pochi_cli.runs.layout import create_run_directory
for _ in range(25):
    print(create_run_directory(Path({str(tmp_path)!r}), datetime(2026, 11, 20)).name)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    names = [name for process in processes for name in process.communicate()[0].split()]
    assert sorted(names) == [f"20261120_{number:03d}" for number in range(1, 201)]


def test_an_impossible_place_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make a run directory"):
        create_run_directory(tmp_path / "file" / "runs", NOW)
