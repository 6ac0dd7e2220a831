"""`pochi inspect all`, as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pochi_cli.engine.training import train
from pochi_cli.runs.index import Run
from tests.commands.cli import pochi
from tests.engine.vectors import vector_config, write_vectors


def test_everything_that_applies_in_one_object(own_run: Run, tmp_path: Path) -> None:
    before = own_run.layout.best_model.read_bytes()
    result = pochi("inspect", "all", "--json", "--output-dir", "pictures", "--strict", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert list(shown) == ["model", "activations", "attention", "gradients", "monitor"]
    assert all("findings" in part for part in shown.values())
    assert shown["attention"]["has_attention"] is False
    assert own_run.layout.best_model.read_bytes() == before
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {
        "activations.png", "gradient_flow.png", "model_structure.png", "parameter_distribution.png",
        "saliency.png", "training_monitor.png",
    }  # fmt: skip


def test_an_encoder_has_no_attention_part(tmp_path: Path) -> None:
    train(vector_config(write_vectors(tmp_path), epochs=2, work_dir=str(tmp_path / "work_dirs")))
    result = pochi("inspect", "all", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    headings = [line for line in result.stdout.splitlines() if line.startswith("── ")]
    assert headings == ["── model ──", "── activations ──", "── gradients ──", "── monitor ──"]


def test_what_cannot_be_inspected_is_told_and_the_rest_goes_on(own_run: Run, tmp_path: Path) -> None:
    shutil.rmtree(own_run.layout.models)
    result = pochi("inspect", "all", "--json", cwd=tmp_path)
    assert result.returncode == 1
    shown = json.loads(result.stdout)
    for name in ("model", "activations", "attention", "gradients"):
        assert set(shown[name]) == {"obstacle"}
        assert shown[name]["obstacle"] in result.stderr
    assert shown["monitor"]["findings"] == []
