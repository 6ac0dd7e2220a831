"""`pochi infer` and `pochi plot confusion`, as a user meets them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pochi_cli.runs.index import Run
from pochi_cli.runs.layout import InferenceLayout, inferences_in
from tests.commands.cli import pochi, pochi_process

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
    line = next(line for line in result.stdout.splitlines() if line.startswith(str(image)))
    assert line.split()[1] in "0123"
    assert line.endswith(" %")


def test_a_directory_for_the_results_is_made_and_used_again(
    own_run: Run, few_digits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "some" / "where"
    assert pochi("infer", "--output", out, cwd=tmp_path).returncode == 0
    assert names(out) == ALL
    (out / "mine.txt").write_text("kept")
    image = min((few_digits / "val" / "1").iterdir())
    assert pochi("infer", "--data", image, "--output", out, cwd=tmp_path).returncode == 0
    assert names(out) == {"predictions.csv", "inference_summary.txt", "inference_summary.json", "mine.txt"}
    assert not own_run.layout.inference_results.exists()


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
    assert not own_run.layout.inference_results.exists()


def test_bad_images_are_refused_or_listed(own_run: Run, few_digits: Path, tmp_path: Path) -> None:
    shutil.copytree(few_digits / "val", tmp_path / "val")
    (tmp_path / "val" / "1" / "bad.png").write_bytes(b"no image")
    refused = pochi("infer", "--data", "val", cwd=tmp_path)
    assert refused.returncode == 1
    assert "bad.png: not an image" in refused.stderr
    assert not own_run.layout.inference_results.exists()
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
