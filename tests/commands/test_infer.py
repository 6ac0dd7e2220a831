"""`pochi infer` and `pochi plot confusion`, as a user meets them."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from pochi_cli.engine.checkpoint import load_checkpoint
from pochi_cli.engine.training import train
from pochi_cli.runs.index import Run
from pochi_cli.runs.inference_layout import InferenceLayout, inferences_in
from tests.commands.cli import pochi, pochi_process
from tests.engine.tiny import tiny_config

ALL = {
    "predictions.csv",
    "inference_summary.txt",
    "inference_summary.json",
    "classification_report.csv",
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "calibration.png",
    "roc_pr.png",
    "mistakes.html",
}


def newest(run: Run) -> InferenceLayout:
    return inferences_in(run.layout.inference_results)[-1]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def left(run: Run) -> set[str]:
    """What lies among the run's results."""
    results = run.layout.inference_results
    return names(results) if results.exists() else set()


def test_the_validation_data_are_inferred_without_naming_anything(own_run: Run, tmp_path: Path) -> None:
    result = pochi_process("infer", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    out, best = result.stdout, own_run.record.best_value
    assert f"accuracy                 {best:.4f} %" in out
    assert "30 images of the validation data" in out
    assert "macro F1" in out and "Most often mistaken" in out
    layout = newest(own_run)
    assert names(layout.directory) == ALL
    summary = json.loads(layout.summary_json.read_text("utf-8"))
    assert (summary["scores"]["accuracy"], summary["images"], summary["run"]) == (
        best,
        30,
        own_run.layout.name,
    )
    assert f"{best:.4f} %" in layout.summary_text.read_text("utf-8")
    with layout.predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert 100 * sum(row["correct"] == "true" for row in rows) / len(rows) == best
    assert all(Path(row["image_path"]).is_file() for row in rows)


def test_json_has_all_and_nothing_else_is_printed(own_run: Run, tmp_path: Path) -> None:
    result = pochi("infer", own_run.directory, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown["scores"]["accuracy"] == own_run.record.best_value
    assert [row["name"] for row in shown["classes"]] == ["0", "1", "2", "3"]
    assert shown["files"].keys() == ALL
    assert shown["forward_images_per_second"] > 0


def test_each_inference_has_a_directory_of_its_own(own_run: Run, few_digits: Path, tmp_path: Path) -> None:
    for data in (few_digits / "val", few_digits / "train" / "1"):
        assert pochi("infer", "--data", data, cwd=tmp_path).returncode == 0
    first, second = inferences_in(own_run.layout.inference_results)
    assert names(first.directory) == ALL
    assert names(second.directory) == {"predictions.csv", "inference_summary.txt", "inference_summary.json"}


def test_a_single_image_is_predicted_in_the_terminal(own_run: Run, few_digits: Path, tmp_path: Path) -> None:
    image = min((few_digits / "val" / "1").iterdir())
    result = pochi("infer", own_run.directory, "--data", image, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"1 image of {image}" in result.stdout
    assert "none: the images have no labels" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith(image.name))
    assert line.split()[1] in "0123"
    assert line.endswith(" %")


def test_a_directory_for_the_results_is_made_and_used_again(
    own_run: Run, few_digits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "some" / "where"
    assert pochi("infer", "--output", out, cwd=tmp_path).returncode == 0
    assert names(out) == ALL
    image = min((few_digits / "val" / "1").iterdir())
    assert pochi("infer", "--data", image, "--output", out, cwd=tmp_path).returncode == 0
    assert names(out) == {"predictions.csv", "inference_summary.txt", "inference_summary.json"}
    assert left(own_run) == set()


def test_a_checkpoint_elsewhere_has_its_results_beside_it(
    trained_run: Run, few_digits: Path, tmp_path: Path
) -> None:
    shutil.copy(trained_run.layout.best_model, tmp_path / "model.pth")
    result = pochi("infer", "model.pth", "--data", few_digits / "val", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (layout,) = inferences_in(tmp_path / "inference_results")
    summary = json.loads(layout.summary_json.read_text("utf-8"))
    assert (summary["run"], summary["scores"]["accuracy"]) == (None, trained_run.record.best_value)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("infer", "latest", "--unlabelled"), 2, "needs --data"),
        (("infer", "nowhere"), 1, 'there is no run "nowhere"'),
        (("infer", "gone.pth"), 1, "there is no checkpoint gone.pth"),
        (("infer", "--data", "gone"), 1, "gone does not exist"),
        (("infer", "--data", "notes.txt"), 1, "is no image by its name"),
        (("infer", "--set", "epochs=9"), 1, "cannot be changed"),
        (("infer", "--device", "gpu"), 1, "use cpu, mps, cuda, or cuda:N"),
        (("infer", "--output", "notes.txt"), 1, "cannot write to notes.txt"),
        (("infer", "--output", "."), 1, "is not empty, and holds no results"),
        (("infer", "--output", "n" * 300), 1, "File name too long"),
        (("infer", "--data", "n" * 300 + ".png"), 1, "File name too long"),
        (("infer", "--set", "batch_size=auto"), 1, "batch_size must be a number here"),
        (("infer", "--set", "compile=true"), 1, "compile says what the trained model is"),
        (("plot", "confusion", "gone.csv"), 1, "gone.csv"),
        (("plot", "confusion", "notes.txt"), 1, "no confusion matrix"),
        (("plot", "confusion"), 1, "pochi infer"),
        (("plot", "confusion", "some.csv", "--set", "epochs=1"), 2, "goes with a run"),
    ],
)
def test_what_cannot_be_is_told(
    own_run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    (tmp_path / "notes.txt").write_text("text")
    result = pochi(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stdout
    assert told in result.stderr
    assert left(own_run) == set()


@pytest.mark.parametrize(("name", "told"), [("n" * 300, "File name too long"), ("loop", "cannot write loop")])
def test_a_report_that_cannot_be_written_is_told(own_run: Run, tmp_path: Path, name: str, told: str) -> None:
    assert own_run.layout.best_model.exists()
    (tmp_path / "loop").symlink_to("loop")
    result = pochi("report", "--output", name, cwd=tmp_path)
    assert (result.returncode, told in result.stderr) == (1, True), result.stderr


def test_bad_images_are_refused_or_listed(own_run: Run, few_digits: Path, tmp_path: Path) -> None:
    shutil.copytree(few_digits / "val", tmp_path / "val")
    (tmp_path / "val" / "1" / "bad.png").write_bytes(b"no image")
    refused = pochi("infer", "--data", "val", cwd=tmp_path)
    assert refused.returncode == 1
    assert "bad.png: not an image" in refused.stderr
    assert left(own_run) == set()
    result = pochi("infer", "--data", "val", "--set", "on_bad_image=skip", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "warning: left out val/1/bad.png: not an image" in result.stderr
    assert "1 image that cannot be decoded" in result.stdout
    assert len(json.loads(newest(own_run).summary_json.read_text())["skipped"]) == 1


def test_the_confusion_matrix_is_drawn_again_as_asked(own_run: Run, tmp_path: Path) -> None:
    assert pochi("infer", cwd=tmp_path).returncode == 0
    layout = newest(own_run)
    result = pochi(
        "plot", "confusion", "latest", "--output-dir", "out",
        "--set", 'confusion_matrix_config.title="混同行列"',
        "--set", "confusion_matrix_config.figsize=[9, 7]",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "out/confusion_matrix.png"
    with Image.open(tmp_path / "out" / "confusion_matrix.png") as picture:
        assert picture.size == (1350, 1050)
    csv_again = pochi("plot", "confusion", layout.confusion_matrix, cwd=tmp_path)
    assert csv_again.stdout.strip() == str(layout.directory / "confusion_matrix.png")


def test_names_in_the_files_are_no_orders_for_anyone(own_run: Run, few_digits: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\x1b[31m.png"
    (tmp_path / "few").mkdir()
    shutil.copytree(few_digits / "val" / "1", tmp_path / "few" / "0")  # all of them mistaken, hopefully
    image = min((tmp_path / "few" / "0").iterdir())
    for at in range(3):
        shutil.copy(image, image.with_name(f"{at}{name}"))
    result = pochi("infer", "--data", "few", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    page = newest(own_run).mistakes.read_text("utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;\\u001b[31m.png" in page


def spoil(run: Run, value: float) -> None:
    """Write weights that are no numbers into the best checkpoint."""
    checkpoint = load_checkpoint(run.layout.best_model)
    checkpoint["model_state_dict"]["fc.weight"].fill_(value)
    run.layout.best_model.unlink()  # it has other names
    torch.save(checkpoint, run.layout.best_model)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("more", [(), ("--unlabelled", "--data", "few")])
def test_a_model_that_gives_no_numbers_is_refused(
    own_run: Run, few_digits: Path, tmp_path: Path, value: float, more: tuple[str, ...]
) -> None:
    shutil.copytree(few_digits / "val", tmp_path / "few")
    spoil(own_run, value)
    result = pochi("infer", *more, cwd=tmp_path)
    assert result.returncode == 1
    assert "the model gives no finite numbers for 30 images of 30" in result.stderr
    assert left(own_run) == set()


@pytest.mark.slow
def test_what_was_not_as_in_training_is_said_and_no_report_takes_it(own_run: Run, tmp_path: Path) -> None:
    steps = (
        '[{ name = "Resize", size = 32 }, { name = "RandomVerticalFlip", p = 1.0 }, { name = "ToTensor" }]'
    )
    result = pochi("infer", "--set", f"val_transform={steps}", cwd=tmp_path)
    assert "not as in training       val_transform" in result.stdout
    assert pochi("report", cwd=tmp_path).returncode == 0
    first, second = inferences_in(own_run.layout.inference_results)
    found = [json.loads(layout.summary_json.read_text()) for layout in (first, second)]
    assert [summary["altered"] for summary in found] == [["val_transform"], []]
    assert found[1]["scores"]["accuracy"] == own_run.record.best_value


def test_a_best_checkpoint_that_is_gone_is_told(own_run: Run, tmp_path: Path) -> None:
    epoch = own_run.record.best_epoch
    assert epoch is not None
    own_run.layout.best_model.unlink()
    for path in own_run.layout.numbered_checkpoints().values():
        path.unlink()
    checkpoint = load_checkpoint(own_run.layout.latest_model)
    record = json.loads(own_run.layout.run_json.read_text())
    own_run.layout.run_json.write_text(json.dumps(record | {"best_epoch": epoch - 1}))
    result = pochi("infer", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    told = f"the best checkpoint, of epoch {epoch - 1}, is gone: "
    assert told in result.stderr
    assert f"latest_model.pth is of epoch {checkpoint['epoch']}" in result.stderr
    for _ in range(2):
        assert pochi("report", cwd=tmp_path).returncode == 0
    assert len(inferences_in(own_run.layout.inference_results)) == 1
    assert "these predictions are of epoch" in own_run.layout.report.read_text("utf-8")


def test_a_numbered_checkpoint_stands_in_for_the_best(own_run: Run, tmp_path: Path) -> None:
    best = own_run.layout.best_model
    best.rename(own_run.layout.checkpoint(own_run.record.best_epoch or 0))
    result = pochi("infer", "--json", cwd=tmp_path)
    assert not result.stderr
    assert json.loads(result.stdout)["scores"]["accuracy"] == own_run.record.best_value


def test_data_that_have_changed_are_told(few_digits: Path, tmp_path: Path) -> None:
    shutil.copytree(few_digits / "train", tmp_path / "data")
    config = tiny_config(
        few_digits, train_data_root=str(tmp_path / "data"), val_data_root=None, val_split=0.3, epochs=1,
        work_dir=str(tmp_path / "work_dirs"),
    )  # fmt: skip
    train(config)
    assert not pochi("infer", cwd=tmp_path).stderr
    min((tmp_path / "data" / "1").iterdir()).unlink()
    result = pochi("infer", cwd=tmp_path)
    assert result.returncode == 0
    assert "warning: the data have changed since the training" in result.stderr
    assert "images that it was trained on" in result.stderr


def test_validation_data_that_have_moved_are_named(own_run: Run, few_digits: Path, tmp_path: Path) -> None:
    config = own_run.layout.config_toml
    config.write_text(re.sub(r'val_data_root = ".*"', 'val_data_root = "/gone"', config.read_text()))
    shutil.copytree(few_digits / "val", tmp_path / "moved")
    result = pochi("report", "--set", "val_data_root=moved", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    assert json.loads(newest(own_run).summary_json.read_text())["is_validation"]


def test_earlier_results_stay_where_new_ones_fail(own_run: Run, tmp_path: Path) -> None:
    assert own_run.layout.best_model.exists()
    assert pochi("infer", "--output", "out", cwd=tmp_path).returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert pochi("infer", "--data", "bad.png", "--output", "out", cwd=tmp_path).returncode == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_links_in_a_run_lead_nowhere(own_run: Run, tmp_path: Path) -> None:
    (tmp_path / "victim.txt").write_text("precious")
    (tmp_path / "outside").mkdir()
    own_run.layout.report.symlink_to(tmp_path / "victim.txt")
    assert pochi("report", cwd=tmp_path).returncode == 0
    assert (tmp_path / "victim.txt").read_text() == "precious"
    shutil.rmtree(own_run.layout.inference_results)
    own_run.layout.inference_results.symlink_to(tmp_path / "outside")
    result = pochi("infer", cwd=tmp_path)
    assert result.returncode == 1
    assert "symbolic link" in result.stderr
    assert names(tmp_path / "outside") == set()


@pytest.mark.parametrize(
    "name",
    [
        "inference_summary.json",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("predictions.csv", "calibration.png")),
    ],
)
def test_a_report_passes_over_results_that_are_damaged(own_run: Run, tmp_path: Path, name: str) -> None:
    assert pochi("infer", cwd=tmp_path).returncode == 0
    (newest(own_run).directory / name).write_bytes(b"")
    assert pochi("report", cwd=tmp_path).returncode == 0
    assert "Calibration" in own_run.layout.report.read_text("utf-8")
    assert names(newest(own_run).directory) == ALL


def test_a_line_end_in_a_name_ends_no_row(own_run: Run, few_digits: Path, tmp_path: Path) -> None:
    assert own_run.layout.best_model.exists()
    (tmp_path / "few").mkdir()
    odd = ("a\rb.png", "c\nd.png", 'e"f,g.png')
    for name in odd:
        shutil.copy(min((few_digits / "val" / "1").iterdir()), tmp_path / "few" / name)
    result = pochi("infer", "--data", "few", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    with newest(own_run).predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["image_path"]).name for row in rows} == set(odd)
    assert all(row["top4_probability"] for row in rows)
    assert "c\\nd.png" in result.stdout


def test_only_the_picture_is_changed_by_what_draws_it(own_run: Run, tmp_path: Path) -> None:
    assert pochi("infer", cwd=tmp_path).returncode == 0
    assert own_run.layout.inference_results.exists()
    result = pochi("plot", "confusion", "--set", "epochs=9", cwd=tmp_path)
    assert result.returncode == 2
    assert "confusion_matrix_config" in result.stderr
