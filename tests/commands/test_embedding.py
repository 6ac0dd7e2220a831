"""The commands with an encoder of vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from pochi_cli.runs.index import find_run
from tests.commands.cli import pochi
from tests.engine.vectors import make_vectors, vector_raw, write_vectors


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Holds vectors and a config."""
    raw = vector_raw(write_vectors(tmp_path), save_interval=4, epochs=3, work_dir=None)
    (tmp_path / "encoder.toml").write_text(tomli_w.dumps(raw))
    return tmp_path


def test_from_vectors_to_latents(home: Path) -> None:
    options = "--tau 0.5 --lr 0.01 --loss-function DPLossV2Norm --latent-dim 3 --epochs 2 --batch-size 50"
    trained = pochi("train", "encoder.toml", *options.split(), "--save-interval", "1", cwd=home)
    assert trained.returncode == 0, trained.stderr
    for line in (
        "epochs = 2 by --epochs, instead of 3 in the file",
        "tau = 0.5 by --tau, instead of 0.3 in the file",
        "learning_rate = 0.01 by --lr, instead of 0.001 by default",
        'loss_function = "DPLossV2Norm" by --loss-function, instead of "DPLossV2" by default',
    ):
        assert line in trained.stderr
    run = find_run("latest", home / "work_dirs")
    assert f"experiment {run.record.experiment_id}" in trained.stderr
    assert 'loss DPLossV2Norm, tau = 0.5, tau_mode = "relative"' in trained.stderr
    assert "pairdist" in trained.stderr
    assert ", of principal components" in " ".join(trained.stdout.split())
    config = json.loads(run.layout.config_json.read_text())
    chosen = {key: config[key] for key in ("epochs", "tau", "learning_rate", "latent_dim", "batch_size")}
    assert chosen == {"epochs": 2, "tau": 0.5, "learning_rate": 0.01, "latent_dim": 3, "batch_size": 50}
    assert len(run.layout.numbered_checkpoints()) == 2
    assert run.layout.metrics_figure("experiment").exists()

    encoded = pochi("embed", "latest", "vectors.npy", "latents.npy", "--json", cwd=home)
    assert encoded.returncode == 0, encoded.stderr
    assert json.loads(encoded.stdout)["rows"] == 200
    assert np.load(home / "latents.npy").shape == (200, 3)

    judged = pochi("infer", "latest", "--json", cwd=home)
    assert judged.returncode == 0, judged.stderr
    found = json.loads(judged.stdout)
    assert found["recalls"]["encoder"]["recall_at_5"] == run.record.best_value
    shown = pochi("infer", "latest", "--data", "vectors.npy", cwd=home)
    assert shown.returncode == 0, shown.stderr
    assert "principal components" in shown.stdout
    wrong = pochi("infer", "latest", "--set", "batch_size=3", cwd=home)
    assert wrong.returncode == 2


def test_the_environment_stands_between_command_line_and_file(home: Path) -> None:
    trained = pochi("train", "encoder.toml", cwd=home, SAVE_INTERVAL="2")
    assert trained.returncode == 0, trained.stderr
    assert "save_interval = 2 by SAVE_INTERVAL=2, instead of 4 in the file" in trained.stderr
    assert set(find_run("latest", home / "work_dirs").layout.numbered_checkpoints()) == {2, 3}
    trained = pochi("train", "encoder.toml", "--save-interval", "1", cwd=home, SAVE_INTERVAL="2")
    assert "by --save-interval, instead of 4 in the file" in trained.stderr
    assert "SAVE_INTERVAL=2" not in trained.stderr
    assert set(find_run("latest", home / "work_dirs").layout.numbered_checkpoints()) == {1, 2, 3}
    refused = pochi("train", "encoder.toml", cwd=home, SAVE_INTERVAL="often")
    assert refused.returncode == 1
    assert 'save_interval is "often"' in refused.stderr


def test_bad_vectors_are_told_before_anything_is_written(home: Path) -> None:
    values = make_vectors()
    values[[4, 40]] = np.nan
    np.save(home / "vectors.npy", values)
    for command in (["train", "encoder.toml"], ["validate-config", "encoder.toml", "--data"]):
        refused = pochi(*command, cwd=home)
        assert refused.returncode == 1
        assert "2 rows hold NaN or infinity: 4, 40" in refused.stderr + refused.stdout
        assert "Traceback" not in refused.stderr
    (home / "vectors.npy").unlink()
    refused = pochi("train", "encoder.toml", cwd=home)
    assert refused.returncode == 1
    assert "error[unreadable-file]" in refused.stderr
    assert "encoder.toml:2:" in refused.stderr
    assert not (home / "work_dirs").exists()


def test_the_plan_with_and_without_the_data(home: Path) -> None:
    plain = pochi("validate-config", "encoder.toml", cwd=home)
    assert plain.returncode == 0, plain.stderr
    assert "the vectors' dimensions > 16 > 4" in plain.stdout
    known = pochi("validate-config", "encoder.toml", "--data", "--format", "json", cwd=home)
    plan = json.loads(known.stdout)["plan"]
    assert (plan["task"], plan["dim"], plan["steps"]["steps_per_epoch"]) == ("embedding", 12, 5)
    # projection 12*4 + 4, hidden 12*16 + 16, head 16*4 + 4
    assert plan["parameters"] == 52 + 208 + 68


def test_a_run_goes_on(home: Path) -> None:
    assert pochi("train", "encoder.toml", cwd=home).returncode == 0
    resumed = pochi("train", "--resume", "latest", "--epochs", "5", cwd=home)
    assert resumed.returncode == 0, resumed.stderr
    run = find_run("latest", home / "work_dirs")
    assert (run.record.epochs_done, run.record.status) == (5, "finished")
    refused = pochi("train", "--resume", "latest", "--set", "epochs=6", "--tau", "1.0", cwd=home)
    assert refused.returncode == 1
    assert "tau was 0.3 when" in refused.stderr
    twice = pochi("train", "encoder.toml", "--tau", "1.0", "--set", "tau=2.0", cwd=home)
    assert twice.returncode == 2
    options = ["--epochs", "3", "--set", "save_interval=2"]
    same = pochi("train", "encoder.toml", *options, cwd=home, SAVE_INTERVAL="1")
    assert "--epochs" not in same.stderr
    assert "save_interval = 2 by --set, instead of 4 in the file" in same.stderr
    report = pochi("report", "latest", cwd=home)
    assert report.returncode == 0, report.stderr
    page = find_run("latest", home / "work_dirs").layout.report.read_text("utf-8")
    assert "of principal components" in page
