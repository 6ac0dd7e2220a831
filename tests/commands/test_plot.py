"""`pochi plot gradients` as a user meets it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pochi_cli.plots.gradients import GRADIENT_FIGURES
from tests.commands.cli import pochi
from tests.commands.test_imports import imported_by


def test_plot_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pochi_cli.display._PLAIN_INTERVAL_S", math.inf)  # however busy the machine is
    (tmp_path / "t.csv").write_text("epoch,model.conv1.weight,model.fc.weight\n0,1,2\n5,0,inf\n")
    result = pochi("plot", "gradients", "t.csv", "--output-dir", "new/pictures", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    written = [f"new/pictures/gradient_trace_{kind}.png" for kind in GRADIENT_FIGURES]
    assert result.stdout.splitlines() == written
    assert result.stderr == ""
    assert sorted(path.name for path in (tmp_path / "new" / "pictures").iterdir()) == sorted(
        Path(path).name for path in written
    )
    (tmp_path / "t.csv").write_text("epoch,a\n1,x\n")
    refused = pochi("plot", "gradients", "t.csv", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "t.csv is not a gradient trace: row 2, column 2 (a) is 'x', not a number" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_plot_gradients_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("epoch,a\n1,1\n")
    assert not imported_by("plot", "gradients", str(tmp_path / "t.csv")) & {"torch", "torchvision", "sklearn"}
