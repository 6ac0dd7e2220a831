"""Which config a run goes on with, and which run goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from pochi_cli.config.load import load_config, validate
from pochi_cli.errors import ConfigError, RunError, format_key
from pochi_cli.runs.atomic import write_json
from pochi_cli.runs.continuation import continued_config, find_unfinished
from pochi_cli.runs.index import Run, open_run
from pochi_cli.runs.layout import create_run_directory
from pochi_cli.runs.records import RunFiles
from tests.commands.cli import write_toml
from tests.config.raw import folder
from tests.runs.test_records import record

STEPS = [{"name": "RandomResizedCrop", "size": 64}, {"name": "ToTensor"}, {"name": "Normalize"}]
FILE = folder(
    train_transform=STEPS,
    optimizer_params={"momentum": 0.8},
    scheduler="StepLR",
    scheduler_params={"step_size": 5},
    enable_layer_wise_lr=True,
    layer_wise_lr_config={"layer_rates": {"conv1": 0.1, "layer1": 0.2}},
)
CHOSEN = {"num_classes": 10, "device": "cpu", "precision": "fp32", "channels_last": False, "threads": 2}


def begin(work_dir: Path, raw: dict[str, Any], **changes: Any) -> Run:
    """A run as it lies on the disk; by default interrupted."""
    layout = create_run_directory(work_dir, datetime(2026, 11, 20))
    values = validate({**raw, **CHOSEN, "work_dir": str(work_dir)}).model_dump(mode="json", exclude_none=True)
    values["train_data_root"] = str(Path(values["train_data_root"]).absolute())
    write_json(layout.config_json, {"experiment_id": layout.name, **values})
    write_toml(layout.config_toml, values)
    kept = replace(record(layout.directory), **{"status": "interrupted", "stamp": layout.stamp, **changes})
    RunFiles(layout, kept, export_metrics=False)
    return open_run(layout.directory)


def test_what_a_config_leaves_open_is_as_the_run_chose_it(tmp_path: Path) -> None:
    run = begin(tmp_path, FILE)
    going_on = continued_config(run, validate({**FILE, "work_dir": str(tmp_path)}))
    assert going_on == run.config
    assert continued_config(run, run.config) == run.config


def test_the_batch_size_that_was_found_is_kept(tmp_path: Path) -> None:
    run = begin(tmp_path, {**FILE, "batch_size": 16, "accumulate_steps": 4})
    auto = {**FILE, "batch_size": "auto", "work_dir": str(tmp_path)}
    assert continued_config(run, validate({**auto, "accumulate_steps": 2})) == run.config
    with pytest.raises(ConfigError) as caught:
        continued_config(run, validate(auto))  # 32 images per step
    assert [diagnostic.key for diagnostic in caught.value.diagnostics] == [
        ("batch_size",),
        ("accumulate_steps",),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 21},
        {"num_workers": 3},
        {"device": "cuda"},
        {"on_bad_image": "skip"},
        {"log_every_steps": 1, "save_interval": 1, "checkpoint_every_steps": 7},
        {"enable_metrics_export": False},
        {"enable_gradient_tracking": True},
        {"train_data_root": "/elsewhere"},
    ],
)
def test_what_may_change(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = begin(tmp_path, FILE)
    going_on = continued_config(run, validate({**FILE, "work_dir": str(tmp_path), **changes}))
    for key, value in changes.items():
        assert getattr(going_on, key) == value


def test_what_is_traced_may_change_where_nothing_was(tmp_path: Path) -> None:
    traced = {"enable_gradient_tracking": True, "gradient_tracking_config": {"record_frequency": 2}}
    going_on = continued_config(begin(tmp_path / "off", FILE), validate({**FILE, **traced}))
    assert going_on.gradient_tracking_config.record_frequency == 2
    run = begin(tmp_path / "on", {**FILE, **traced})
    assert not continued_config(run, validate(FILE)).enable_gradient_tracking
    with pytest.raises(ConfigError, match=r"gradient_tracking_config\.record_frequency was 2"):
        continued_config(run, validate({**FILE, "enable_gradient_tracking": True}))


def test_a_run_stays_where_it_is(tmp_path: Path) -> None:
    run = begin(tmp_path / "runs", FILE)
    moved = open_run(run.directory.rename(tmp_path / run.layout.name))
    for work_dir in (tmp_path / "runs", tmp_path / "elsewhere"):
        going_on = continued_config(moved, validate({**FILE, "work_dir": str(work_dir)}))
        assert going_on.work_dir == str(tmp_path)


def test_a_run_may_only_get_more_epochs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="epochs is 20 in 20261120_001, and would be 3 now"):
        continued_config(begin(tmp_path, FILE), validate({**FILE, "epochs": 3}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learning_rate": 0.5}, {"learning_rate": "0.1 when 20261120_001 began, and is 0.5 now"}),
        ({"clip_grad_norm": 1.0}, {"clip_grad_norm": "not given when 20261120_001 began, and is 1.0 now"}),
        ({"precision": "bf16"}, {"precision": '"fp32" when'}),
        ({"threads": 1}, {"threads": "2 when"}),
        ({"optimizer_params": {"momentum": 0.9}}, {"optimizer_params.momentum": "0.8 when"}),
        ({"scheduler_params": {"step_size": 5, "gamma": 0.5}}, {"scheduler_params.gamma": "0.1 when"}),
        ({"optimizer": "AdamW", "optimizer_params": {}}, {"optimizer": '"SGD" when'}),
        ({"scheduler": None, "scheduler_params": None}, {"scheduler": 'and is not given now'}),
        (
            {"train_transform": [{"name": "RandomResizedCrop", "size": 32}, *STEPS[1:]]},
            {"train_transform[0].size": "64 when"},
        ),
        (
            {"train_transform": [{"name": "Resize", "size": [64, 64]}, *STEPS[1:]]},
            {"train_transform[0]": "{"},
        ),
        ({"train_transform": [*STEPS[:2]]}, {"train_transform": "["}),
        (
            {"layer_wise_lr_config": {"layer_rates": {"conv1": 0.1, "layer2": 0.2}}},
            {
                "layer_wise_lr_config.layer_rates.layer1": "0.2 when",
                "layer_wise_lr_config.layer_rates.layer2": "not given when",
            },
        ),
        ({"class_weights": [1.0] * 10, "seed": 3}, {"class_weights": "[1.0, ", "seed": "0 when"}),
    ],
)  # fmt: skip
def test_what_changes_the_course_is_refused(
    tmp_path: Path, changes: dict[str, Any], told: dict[str, str]
) -> None:
    run = begin(tmp_path, FILE)
    raw = {key: value for key, value in (FILE | changes).items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        continued_config(run, validate({**raw, "work_dir": str(tmp_path)}))
    found = {format_key(diagnostic.key): diagnostic.message for diagnostic in caught.value.diagnostics}
    assert list(found) == list(told)
    for key, text in told.items():
        assert found[key].startswith(f"{key} was ")
        assert text in found[key]


def test_the_order_of_the_rates_counts(tmp_path: Path) -> None:
    """The first pattern that matches wins, so another order is another training."""
    run = begin(tmp_path, FILE)
    turned = {"layer_rates": {"layer1": 0.2, "conv1": 0.1}}
    with pytest.raises(ConfigError, match="layer_rates was"):
        continued_config(run, validate({**FILE, "layer_wise_lr_config": turned, "work_dir": str(tmp_path)}))


def test_an_edited_config_file_is_noticed(tmp_path: Path) -> None:
    run = begin(tmp_path, FILE)
    text = run.layout.config_toml.read_text()
    run.layout.config_toml.write_text(text.replace("learning_rate = 0.1", "learning_rate = 0.2"))
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.1"):
        continued_config(run, load_config(run.layout.config_toml))


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    run = begin(tmp_path, FILE)
    run.layout.config_json.write_text(content)
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        continued_config(run, run.config)


def test_the_newest_unfinished_run_of_the_config_is_found(tmp_path: Path) -> None:
    config = validate({**FILE, "work_dir": str(tmp_path)})
    assert find_unfinished(config) == (None, [])
    names = {
        status: begin(tmp_path, raw, **changes).layout.name
        for status, raw, changes in (
            ("failed", FILE, {"status": "failed"}),
            ("crashed", FILE, {"status": "running", "host": gethostname()}),
            ("interrupted", FILE, {}),
            ("other", {**FILE, "seed": 1}, {}),
            ("finished", FILE, {"status": "finished"}),
        )
    }
    (tmp_path / names["finished"]).rename(tmp_path / "20261120_009")  # the newest
    damaged = begin(tmp_path, FILE)
    damaged.layout.run_json.write_text("{")
    for status in ("interrupted", "crashed", "failed"):
        found, unreadable = find_unfinished(config)
        assert found is not None
        assert (found.layout.name, found.status) == (names[status], status)
        (told,) = unreadable
        assert str(damaged.layout.run_json) in told
        found.layout.run_json.unlink()
    assert find_unfinished(config)[0] is None
