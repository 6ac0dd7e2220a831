"""`pochi validate-config`: its three forms, its exit codes, and that training tells the same."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from pochi_cli.console import show_error
from pochi_cli.display import TerminalProgress
from pochi_cli.errors import DataError
from tests.commands.cli import pochi, pochi_process, write_toml
from tests.config.test_document import PLACES, TEN
from tests.engine.tiny import tiny_raw

CONFIGS = Path(__file__).parent.parent.parent / "configs"
QUICKSTART = CONFIGS / "quickstart.toml"
FIELDS = ["code", "severity", "message", "file", "line", "column", "end_line", "end_column", "help", "notes"]


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    path = tmp_path / "ten.toml"
    path.write_text(TEN, "utf-8")
    return path


def test_text(ten: Path, tmp_path: Path) -> None:
    result = pochi("validate-config", ten.name, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    assert "\x1b" not in result.stdout
    blocks = result.stdout.split("\n\n")
    assert blocks[2].splitlines() == [
        "error[unknown-key]: unknown key `epoch`",
        " --> ten.toml:6:1",
        "  |",
        "6 | epoch = 30",
        "  | ^^^^^ did you mean `epochs`? (required, and missing)",
    ]
    assert blocks[-1] == "11 errors, 0 warnings in ten.toml\n"
    assert len(blocks) == 12


def test_json(ten: Path, tmp_path: Path) -> None:
    result = pochi("validate-config", ten, "--format", "json", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    report = json.loads(result.stdout)
    assert list(report) == ["file", "diagnostics", "plan"]
    assert report["plan"] is None
    records = report["diagnostics"]
    assert all(list(record) == FIELDS for record in records)
    keys = ("code", "line", "column", "end_line", "end_column")
    assert [tuple(record[key] for key in keys) for record in records] == PLACES
    assert records[6]["notes"] == [
        {"message": "num_classes is set here", "file": str(ten), "line": 3, "column": 15}
    ]


def test_github(ten: Path, tmp_path: Path) -> None:
    result = pochi("validate-config", ten, "--format", "github", cwd=tmp_path)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert len(lines) == len(PLACES)
    assert lines[2] == (
        f"::error file={ten},line=6,col=1,endLine=6,endColumn=6,title=unknown-key::"
        "unknown key `epoch`%0Adid you mean `epochs`? (required, and missing)"
    )


def test_the_plan_of_a_valid_config(tmp_path: Path) -> None:
    result = pochi("validate-config", QUICKSTART, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    for part in ("is valid", "11,181,642 parameters", "368 steps", "▇", "0.05 to 0.00048", "best_model.pth"):
        assert part in result.stdout
    assert "error" not in result.stdout
    report = json.loads(pochi("validate-config", QUICKSTART, "--format", "json", cwd=tmp_path).stdout)
    assert report["diagnostics"] == []
    assert report["plan"]["groups"][0]["rates"][0] == 0.05
    assert report["plan"]["steps"]["steps_per_epoch"] == 23
    assert pochi("validate-config", QUICKSTART, "--format", "github", cwd=tmp_path).stdout == ""


def test_brackets_are_no_markup(few_digits: Path, tmp_path: Path) -> None:
    raw = tiny_raw(few_digits, work_dir="runs/[bold]x", freeze=["conv1"], pretrained=False)
    config = write_toml(tmp_path / "[red]a.toml", raw)
    result = pochi("validate-config", config, cwd=tmp_path)
    assert result.returncode == 0
    assert f"{config} is valid" in result.stdout
    assert "[conv1]" in result.stdout
    assert "runs/[bold]x/" in result.stdout
    assert "\\" not in result.stdout


def test_errors_and_warnings_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(DataError("a[bold]b\\", "c[/]d\\"))
    TerminalProgress().warning("e[/red]f\\")
    assert capsys.readouterr().err.splitlines() == [
        "error: a[bold]b\\",
        "  hint: c[/]d\\",
        "warning: e[/red]f\\",
    ]


@pytest.mark.parametrize(("columns", "bars"), [(200, 24), (80, 24), (60, 20), (40, 13)])
def test_sparklines_stay_on_their_line(tmp_path: Path, columns: int, bars: int) -> None:
    finetune = CONFIGS / "finetune.toml"
    result = pochi("validate-config", finetune, cwd=tmp_path, COLUMNS=str(columns))
    lines = result.stdout.splitlines()
    assert all(len(line) <= columns for line in lines)
    (course,) = [found for line in lines if (found := re.findall("[▁-█]+", line))]
    assert [len(stretch) for stretch in course] == [bars]


def test_warnings_stop_nothing(tmp_path: Path) -> None:
    result = pochi("validate-config", QUICKSTART, "--set", "scheduler_params.T_max=3", cwd=tmp_path)
    assert result.returncode == 0
    assert "is valid" in result.stdout
    assert "warning[schedule-length]" in result.stdout
    assert " --> --set:1:24" in result.stdout
    assert f"0 errors, 1 warning in {QUICKSTART}" in result.stdout


def test_several_configs(ten: Path, tmp_path: Path) -> None:
    files = (QUICKSTART, ten, tmp_path / "missing.toml")
    result = pochi("validate-config", *files, cwd=tmp_path)
    assert result.returncode == 1
    assert f"{QUICKSTART} is valid" in result.stdout
    assert f"11 errors, 0 warnings in {ten}" in result.stdout
    assert "error[unreadable-file]" in result.stdout
    lines = pochi("validate-config", *files, "--format", "json", cwd=tmp_path).stdout.splitlines()
    reports = [json.loads(line) for line in lines]
    assert [report["file"] for report in reports] == list(map(str, files))
    assert [len(report["diagnostics"]) for report in reports] == [0, 11, 1]
    assert [report["plan"] is None for report in reports] == [False, True, True]


def test_wrong_usage(tmp_path: Path) -> None:
    assert pochi("validate-config", cwd=tmp_path).returncode == 2
    assert pochi("validate-config", QUICKSTART, "--format", "xml", cwd=tmp_path).returncode == 2


def test_set_is_told_with_the_argument(tmp_path: Path) -> None:
    result = pochi("validate-config", QUICKSTART, "--set", "seed=4", "--set", "epochs=no", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout.splitlines()[:5] == [
        'error[wrong-type]: epochs is "no" (a string), but must be a whole number',
        " --> --set:2:8",
        "  |",
        "2 | epochs=no",
        "  |        ^^",
    ]


def test_training_tells_the_same_on_stderr(ten: Path, tmp_path: Path) -> None:
    checked = pochi("validate-config", ten, cwd=tmp_path)
    result = pochi("train", ten, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.partition("11 errors")[0] == checked.stdout.partition("11 errors")[0]
    assert not (tmp_path / "work_dirs").exists()


def test_what_the_data_contradict_has_its_place_in_training(few_digits: Path, tmp_path: Path) -> None:
    config = write_toml(tmp_path / "a.toml", tiny_raw(few_digits, num_classes=7))
    line = 1 + config.read_text().splitlines().index("num_classes = 7")
    result = pochi("train", config, cwd=tmp_path)
    assert result.returncode == 1
    assert "error[class-mismatch]: num_classes is 7, but the training data have 4 classes" in result.stderr
    assert f"{config}:{line}:15" in result.stderr
    result = pochi("train", config, "--set", "num_classes=8", cwd=tmp_path)
    assert "--> --set:1:13" in result.stderr


def test_an_output_that_is_not_utf_8_is_no_reason_to_fail(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text('work_dir = "日本"\nnonsense = "花"\n', "utf-8")
    for path in (config, QUICKSTART):
        result = pochi_process("validate-config", path, cwd=tmp_path, PYTHONIOENCODING="ascii")
        assert "Traceback" not in result.stderr
        assert result.returncode == (1 if path == config else 0)


# ---------------------------------------------------------------- --data


def test_data(few_digits: Path, tmp_path: Path) -> None:
    config = write_toml(tmp_path / "a.toml", tiny_raw(few_digits))
    result = pochi("validate-config", config, "--data", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    for part in (
        "is valid",
        "65 images in batches of 16: 4 steps",
        "4 classes",
        "balanced weight",
        "8 x 8 (all)",
    ):
        assert part in result.stdout
    result = pochi("validate-config", config, "--data", "--format", "json", cwd=tmp_path)
    report = json.loads(result.stdout)
    assert list(report) == ["file", "diagnostics", "plan", "data"]
    assert report["diagnostics"] == report["data"]["diagnostics"] == []
    assert report["plan"]["steps"]["train_images"] == 65
    assert report["plan"]["input_size"] == [32, 32]
    assert report["plan"]["stem"] == "imagenet"
    assert [split["images"] for split in report["data"]["splits"]] == [65, 30]


def test_what_is_wrong_with_the_data_has_its_place(few_digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(few_digits, data)
    (data / "train" / "0" / "bad.png").write_bytes(b"no image")
    (data / "val" / "0").rename(data / "val" / "O")
    raw = tiny_raw(data, num_classes=7, class_weights=[1.0] * 7, batch_size=65)
    config = write_toml(tmp_path / "a.toml", raw)
    lines = config.read_text().splitlines()

    def place(key: str) -> tuple[int, int]:
        line = next(n for n, text in enumerate(lines, 1) if text.startswith(f"{key} ="))
        return line, len(key) + 4

    result = pochi("validate-config", config, "--data", "--format", "json", cwd=tmp_path)
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert report["plan"] is None
    found = {(d["code"], d["severity"], d["line"], d["column"]) for d in report["diagnostics"]}
    assert found == {
        ("class-mismatch", "error", *place("num_classes")),
        ("class-weights-length", "error", *place("class_weights")),
        ("bad-image", "error", *place("train_data_root")),
        ("class-mismatch", "error", *place("val_data_root")),
        ("class-mismatch", "warning", *place("val_data_root")),
    }
    assert report["diagnostics"] == sorted(report["diagnostics"], key=lambda d: (d["line"], d["column"]))
    assert report["data"]["splits"][0]["bad"][0]["path"].endswith("train/0/bad.png")


def test_images_left_out_are_not_counted(few_digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(few_digits, data)
    for part in ("train", "val"):
        (data / part / "0" / "bad.png").write_bytes(b"no image")
    config = write_toml(tmp_path / "a.toml", tiny_raw(data, on_bad_image="skip"))
    result = pochi("validate-config", config, "--data", cwd=tmp_path)
    assert "65 images (1 left out) in batches of 16: 5 steps; 30 images to validate" in result.stdout
    assert "balanced weight (bad images count)" in result.stdout


def test_every_missing_folder_is_told(tmp_path: Path) -> None:
    raw = tiny_raw(tmp_path / "nowhere")
    config = write_toml(tmp_path / "a.toml", raw)
    result = pochi("validate-config", config, "--data", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.count("error[unreadable-directory]") == 2
    assert f"{tmp_path / 'nowhere' / 'train'} does not exist" in result.stdout
    assert pochi("validate-config", config, cwd=tmp_path).returncode == 0  # nothing is looked at


def test_data_of_a_wrong_config_is_not_looked_at(ten: Path, tmp_path: Path) -> None:
    report = json.loads(pochi("validate-config", ten, "--data", "--format", "json", cwd=tmp_path).stdout)
    assert list(report) == ["file", "diagnostics", "plan"]
    assert len(report["diagnostics"]) == 11


def test_training_tells_every_mistake_of_the_data_at_its_place(few_digits: Path, tmp_path: Path) -> None:
    config = write_toml(tmp_path / "a.toml", tiny_raw(tmp_path / "nowhere"))
    result = pochi("train", config, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("error[unreadable-directory]") == 2
    line = 1 + [text.partition(" ")[0] for text in config.read_text().splitlines()].index("train_data_root")
    assert f"--> {config}:{line}:19" in result.stderr
    data = tmp_path / "data"
    shutil.copytree(few_digits, data)
    (data / "val" / "0").rename(data / "val" / "O")
    (data / "train" / "1").rename(data / "elsewhere")
    (data / "train" / "1").mkdir()
    config = write_toml(tmp_path / "a.toml", tiny_raw(data))
    result = pochi("train", config, cwd=tmp_path)
    assert "error[empty-class]" in result.stderr
    assert "error[class-mismatch]" in result.stderr
    assert f"--> {config}:" in result.stderr
    assert not (tmp_path / "work_dirs").exists()


def test_a_damaged_published_data_set_is_told_at_its_key(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar-10-python.tar.gz").write_bytes(b"the beginning")
    raw = tiny_raw(dataset="cifar10", train_data_root="data")
    path = write_toml(tmp_path / "my.toml", raw)
    assert pochi("validate-config", path.name, cwd=tmp_path).returncode == 0
    result = pochi("validate-config", path.name, "--data", "--format", "json", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    report = json.loads(result.stdout)
    (record,) = [record for record in report["diagnostics"] if record["severity"] == "error"]
    assert record["code"] == "unusable-data"
    assert record["message"].startswith("cifar10: data/cifar-10-python.tar.gz is damaged: its MD5 is ")
    assert path.read_text().splitlines()[record["line"] - 1].startswith("train_data_root")
    result = pochi("train", path.name, cwd=tmp_path)
    assert result.returncode == 1
    assert "cifar10: data/cifar-10-python.tar.gz is damaged" in result.stderr
    assert not (tmp_path / "work_dirs").exists()
