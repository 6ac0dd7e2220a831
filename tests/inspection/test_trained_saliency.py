"""On trained models of digits the maps tell what the network needs: slow, for they are trained first."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev

import pytest

from pochi_cli import api
from pochi_cli.inspection.run_attention import inspect_attention
from tests.engine.tiny import tiny_config

CONFIGS = Path(__file__).parents[2] / "configs"
IMAGES = 40


def gains(directory: Path, digits: Path, method: str) -> list[float]:
    """How much better the map of a method is than random ones, for each of some validation images."""
    loaded = api.load_model(directory)
    files = sorted((digits / "val").rglob("*.png"))
    report = inspect_attention(loaded, files[:: len(files) // IMAGES])
    measured = [one.faithfulness for image in report.images for one in image.maps if one.method == method]
    assert len(measured) >= IMAGES
    return [one.score - fmean(one.random_scores) for one in measured if one is not None]


def assert_better_than_chance(found: list[float]) -> None:
    assert fmean(found) > 4 * stdev(found) / len(found) ** 0.5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_rollout_of_the_transformer(digits: Path, tmp_path: Path) -> None:
    config = api.load_config(CONFIGS / "vit_digits.toml", [f"work_dir={str(tmp_path)!r}", "device=cpu"])
    run = api.train(config)
    assert run.record.best_value is not None
    assert run.record.best_value >= 97
    assert_better_than_chance(gains(run.directory, digits, "attention rollout"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_grad_cam_of_the_convolutional_network(digits: Path, tmp_path: Path) -> None:
    config = tiny_config(
        digits, work_dir=str(tmp_path), stem="small", epochs=3, learning_rate=0.01, batch_size=64
    )
    run = api.train(config)
    assert run.record.best_value is not None
    assert run.record.best_value >= 90
    for method in ("Grad-CAM", "LayerCAM"):
        assert_better_than_chance(gains(run.directory, digits, method))
