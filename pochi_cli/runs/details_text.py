"""All about a run in words."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pochi_cli.runs.details import RunDetails
from pochi_cli.runs.history import History
from pochi_cli.runs.listing_text import status_text
from pochi_cli.runs.quantities import age_text
from pochi_cli.runs.records import RunRecord
from pochi_cli.runs.summary import describe_files, describe_results
from pochi_cli.runs.value_text import names_text, value_text

_FINGERPRINT = 12
"""Characters of the data's fingerprint that are told."""
_ELSEWHERE = ("train_images", "val_images")
"""Settings that are told with the data."""


def describe_details(details: RunDetails) -> tuple[str, list[tuple[str, str]]]:
    """Describe a run: how it stands, how to go on, what it came to, what it was made from, where it lies.

    Returns:
        A title, and pairs of a name and a text, which may have several lines.
    """
    run, record = details.run, details.run.record
    rows = [
        *_standing(details),
        *describe_results(record, details.history or History()),
        *_times(record, details.age_s),
        ("id", record.experiment_id),
        ("model", f"{record.model_name}, {record.task}"),
        *_data(record),
        ("settings", _lines({key: of for key, of in record.settings.items() if key not in _ELSEWHERE})),
    ]
    if details.beyond_defaults is not None:
        keys = details.beyond_defaults.items()
        rows.append(("not default", _lines({key: of for key, of in keys if record.settings.get(key) != of})))
    rows += [("versions", _lines(record.environment)), ("directory", str(run.directory))]
    rows += [*describe_files(run.layout), *(("problem", problem) for problem in details.problems)]
    title = f"run {run.layout.name} {status_text(run, details.status)}"
    return title, [(name, text) for name, text in rows if text]


def _standing(details: RunDetails) -> Iterator[tuple[str, str]]:
    record = details.run.record
    if details.status in ("running", "crashed"):
        process = f"process {record.process_id} on {record.host}"
        crashed = f"{process} ended without closing the run"
        yield (
            "trained by" if details.status == "running" else "reason",
            (process if details.status == "running" else crashed),
        )
    elif record.reason:
        yield "reason", record.reason
    if details.status in ("crashed", "interrupted", "failed"):
        yield "go on with", f"pochi train --resume {shlex.quote(str(details.run.directory))}"


def _times(record: RunRecord, age_s: float) -> Iterator[tuple[str, str]]:
    yield "started", f"{_time(record.started_at)}, {age_text(age_s)} ago"
    if record.ended_at is not None:
        yield "ended", _time(record.ended_at)


def _time(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S %z}"


def _data(record: RunRecord) -> Iterator[tuple[str, str]]:
    train, val = (record.settings.get(name) for name in _ELSEWHERE)
    images = f"{value_text(train)} training and {value_text(val)} validation images, "
    fingerprint = f"fingerprint {record.data_fingerprint[:_FINGERPRINT]}"
    yield "data", (images if train is not None else "") + fingerprint
    if record.class_names:
        yield "classes", f"{len(record.class_names):,}: {names_text(record.class_names)}"


def _lines(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{key} = {value_text(value)}" for key, value in values.items() if value is not None)
