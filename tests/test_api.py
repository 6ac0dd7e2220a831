"""The Python surface."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from pochi_cli import api
from pochi_cli.errors import ConfigError
from pochi_cli.runs.index import Run
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


def test_a_model_is_loaded_and_asked(own_run: Run, few_digits: Path) -> None:
    loaded = api.load_model(own_run.layout.name, own_run.directory.parent, ["batch_size=4"])
    files = sorted((few_digits / "val" / "1").iterdir())
    found = api.predict(loaded, files)
    assert found.probabilities.shape == (len(files), 4)
    assert set(found.predicted_names) <= set(loaded.class_names) == {"0", "1", "2", "3"}
    tensor = loaded.transform(Image.open(files[0]).convert("RGB"))
    assert tensor.shape == (3, 32, 32)
    assert loaded.model(tensor[None]).argmax() == found.predicted[0]


def test_images_are_inferred_into_files(own_run: Run, few_digits: Path, tmp_path: Path) -> None:
    loaded = api.load_model(own_run.directory)
    told: list[tuple[int, int]] = []
    done = api.infer(loaded, few_digits / "val", tmp_path / "out", tell=lambda *of: told.append(of))
    assert done.scores is not None
    assert done.scores.accuracy == own_run.record.best_value
    assert done.layout.directory == tmp_path / "out"
    assert (told[0], told[-1]) == ((0, 30), (30, 30))
    alone = api.infer(loaded, few_digits / "val", tmp_path / "more", unlabelled=True)
    assert alone.scores is None
    assert alone.answers.predictions.predicted.tolist() == done.answers.predictions.predicted.tolist()


def test_the_guides_python_runs(
    own_run: Run,
    few_digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    guide = (Path(__file__).parent.parent / "configs" / "docs" / "inference.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    for name, label in (("cat.jpg", "1"), ("dog.jpg", "2")):
        Image.open(min((few_digits / "val" / label).iterdir())).convert("RGB").save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "inference.md", "exec"), {})  # noqa: S102
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("cat.jpg ")
    assert shown[2] == "(2, 4)"
    assert shown[3].startswith(str(own_run.record.best_value))
