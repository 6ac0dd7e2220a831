"""Which model is loaded, with what, and what of it may be changed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pochi_cli.engine.training import train
from pochi_cli.errors import ConfigError, DeviceError, RunError
from pochi_cli.inference.model import load_model
from pochi_cli.runs.index import Run, choose_checkpoint
from tests.engine.tiny import RANDOM_STEPS, STEPS, tiny_config


def test_the_best_model_of_a_run_is_loaded(trained_run: Run) -> None:
    for reference in (trained_run.directory, trained_run.layout.name, "latest"):
        loaded = load_model(reference, trained_run.directory.parent)
        assert loaded.checkpoint.resolve() == trained_run.layout.best_model
        assert loaded.epoch == trained_run.record.best_epoch
        assert loaded.class_names == ("0", "1", "2", "3")
        assert loaded.size == (32, 32)
        assert loaded.home.resolve() == trained_run.directory
        assert not loaded.messages


def test_the_latest_is_loaded_where_there_is_no_best(own_run: Run) -> None:
    for path in (own_run.layout.best_model, *own_run.layout.numbered_checkpoints().values()):
        path.unlink()
    assert load_model(own_run.directory).checkpoint == own_run.layout.latest_model


def test_a_checkpoint_of_a_run_belongs_to_it(trained_run: Run) -> None:
    loaded = load_model(trained_run.layout.checkpoint(4))
    assert loaded.run is not None
    assert (loaded.run.record.id, loaded.epoch) == (trained_run.record.id, 4)


def test_a_checkpoint_alone_is_enough(trained_run: Run, tmp_path: Path) -> None:
    path = shutil.copy(trained_run.layout.best_model, tmp_path / "model.pth")
    loaded = load_model(path)
    assert (loaded.run, loaded.home) == (None, tmp_path)
    images = torch.zeros(2, 3, 32, 32)
    with torch.inference_mode():
        own = load_model(trained_run.directory).model(images)
        assert torch.equal(loaded.model(images), own)


def test_models_that_were_deleted_are_told(own_run: Run) -> None:
    layout = own_run.layout
    last = layout.checkpoint(own_run.record.epochs_done + 1)  # not what the run was judged by
    layout.latest_model.rename(last)
    for path in (layout.best_model, layout.checkpoint(own_run.record.best_epoch or 0)):
        path.unlink(missing_ok=True)
    gone = "has no model any more: best_model.pth and latest_model.pth are gone from"
    with pytest.raises(RunError, match=gone) as caught:
        load_model(own_run.directory)
    assert caught.value.hint == f"name one that is there: {last}"
    shutil.rmtree(layout.models)
    with pytest.raises(RunError, match=gone) as caught:
        load_model(own_run.directory)
    assert caught.value.hint == "copy them back, or train again"
    begun = replace(own_run, record=replace(own_run.record, epochs_done=0))
    with pytest.raises(RunError, match="has no model yet: no epoch is finished"):
        choose_checkpoint(begun)


def test_a_missing_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no checkpoint .*gone\.pth"):
        load_model(tmp_path / "gone.pth")


@pytest.mark.parametrize(
    "key", ["class_names", "image_size", "class_weights", "config", "epoch", "sampler_state"]
)
def test_an_incomplete_checkpoint_is_told(trained_run: Run, tmp_path: Path, key: str) -> None:
    content = torch.load(trained_run.layout.best_model, weights_only=True)
    del content[key]
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(RunError, match=f"incomplete: it has no '{key}'"):
        load_model(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("key", "value"),
    [("image_size", [32]), ("image_size", "big"), ("class_names", None), ("config", {"epochs": -1})],
)
def test_a_damaged_checkpoint_is_told(trained_run: Run, tmp_path: Path, key: str, value: object) -> None:
    content = torch.load(trained_run.layout.best_model, weights_only=True)
    content[key] = value
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(RunError, match="damaged"):
        load_model(tmp_path / "model.pth")


def test_how_it_is_asked_may_be_changed(trained_run: Run) -> None:
    loaded = load_model(
        trained_run.directory,
        overrides=["batch_size=3", "num_workers=0", "precision=bf16", 'confusion_matrix_config.title="混同"'],
    )
    assert (loaded.config.batch_size, loaded.config.num_workers) == (3, 0)
    assert loaded.runtime.precision == "bf16"
    assert loaded.config.confusion_matrix_config.title == "混同"


def test_what_it_is_may_not_be_changed(trained_run: Run) -> None:
    with pytest.raises(ConfigError) as error:
        load_model(trained_run.directory, overrides=["model_name=resnet34", "epochs=7"])
    told = [(d.code, d.key, str(d.span)) for d in error.value.diagnostics]
    assert told == [("conflict", ("model_name",), "--set:1:12"), ("conflict", ("epochs",), "--set:2:8")]
    assert "batch_size" in str(error.value.diagnostics[0].help)


def test_a_mistake_in_what_may_be_changed_is_told(trained_run: Run) -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        load_model(trained_run.directory, overrides=["batch_size=0"])


def test_a_device_that_is_asked_for_must_be_there(trained_run: Run) -> None:
    with pytest.raises(DeviceError, match="cuda:7"):
        load_model(trained_run.directory, overrides=["device=cuda:7"])


def test_a_device_that_it_was_trained_on_may_be_gone(trained_run: Run, tmp_path: Path) -> None:
    content = torch.load(trained_run.layout.best_model, weights_only=True)
    content["config"] |= {"device": "cuda:7", "precision": "fp16"}
    torch.save(content, tmp_path / "model.pth")
    loaded = load_model(tmp_path / "model.pth")
    if not torch.cuda.is_available():
        assert (str(loaded.runtime.device), loaded.runtime.precision) == ("cpu", "fp32")
    assert any("trained with device = cuda:7" in message for message in loaded.messages)
    assert any("trained with precision = fp16" in message for message in loaded.messages)


def test_without_validation_the_training_transform_serves_unless_it_is_random(
    few_digits: Path, tmp_path: Path
) -> None:
    plain = tiny_config(few_digits, val_data_root=None, val_transform=None, work_dir=str(tmp_path), epochs=1)
    assert load_model(train(plain).directory).steps == plain.train_transform
    random = train(tiny_config(few_digits, val_data_root=None, val_transform=None, work_dir=str(tmp_path),
                               epochs=1, train_transform=RANDOM_STEPS))  # fmt: skip
    with pytest.raises(ConfigError, match="how images are to be shown to it is not known") as error:
        load_model(random.directory)
    assert "--set 'val_transform=" in str(error.value.diagnostics[0].help)
    given = str(STEPS).replace("'name': ", "name = ").replace("'size': ", "size = ").replace("'", '"')
    assert len(load_model(random.directory, overrides=[f"val_transform={given}"]).steps) == 3
