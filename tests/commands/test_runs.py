"""`pochi runs`, as a user types it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pochi_cli.app import app
from pochi_cli.errors import RunError, StorageError
from pochi_cli.runs.index import Run
from pochi_cli.tensorboard.events import EventFile
from pochi_cli.tensorboard.summaries import scalar
from tests.commands.cli import pochi
from tests.runs.fake import encoder_history, history, make_encoder_run, make_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Two runs in `work_dirs` and one elsewhere."""
    monkeypatch.chdir(tmp_path)
    place = Path("work_dirs")
    return [
        make_run(place, history(90.0, 95.0), best_value=95.0, best_epoch=2),
        make_run(place, history(80.0), {"learning_rate": 0.5}, best_value=float("nan"), best_epoch=1),
        make_run(Path("else where"), history(70.0), best_value=70.0, model_name="resnet34"),
    ]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command in this process, and return what it printed."""
    app(list(arguments), standalone_mode=False)
    return capsys.readouterr().out


def values(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(told(capsys, *arguments), parse_constant=refuse)


@pytest.mark.usefixtures("runs")
def test_the_list_has_one_line_for_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    header, _, *lines = told(capsys, "runs").splitlines()
    assert header.split() == ["name", "id", "task", "model", "status", "epochs", "best", "duration", "age"]
    assert [line.split()[0] for line in lines] == ["20261120_001", "20261120_002"]
    assert "95.00 % acc" in lines[0]
    (line,) = told(capsys, "runs", "--work-dir", "else where").splitlines()[2:]
    assert "resnet34" in line


def test_the_list_as_json(runs: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    found = values(capsys, "runs", "--json")
    assert found["work_dir"] == "work_dirs"
    assert [run["best_value"] for run in found["runs"]] == [95.0, "NaN"]
    assert found["runs"][0]["experiment_id"] == runs[0].record.experiment_id
    assert found["runs"][0]["duration_s"] == 65.0
    assert found["runs"][0]["age_s"] > 0


def test_options_stand_before_or_behind_the_sub_command(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--work-dir", "else where", "--json")
    for arguments in (("show", "latest", *options), (*options, "show", "latest"), (*options, "show")):
        found = values(capsys, "runs", *arguments)
        assert found["experiment_id"] == runs[2].record.experiment_id
    pair = ("20261120_001", str(runs[0].directory))
    assert len(values(capsys, "runs", "compare", *pair, *options)["runs"]) == 2
    assert len(values(capsys, "runs", *options, "compare", *pair)["runs"]) == 2


def test_show(runs: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "runs", "show", runs[0].record.experiment_id[:8])
    assert text.startswith("run 20261120_001 finished\n")
    assert "val_accuracy 95.0000 % in epoch 2" in text


def test_show_from_within_the_run(
    runs: list[Run], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs[0].directory)
    assert told(capsys, "runs", "show", ".").startswith("run 20261120_001 finished\n")


def test_compare(runs: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "runs", "compare", "20261120_001", "latest", str(runs[2].directory))
    assert "learning_rate" in text
    assert text.endswith("best: work_dirs/20261120_001, val_accuracy 95.0000 % in epoch 2\n")
    with pytest.raises(RunError, match="given twice"):
        told(capsys, "runs", "compare", "latest", "20261120_002")


def test_hostile_names_give_the_terminal_no_orders(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "r\x1b]0;owned\x07\udcff"
    run = make_run(
        place,
        history(90.0),
        {"work_dir": "\x1b[2J"},
        status="failed",
        reason="bad\x9b31m\u202e",
        model_name="\x1b[31mred",
        class_names=("\x1b[31m", "b"),
    )
    other = make_run(place, history(90.0))
    for arguments in (
        ("runs", "--work-dir", str(place)),
        ("runs", "show", str(run.directory)),
        ("runs", "compare", str(run.directory), str(other.directory)),
    ):
        app([*arguments], standalone_mode=False)
    run.layout.run_json.write_text("{")
    app(["runs", "--work-dir", str(place)], standalone_mode=False)
    printed = capfd.readouterr()
    assert "\\u001b[31mred" in printed.out
    assert "is damaged" in printed.err
    for text in (printed.out, printed.err):
        assert not set(text) & set("\x1b\x07\x9b\u202e\r")
    app(["runs", "show", str(other.directory), "--json"], standalone_mode=False)
    found = json.loads(capfd.readouterr().out)
    assert found["directory"].encode("utf-8").endswith("owned\x07�/20261120_002".encode())


def test_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert values(capsys, "runs", "--json") == {"work_dir": "work_dirs", "runs": []}
    app(["runs"], standalone_mode=False)
    printed = capsys.readouterr()
    assert (printed.out, printed.err.split(";")[0]) == ("", "there are no runs in work_dirs")


@pytest.mark.usefixtures("runs")
def test_exit_codes(tmp_path: Path) -> None:
    missing = pochi("runs", "--work-dir", "mistyped", cwd=tmp_path)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no directory mistyped" in missing.stderr
    assert pochi("runs", "compare", "latest", cwd=tmp_path).returncode == 2
    endless = pochi("runs", "show", "x" * 5000, cwd=tmp_path)
    assert endless.returncode == 1
    assert endless.stderr.startswith('error: there is no run "xxx')


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("columns", "header"),
    [
        (140, "name id task model status epochs best duration age"),
        (80, "name model status epochs best duration age"),
        (50, "name status epochs best"),
    ],
)
def test_a_terminal_shows_what_fits(tmp_path: Path, columns: int, header: str) -> None:
    make_run(
        tmp_path / "work_dirs", model_name="mobilenet_v3_large", status="running", host="a-long-host-name"
    )
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "40", "NO_COLOR": "1", "TERM": "xterm"}
    command = [sys.executable, "-m", "pochi_cli", "runs"]
    subprocess.run(command, cwd=tmp_path, env=environment, stdout=slave, stdin=slave, check=True)
    os.close(slave)
    lines = os.read(master, 100_000).decode().splitlines()
    os.close(master)
    lines = [line for line in lines if "name" in line or "2026" in line]
    assert lines[0].replace("\x1b[1m", "").replace("\x1b[0m", "").split() == header.split()
    assert len(lines) == 4
    assert lines[3].split()[0] == "20261120_003"
    if columns == 80:
        assert "mobilene" in lines[3]
        assert "…" in lines[3]


def test_scalars_are_exported_as_a_reader_has_them(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = [
        (0, {10: 0.1, 20: 0.25, 30: 9.0, 40: 9.0}),
        (30, {30: float("nan"), 40: 1 / 3}),
    ]
    for purge_step, points in sessions:
        file = EventFile(runs[0].layout, purge_step)
        for step, value in points.items():
            file.add(scalar("loss/train", value), step)
            file.add(scalar("a,b", -value), step)
        file.flush()
    printed = told(capsys, "runs", "export-scalars", runs[0].layout.name)
    rows = [line.split(",") for line in printed.splitlines()[1:] if line.startswith("loss/")]
    assert printed.splitlines()[0] == "tag,step,wall_time,value"
    assert [(step, value) for _, step, _, value in rows] == [
        ("10", "0.1"),
        ("20", "0.25"),
        ("30", "nan"),
        ("40", "0.33333334"),
    ]
    assert '"a,b",10,' in printed
    said = told(capsys, "runs", "export-scalars", runs[0].layout.name, "--csv", "out.csv")
    assert said == ""
    assert Path("out.csv").read_text() == printed
    exported = values(capsys, "runs", "export-scalars", runs[0].layout.name, "--json")["scalars"]
    assert [point["value"] for point in exported if point["tag"] == "loss/train"][:2] == [
        pytest.approx(0.1),
        0.25,
    ]


def test_damaged_event_files_are_told(runs: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    layout = runs[0].layout
    for purge_step in (0, 2):
        file = EventFile(layout, purge_step)
        for step in range(3):
            file.add(scalar("a", step), step)
        file.flush()
    first, second = sorted(layout.tensorboard.iterdir())
    content = bytearray(first.read_bytes())
    content[-10] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-5])  # a record that is still being written
    app(["runs", "export-scalars", layout.name], standalone_mode=False)
    printed = capsys.readouterr()
    assert [line.split(",")[1] for line in printed.out.splitlines()[1:]] == ["0", "1", "0", "1"]
    assert f"{first} is damaged: a wrong check sum at byte" in " ".join(printed.err.split())
    assert second.name not in printed.err
    first.unlink()
    for nothing in (b"", b"nothing of the kind " * 100):
        second.write_bytes(nothing)
        with pytest.raises(RunError, match="is damaged"):
            app(["runs", "export-scalars", layout.name], standalone_mode=False)


def test_scalars_go_where_a_link_or_a_device_leads(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    file = EventFile(runs[0].layout, 0)
    file.add(scalar("a", 1.0), 1)
    file.flush()
    Path("link.csv").symlink_to("target.csv")
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    for target in ("link.csv", "pipe"):
        told(capsys, "runs", "export-scalars", runs[0].layout.name, "--csv", target)
    assert Path("link.csv").is_symlink()
    assert Path("target.csv").read_text().startswith("tag,step,")
    assert os.read(reader, 10_000).decode() == Path("target.csv").read_text()
    os.close(reader)
    with pytest.raises(StorageError, match="No space left"):
        app(["runs", "export-scalars", runs[0].layout.name, "--csv", "/dev/full"], standalone_mode=False)


def test_a_run_without_event_files_says_how_to_get_them(runs: list[Run]) -> None:
    with pytest.raises(RunError, match="has no event files") as error:
        app(["runs", "export-scalars", runs[1].layout.name], standalone_mode=False)
    assert "enable_tensorboard = true" in str(error.value.hint)


def test_without_arguments_all_of_the_latest_task_are_compared(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="only run that can be compared"):
        told(capsys, "runs", "compare", "--work-dir", "else where")
    capsys.readouterr()
    assert len(values(capsys, "runs", "compare", "--json")["runs"]) == 2
    place = runs[0].directory.parent
    encoders = [
        make_encoder_run(place, encoder_history(value), {"seed": seed, "tau": tau})
        for tau, recalls in ((1.0, (0.5, 0.6)), (0.5, (0.7, 0.8)))
        for seed, value in enumerate(recalls)
    ]
    app(["runs", "compare"], standalone_mode=False)
    printed = capsys.readouterr()
    assert printed.err == "passed over: 2 runs of the task classification\n"
    assert "tau 1 (2 seeds)    tau 0.5 (2 seeds)" in printed.out
    assert "the losses do not compare: tau differs\n" in printed.out
    last = printed.out.splitlines()[-1]
    assert last.startswith("best by mean: tau 0.5 (2 seeds), recall@5 0.7500 ± 0.0707, better than")
    found = values(capsys, "runs", "compare", "--json")
    assert [run["name"] for run in found["runs"]] == [run.layout.name for run in encoders]
    assert [group["names"] for group in found["groups"]] == [
        ["20261120_003", "20261120_004"],
        ["20261120_005", "20261120_006"],
    ]
    with pytest.raises(RunError, match="no metrics in common"):
        told(capsys, "runs", "compare", "20261120_001", "20261120_003")
