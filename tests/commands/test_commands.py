"""Commands: their output, their errors and their exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from pochi_cli.config.load import load_config
from pochi_cli.config.reference import reference_text
from pochi_cli.config.schema import SCHEMA_TITLE, schema_text
from pochi_cli.config.templates import template_names
from pochi_cli.runs.index import find_run, run_directories
from pochi_cli.version import __version__
from tests.commands.cli import pochi, pochi_process, write_toml
from tests.engine.tiny import tiny_raw

CONFIGS = Path(__file__).parent.parent.parent / "configs"


def test_version(tmp_path: Path) -> None:
    assert pochi("--version", cwd=tmp_path).stdout == f"pochi {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["train"],
        ["train", "--resume", "auto"],
        ["train", "--epochs"],
        ["init", "a", "b"],
    ],
)
def test_wrong_usage_is_2(tmp_path: Path, arguments: list[str]) -> None:
    result = pochi(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_train_resume_and_plot(few_digits: Path, tmp_path: Path) -> None:
    raw = tiny_raw(few_digits, scheduler="StepLR", scheduler_params={"step_size": 30})
    config = write_toml(tmp_path / "my.toml", raw)
    result = pochi_process("train", config, "--set", "epochs=1", "--device", "cpu", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "warning[schedule-length]: step_size is 30 for 1 epochs" in result.stderr
    run = find_run("latest", tmp_path / "work_dirs")
    assert f"run {run.layout.name} finished" in result.stdout
    assert "1/1" in result.stderr  # progress goes to stderr
    assert "1/1" not in result.stdout
    assert {path.name.rpartition("_")[2] for path in run.layout.visualization.glob("*.png")} == {
        "loss.png",
        "accuracy.png",
    }

    result = pochi("train", "--resume", "latest", "--set", "epochs=2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(run.history) == 2
    assert pochi("train", "--resume", run.layout.name, cwd=tmp_path).returncode == 1

    result = pochi("train", config, "--resume", "latest", "--set", "learning_rate=0.5", cwd=tmp_path)
    assert result.returncode == 1
    assert f"learning_rate was 0.02 when {run.layout.name} began, and is 0.5 now" in result.stderr
    assert "--> --set:1:15" in result.stderr

    run.layout.run_json.write_text(run.layout.run_json.read_text().replace("finished", "failed"))
    result = pochi("train", config, "--resume", "auto", "--set", "epochs=3", cwd=tmp_path)
    assert f"{run.layout.name} goes on: failed after 2 of 2 epochs" in result.stderr
    assert len(run.history) == 3
    result = pochi("train", config, "--resume", "auto", "--set", "epochs=1", cwd=tmp_path)
    assert "there is no unfinished run of this config in work_dirs: a new one begins" in result.stderr
    assert len(run_directories(tmp_path / "work_dirs")) == 2

    result = pochi_process("plot", "metrics", "--output-dir", tmp_path / "pictures", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert sorted(map(Path, result.stdout.split())) == sorted((tmp_path / "pictures").glob("*.png"))


def test_work_dir_option_decides_where_a_run_goes(few_digits: Path, tmp_path: Path) -> None:
    config = write_toml(tmp_path / "my.toml", tiny_raw(few_digits, epochs=1, work_dir="from_the_file"))
    place = tmp_path / "it's here"
    assert pochi("train", config, "--work-dir", place, cwd=tmp_path).returncode == 0
    assert find_run("latest", place).record.status == "finished"
    assert not (tmp_path / "from_the_file").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_tells_how_to_go_on(
    few_digits: Path, tmp_path: Path, number: int, code: int
) -> None:
    """Also where it reaches the whole group of processes, those that load images included."""
    config = write_toml(tmp_path / "my.toml", tiny_raw(few_digits, epochs=1000, num_workers=1))
    process = subprocess.Popen(
        [sys.executable, "-m", "pochi_cli", "train", config],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    latest = tmp_path / "work_dirs"
    deadline = time.monotonic() + 120
    while not list(latest.glob("*/models/latest_model.pth")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert "go on with: pochi train --resume" in told
    assert "Traceback" not in told
    assert find_run("latest", latest).record.status == "interrupted"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into /proc")
def test_an_interrupt_before_the_run_begins_leaves_nothing(few_digits: Path, tmp_path: Path) -> None:
    config = write_toml(tmp_path / "my.toml", tiny_raw(few_digits))
    process = subprocess.Popen(
        [sys.executable, "-m", "pochi_cli", "train", config], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert not (tmp_path / "work_dirs").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_closed_streams_are_as_good_as_unread_ones(tmp_path: Path, closed: str) -> None:
    command = f"{sys.executable} -m pochi_cli runs {closed}"
    assert subprocess.run(command, shell=True, cwd=tmp_path, check=False).returncode == 0  # noqa: S602


def test_a_closed_terminal_does_not_end_a_training(few_digits: Path, tmp_path: Path) -> None:
    config = write_toml(tmp_path / "my.toml", tiny_raw(few_digits))
    code = f"{sys.executable} -m pochi_cli train {config} 2>&1 >/dev/null | head -1"
    subprocess.run(code, shell=True, cwd=tmp_path, check=True, capture_output=True)  # noqa: S602
    assert find_run("latest", tmp_path / "work_dirs").record.status == "finished"


@pytest.mark.parametrize(
    ("raised", "told", "hint"),
    [
        # What torchvision says at import beside a torch that it was not built for.
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "torch and torchvision do not work together: operator torchvision::nms",
            "install matching builds",
        ),
        # What the loader of shared libraries says under a limit such as `ulimit -v 2000000`.
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            "torch and torchvision find no room in memory: "
            "libtorch_cpu.so: failed to map segment from shared object",
            "see its limits with ulimit",
        ),
    ],
    ids=["builds", "limit"],
)
def test_why_torch_cannot_be_imported_is_told(
    raised: Exception, told: str, hint: str, few_digits: Path, tmp_path: Path
) -> None:
    package = tmp_path / "path" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise {raised!r}")
    config = write_toml(tmp_path / "my.toml", tiny_raw(few_digits))
    result = pochi_process("train", config, cwd=tmp_path, PYTHONPATH=str(package.parent))
    assert result.returncode == 1
    assert told in result.stderr
    assert hint in result.stderr
    assert "Traceback" not in result.stderr


def test_an_interrupt_while_torch_is_imported_is_130(few_digits: Path, tmp_path: Path) -> None:
    package = tmp_path / "path" / "torchvision"
    package.mkdir(parents=True)
    # As the C++ in torch's packages does: an exception that comes through it ends the process.
    code = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nfinally:\n    os.abort()\n"
    (package / "__init__.py").write_text(code)
    config = write_toml(tmp_path / "my.toml", tiny_raw(few_digits))
    result = pochi_process(
        "train", config, cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(package.parent), str(CONFIGS.parent)])
    )
    assert result.returncode == 130, result.stderr
    assert "Traceback" not in result.stderr


def test_a_result_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "pochi_cli", "validate-config", CONFIGS / "quickstart.toml"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == "error: cannot write the result: No space left on device\n"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train_data_root": "/nowhere"}, "/nowhere"),
        ({"epochs": 0}, "out-of-range"),
        ({"epoch": 3}, "unknown key `epoch`"),
        ({"weights": "/nowhere/weights.pth", "pretrained": None}, "/nowhere/weights.pth"),
        ({"num_classes": 7}, "num_classes is 7"),
        ({"work_dir": "/proc/nowhere"}, "/proc/nowhere"),
        ({"pretrained": True}, "pretrained"),
    ],
)
def test_failures_are_told_without_a_traceback_and_leave_nothing(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], told: str
) -> None:
    config = write_toml(tmp_path / "my.toml", tiny_raw(few_digits, **changes))
    # No network, and no weights in this cache. An opener that is there already would know of no proxy.
    monkeypatch.setattr(urllib.request, "_opener", None)
    result = pochi(
        "train", config, cwd=tmp_path, TORCH_HOME=str(tmp_path / "torch"), HTTPS_PROXY="http://127.0.0.1:9"
    )
    assert result.returncode == 1, result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "work_dirs").exists()


@pytest.mark.parametrize("name", template_names())
def test_templates_are_valid_and_say_what_they_need(tmp_path: Path, name: str) -> None:
    result = pochi("init", "my.toml", "--template", name, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    load_config(tmp_path / "my.toml")
    assert "Needs" in (tmp_path / "my.toml").read_text().partition("\n\n")[0]


def test_init_writes_the_schema_that_the_first_line_names(tmp_path: Path) -> None:
    result = pochi("init", "a/my.toml", cwd=tmp_path)
    assert result.returncode == 1  # there is no such directory
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    result = pochi("init", "a/my.toml", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (
        "wrote a/my.toml and a/pochi.schema.json, for editors; next: pochi train a/my.toml" in result.stdout
    )
    named = (tmp_path / "a/my.toml").read_text().partition("\n")[0].removeprefix("#:schema ")
    assert (tmp_path / "a" / named).read_text("utf-8") == schema_text()


def test_init_renews_a_schema_of_its_own_and_no_other(tmp_path: Path) -> None:
    place = tmp_path / "pochi.schema.json"
    place.write_text(json.dumps({"title": SCHEMA_TITLE, "properties": {}}))
    assert pochi("init", "a.toml", cwd=tmp_path).returncode == 0
    assert place.read_text("utf-8") == schema_text()

    place.write_text('{"title": "mine"}')
    result = pochi("init", "b.toml", cwd=tmp_path)
    assert result.returncode == 0
    assert place.read_text() == '{"title": "mine"}'
    assert "pochi.schema.json is not a schema of Pochi's and stays as it is" in result.stderr
    assert "for editors" not in result.stdout


def test_schema_prints_the_schema(tmp_path: Path) -> None:
    result = pochi("schema", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == schema_text()
    result = pochi("schema", "--format", "json", cwd=tmp_path)
    assert result.stdout == schema_text()


def test_schema_prints_the_reference(tmp_path: Path) -> None:
    result = pochi("schema", "--format", "markdown", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == reference_text()
    assert pochi("schema", "--format", "yaml", cwd=tmp_path).returncode == 2


def test_every_example_config_is_a_template() -> None:
    assert len(template_names()) == len(list(CONFIGS.glob("*.toml"))) == 14
    assert "quickstart" in template_names()
    assert not [name for name in template_names() if "schema" in name or "." in name]


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "pochi.toml").write_text("mine")
    result = pochi("init", cwd=tmp_path)
    assert result.returncode == 1
    assert "exists already" in result.stderr
    assert (tmp_path / "pochi.toml").read_text() == "mine"
    result = pochi("init", "new.toml", "--template", "quickstrat", cwd=tmp_path)
    assert result.returncode == 1
    assert "did you mean quickstart?" in result.stderr


def test_plot_without_runs(tmp_path: Path) -> None:
    result = pochi("plot", "metrics", cwd=tmp_path)
    assert result.returncode == 1
    assert "there is no run" in result.stderr
