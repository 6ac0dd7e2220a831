"""The Python surface."""

from __future__ import annotations

from pathlib import Path

import pytest

from pochi_cli import api
from pochi_cli.errors import ConfigError
from tests.commands.cli import write_toml
from tests.engine.tiny import tiny_raw


def test_train_load_and_resume(few_digits: Path, tmp_path: Path) -> None:
    path = write_toml(tmp_path / "my.toml", tiny_raw(few_digits, work_dir=str(tmp_path / "runs")))
    seen = []
    run = api.train(api.load_config(path, ["epochs=1"]), on_epoch=lambda record: seen.append(record.epoch))
    assert seen == [1]
    assert api.load_run("latest", tmp_path / "runs") == run
    assert api.load_run(run.record.experiment_id[:8], tmp_path / "runs") == run
    longer = api.resume(run, api.load_config(run.layout.config_toml, ["epochs=2"]))
    assert len(longer.history) == 2
    assert longer.layout.metrics_figure("loss").stat().st_size > 10_000


def test_a_bad_config_carries_its_diagnostics(tmp_path: Path) -> None:
    path = write_toml(tmp_path / "my.toml", tiny_raw(epochs=0))
    with pytest.raises(ConfigError) as caught:
        api.load_config(path)
    assert [d.code for d in caught.value.diagnostics] == ["out-of-range"]
