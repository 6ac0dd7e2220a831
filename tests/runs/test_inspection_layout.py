"""Pictures of inspections have one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pochi_cli.errors import StorageError
from pochi_cli.runs.inspection_layout import InspectionLayout, choose_directory
from tests.runs.fake import make_run


def test_they_go_where_one_says_or_into_the_run_or_beside_the_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path / "work_dirs")
    weights = tmp_path / "elsewhere" / "model.pth"
    assert choose_directory(tmp_path / "new", run.layout, weights).directory == tmp_path / "new"
    assert choose_directory(None, run.layout, weights).directory == run.layout.visualization
    assert run.layout.visualization.is_dir()
    assert choose_directory(None, None, weights).directory == tmp_path / "elsewhere"


def test_a_run_writes_only_into_its_own_directory(tmp_path: Path) -> None:
    run = make_run(tmp_path / "work_dirs")
    run.layout.visualization.rmdir()
    run.layout.visualization.symlink_to(tmp_path)
    with pytest.raises(StorageError, match="is a symbolic link"):
        choose_directory(None, run.layout, run.layout.best_model)


def test_names_of_layers_and_heads() -> None:
    layout = InspectionLayout(Path("pictures"))
    assert layout.attention_pattern("layers.0.attn#2", None).name == "attention_layers.0.attn#2_mean.png"
    assert layout.attention_pattern("a/../b c", 3).name == "attention_a_.._b_c_head_3.png"
    assert layout.attention_flow("x", 1).name == "attention_x_flow_head_1.png"
