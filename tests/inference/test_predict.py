"""Predictions are those of the validation, however they are made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pochi_cli.data.datasets import ImageDataset
from pochi_cli.engine.training import train
from pochi_cli.errors import DataError
from pochi_cli.inference import predict as predict_module
from pochi_cli.inference.images import find_images, validation_images
from pochi_cli.inference.model import load_model
from pochi_cli.inference.predict import Answers, ask, predict
from pochi_cli.inference.scores import score
from pochi_cli.runs.index import Run
from tests.engine.tiny import RANDOM_STEPS, tiny_config


def answers(run: Run, *overrides: str, data: Path | None = None) -> Answers:
    loaded = load_model(run.directory, overrides=overrides)
    source = (
        validation_images(loaded.config, loaded.class_names)
        if data is None
        else find_images(data, loaded.class_names, unlabelled=False)
    )
    return ask(loaded, source)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
@pytest.mark.parametrize("workers", [0, 2])
def test_accuracy_is_the_recorded_best_to_the_last_digit(
    trained_run: Run, batch_size: int, workers: int
) -> None:
    found = answers(trained_run, f"batch_size={batch_size}", f"num_workers={workers}")
    assert score(found.predictions).accuracy == trained_run.record.best_value
    assert found.speed.num_workers == workers


def test_loss_is_the_validation_loss_of_the_best_epoch(trained_run: Run) -> None:
    (best,) = (e for e in trained_run.history.classification if e.epoch == trained_run.record.best_epoch)
    assert answers(trained_run).loss == best.val_loss  # with balanced class weights


def test_an_averaged_model_is_judged_by_its_averaged_weights(few_digits: Path, tmp_path: Path) -> None:
    config = tiny_config(
        few_digits, work_dir=str(tmp_path), ema_decay=0.9, train_transform=RANDOM_STEPS, class_weights="none"
    )
    run = train(config)
    (best,) = (e for e in run.history.classification if e.epoch == run.record.best_epoch)
    found = answers(run)
    assert (found.loss, score(found.predictions).accuracy) == (best.val_loss, run.record.best_value)
    assert load_model(run.directory).is_averaged


def test_half_precision_is_that_of_the_training(few_digits: Path, tmp_path: Path) -> None:
    run = train(
        tiny_config(few_digits, work_dir=str(tmp_path), epochs=1, precision="bf16", channels_last=True)
    )
    loaded = load_model(run.directory)
    assert (loaded.runtime.precision, loaded.runtime.channels_last) == ("bf16", True)
    assert score(answers(run).predictions).accuracy == run.record.best_value


def test_the_order_of_the_folders_and_missing_classes_change_nothing(
    trained_run: Run, few_digits: Path, tmp_path: Path
) -> None:
    for name in ("3", "1"):
        shutil.copytree(few_digits / "val" / name, tmp_path / name)
    part, whole = answers(trained_run, data=tmp_path), answers(trained_run)
    assert part.predictions.labels is not None
    known = {Path(path).name: logits for path, logits in zip(*shown(whole), strict=True)}
    for path, logits in zip(*shown(part), strict=True):
        np.testing.assert_allclose(logits, known[Path(path).name], rtol=1e-5, atol=1e-4)
    names = [part.predictions.class_names[label] for label in part.predictions.labels]
    assert names == [Path(path).parent.name for path in part.predictions.paths]


def shown(found: Answers) -> tuple[tuple[str, ...], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return found.predictions.paths, found.predictions.logits


def test_images_at_hand_are_predicted_like_files(trained_run: Run, few_digits: Path) -> None:
    loaded = load_model(trained_run.directory)
    files = sorted((few_digits / "val" / "1").iterdir())
    whole = answers(trained_run, data=few_digits / "val").predictions
    known = dict(zip(whole.paths, whole.logits, strict=True))
    found = predict(loaded, [files[0], str(files[1]), Image.open(files[2])])
    assert found.paths == (str(files[0]), str(files[1]), "images[2]")
    assert found.labels is None
    np.testing.assert_allclose(found.logits, [known[str(file)] for file in files[:3]], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_images_of_any_mode_are_predicted(trained_run: Run, mode: str) -> None:
    image = Image.new("RGB", (20, 30), "white").convert("L").convert(mode)
    white = Image.new("RGB", (20, 30), "white")
    loaded = load_model(trained_run.directory)
    if mode == "I;16":
        image = Image.fromarray(np.full((30, 20), 65535, dtype=np.uint16))
    found = predict(loaded, [image, white])
    np.testing.assert_allclose(found.logits[0], found.logits[1], atol=0.05)


def test_more_images_than_a_batch_are_predicted(trained_run: Run, few_digits: Path) -> None:
    files = sorted((few_digits / "val" / "0").iterdir())
    loaded = load_model(trained_run.directory, overrides=["batch_size=3"])
    many = predict(loaded, files)
    one = predict(load_model(trained_run.directory), files)
    np.testing.assert_allclose(many.logits, one.logits, rtol=1e-5, atol=1e-4)


def test_no_image_is_refused(trained_run: Run) -> None:
    with pytest.raises(DataError, match="no image"):
        predict(load_model(trained_run.directory), [])


@pytest.fixture
def spoilt(few_digits: Path, tmp_path: Path) -> Path:
    """A folder with one file that is no image."""
    shutil.copytree(few_digits / "val", tmp_path / "val")
    (tmp_path / "val" / "2" / "bad.png").write_bytes(b"\x89PNG no more")
    return tmp_path / "val"


def test_a_corrupt_image_is_refused_with_what_to_do(trained_run: Run, spoilt: Path) -> None:
    with pytest.raises(DataError, match=r"bad\.png: not an image") as error:
        answers(trained_run, data=spoilt)
    assert error.value.hint is not None
    assert "on_bad_image=skip" in error.value.hint
    assert "train" not in error.value.hint


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_corrupt_image_is_left_out_where_that_is_wanted(
    trained_run: Run, spoilt: Path, workers: int
) -> None:
    found = answers(trained_run, "on_bad_image=skip", f"num_workers={workers}", data=spoilt)
    assert [Path(bad.path).name for bad in found.skipped] == ["bad.png"]
    assert len(found.predictions) == 30
    assert score(found.predictions).accuracy == trained_run.record.best_value


def test_a_single_image_alone(trained_run: Run, few_digits: Path) -> None:
    file = min((few_digits / "val" / "1").iterdir())
    found = answers(trained_run, data=file)
    assert (found.predictions.labels, found.loss, len(found.predictions)) == (None, None, 1)
    assert found.speed.num_workers == 0


def test_loading_and_asking_leave_the_callers_randomness_alone(trained_run: Run, few_digits: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    loaded = load_model(trained_run.directory)
    predict(loaded, sorted((few_digits / "val" / "1").iterdir())[:2])
    assert torch.equal(torch.get_rng_state(), before)
    assert not loaded.model.training


def test_what_cannot_be_transformed_is_refused_by_name(trained_run: Run, tmp_path: Path) -> None:
    steps = '[{ name = "RandomCrop", size = 32 }, { name = "ToTensor" }]'
    loaded = load_model(trained_run.directory, overrides=[f"val_transform={steps}"])
    path = tmp_path / "small.png"
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(DataError, match=r"small\.png: the transform cannot take its 8 x 8"):
        predict(loaded, [path])


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def test_the_forward_pass_is_measured_alone(trained_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass takes a second, and to load an image a tenth."""
    clock = Clock()
    monkeypatch.setattr(predict_module, "time", clock)
    load = ImageDataset.__getitems__

    def load_slowly(dataset: ImageDataset, keys: Any) -> Any:
        clock.pass_by(0.1 * len(keys))
        return load(dataset, keys)

    monkeypatch.setattr(ImageDataset, "__getitems__", load_slowly)
    loaded = load_model(trained_run.directory, overrides=["num_workers=0", "batch_size=30"])
    loaded.model.register_forward_hook(lambda *_: clock.pass_by(1))
    speed = ask(loaded, validation_images(loaded.config, loaded.class_names)).speed
    assert speed.forward_images_per_second == pytest.approx(30)
    assert speed.images_per_second == pytest.approx(30 / 4)


def test_images_that_are_made_on_the_way_are_predicted(trained_run: Run, few_digits: Path) -> None:
    loaded = load_model(trained_run)
    found = predict(loaded, (few_digits / "val" / "1").iterdir())
    assert len(found) == len(found.predicted_names) == 10


def test_a_model_in_training_mode_predicts_and_stays_as_it_is(trained_run: Run, few_digits: Path) -> None:
    loaded = load_model(trained_run)
    files = sorted((few_digits / "val" / "1").iterdir())
    expected = predict(loaded, files).logits
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    loaded.model.train()
    np.testing.assert_array_equal(predict(loaded, files).logits, expected)
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ("some.png", "one image alone"),
        (Path("some.png"), "one image alone"),
        ([np.zeros((8, 8, 3), dtype=np.uint8)], r"images\[0\] is of type ndarray"),
        ([None], r"images\[0\] is of type NoneType"),
        (["a\0b"], "null"),
        (["gone.png"], "gone.png: no such file"),
    ],
)
def test_what_is_no_image_is_refused(trained_run: Run, images: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        predict(load_model(trained_run), images)
