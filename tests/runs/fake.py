"""Runs that were never trained, of the files that a trained one has."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import tomli_w

from pochi_cli.runs.atomic import write_json, write_text
from pochi_cli.runs.index import Run, open_run
from pochi_cli.runs.layout import create_run_directory
from pochi_cli.runs.records import EpochRecord, History, RunFiles
from tests.engine.tiny import tiny_config
from tests.runs.test_records import record


def history(*val_accuracies: float | None) -> History:
    """One epoch for each accuracy; the losses fall as the accuracies rise."""
    return History(
        tuple(
            EpochRecord(
                epoch,
                learning_rate=0.1,
                train_loss=1 / epoch,
                train_accuracy=50.0 + epoch,
                val_loss=None if value is None else (100 - value) / 100,
                val_accuracy=value,
                duration_s=2.0,
                images_per_second=100.0,
            )
            for epoch, value in enumerate(val_accuracies, start=1)
        )
    )


def make_run(
    work_dir: Path,
    trained: History | None = None,
    config: dict[str, Any] | None = None,
    **changes: Any,
) -> Run:
    """Make a finished run.

    Args:
        work_dir: Where.
        trained: Its history.
        config: Keys of its config that are not the tiny one's.
        changes: Fields of its record that are not usual.
    """
    layout = create_run_directory(work_dir, datetime(2026, 11, 20, 12, 30, 5))
    made = replace(
        record(layout.directory),
        experiment_id=str(uuid.uuid4()),
        status="finished",
        settings={"device": "cpu", "train_images": 65, "val_images": 30},
        environment={"pochi": "0.1.0", "torch": "2.6.0", "git_commit": "abc"},
        data_fingerprint="0123456789abcdef",
        duration_s=65.0,
        epochs_done=len(trained or ()),
    )
    values = tiny_config().model_dump(mode="json", exclude_none=True) | (config or {})
    write_text(layout.config_toml, tomli_w.dumps(values))
    write_json(layout.config_json, {"experiment_id": made.experiment_id, **values})
    files = RunFiles(layout, replace(made, **changes), export_metrics=False)
    if trained is not None:
        files.write_history(trained)
    return open_run(layout.directory)
