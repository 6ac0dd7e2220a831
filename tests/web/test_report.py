"""The report tells what the files of the run tell, stands alone and lets nothing in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from pochi_cli.engine.training import train
from pochi_cli.inference.results import read_class_report
from pochi_cli.runs.index import Run, open_run
from pochi_cli.runs.inference_layout import InferenceLayout, inferences_in
from tests.commands.cli import pochi
from tests.engine.tiny import tiny_config

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def watched(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with everything recorded; read only."""
    config = tiny_config(
        few_digits,
        work_dir=str(tmp_path_factory.mktemp("watched")),
        monitor={"enabled": True},
        enable_gradient_tracking=True,
    )
    return train(config)


@pytest.fixture(scope="module")
def page(watched: Run) -> str:
    """Its report."""
    result = pochi("report", watched.directory, cwd=watched.directory)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(watched.layout.report)
    return watched.layout.report.read_text("utf-8")


def cells(page: str) -> list[list[str]]:
    """The rows of all tables, as texts."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)
    return [
        [unescape(cell) for cell in re.findall(r"<t[dh](?: [^>]*)?>(.*?)</t[dh]>", row, re.DOTALL)]
        for row in rows
    ]


def newest(run: Run) -> InferenceLayout:
    return inferences_in(run.layout.inference_results)[-1]


def test_its_numbers_are_those_of_the_files(watched: Run, page: str) -> None:
    rows = cells(page)
    for row in read_class_report(newest(watched)):
        shown = [f"{value:.4f}" for value in (row.precision, row.recall, row.f1)]
        assert [row.name, *shown, f"{row.support:,}"] in rows
    scores = json.loads(newest(watched).summary_json.read_text())["scores"]
    assert ["accuracy", f"{scores['accuracy']:.4f} %"] in rows
    assert ["loss", f"{scores['loss']:.4f}"] in rows
    assert scores["accuracy"] == watched.record.best_value
    assert f"<b>{watched.record.best_value:.2f} %</b>" in page


def test_every_part_is_there(watched: Run, page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Curves",
        "Course of the training",
        "Gradients",
        "Predictions of the validation data",
        "Classes",
        "Most confident mistakes",
        "Run",
        "Configuration",
    ]
    pictures = re.findall(r'alt="([^"]+)"', page)
    assert pictures == [
        "Loss over the epochs",
        "Accuracy over the epochs",
        "The training, step by step",
        "Gradient norms of the layers over the epochs",
        "Confusion matrix",
        "Calibration",
        "ROC and precision-recall curves",
    ]
    assert unescape(page).count(watched.layout.config_toml.read_text("utf-8")) == 1
    assert any(row[0] == "versions" and "torch = " in row[1] for row in cells(page) if len(row) == 2)


def test_it_stands_alone(page: str) -> None:
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "style=" not in page
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert unescape(policy) == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


@pytest.mark.slow
def test_of_a_transformer_it_leads_to_the_explorer(few_digits: Path, tmp_path: Path) -> None:
    steps = [{"name": "Resize", "size": 16}, {"name": "ToTensor"}]
    config = tiny_config(
        few_digits,
        model_name="vit_tiny",
        stem=None,
        epochs=1,
        work_dir=str(tmp_path),
        train_transform=steps,
        val_transform=steps,
    )
    run = train(config)
    assert pochi("report", run.directory, cwd=tmp_path).returncode == 0
    page = run.layout.report.read_text("utf-8")
    assert f"pochi inspect attention {run.layout.name}" in page
    assert not re.search(r"href=\"(?!#|data:)", page)
    assert pochi("inspect", "attention", run.directory, cwd=tmp_path).returncode == 0
    assert pochi("report", run.directory, cwd=tmp_path).returncode == 0
    (link,) = re.findall(r"href=\"((?!#|data:).*?)\"", run.layout.report.read_text("utf-8"))
    assert (run.directory / link).is_file()
    assert link == "visualization/attention.html"


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_browser_shows_it_without_an_error(watched: Run, page: str, tmp_path: Path) -> None:
    assert page
    result = subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000", "--dump-dom",
            watched.layout.report.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in result.stderr
    assert result.stdout.count('<img class="figure') == 7


def test_an_inference_of_the_present_model_is_used_again(watched: Run, page: str) -> None:
    assert page
    before = len(inferences_in(watched.layout.inference_results))
    assert pochi("report", watched.directory, cwd=watched.directory).returncode == 0
    assert len(inferences_in(watched.layout.inference_results)) == before == 1


def test_it_is_written_to_where_it_is_wanted(watched: Run, page: str, tmp_path: Path) -> None:
    assert page
    result = pochi("report", watched.directory, "--output", "page.html", "--json", cwd=tmp_path)
    shown = json.loads(result.stdout)
    assert shown == {"report": "page.html", "inference": str(newest(watched).directory), "obstacle": None}
    assert (tmp_path / "page.html").stat().st_size > 100_000


def test_without_the_data_the_rest_is_told(own_run: Run, tmp_path: Path) -> None:
    config = own_run.layout.config_toml
    config.write_text(re.sub(r'val_data_root = ".*"', 'val_data_root = "/gone"', config.read_text()))
    result = pochi("report", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "without predictions: val_data_root: /gone does not exist" in result.stderr
    page = own_run.layout.report.read_text("utf-8")
    assert "val_data_root: /gone does not exist" in page
    assert "Loss over the epochs" in page
    assert "Calibration" not in page


def test_a_run_of_which_little_is_left_has_a_report(own_run: Run, tmp_path: Path) -> None:
    shutil.rmtree(own_run.layout.models)
    own_run.layout.history_json.unlink()
    result = pochi("report", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "has no model any more" in own_run.layout.report.read_text("utf-8")


def test_names_of_classes_and_files_are_texts(few_digits: Path, tmp_path: Path) -> None:
    odd = ("<script>alert(1)<", "a&b", "c\"d'e", "{{ 7*7 }}")
    for part in ("train", "val"):
        for label, name in enumerate(odd):
            shutil.copytree(few_digits / part / str(label), tmp_path / "data" / part / name)
    run = train(tiny_config(tmp_path / "data", work_dir=str(tmp_path / "runs"), epochs=1))
    assert pochi("report", run.directory, cwd=tmp_path).returncode == 0
    page = open_run(run.directory).layout.report.read_text("utf-8")
    assert "<script" not in page
    assert "49" not in [cell for row in cells(page) for cell in row]
    for name in odd:
        assert any(row and row[0] == name for row in cells(page)), name
