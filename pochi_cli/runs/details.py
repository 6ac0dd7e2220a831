"""All that the files of one run tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pochi_cli.errors import ConfigError, RunError
from pochi_cli.runs.flattening import flatten
from pochi_cli.runs.history import History
from pochi_cli.runs.index import Run, RunStatus
from pochi_cli.runs.listing import age_s
from pochi_cli.runs.records import read_config


@dataclass(frozen=True)
class RunDetails:
    """One run, as far as its files can be read.

    Attributes:
        run: The run.
        status: How it stands.
        age_s: Seconds since it began.
        config: Its resolved config, as config.json has it.
        beyond_defaults: Keys of the config that differ from their defaults; `None` where this version
            does not read the config.
        history: Its finished epochs.
        problems: What could not be read, and why.
    """

    run: Run
    status: RunStatus
    age_s: float
    config: Mapping[str, Any] | None
    beyond_defaults: Mapping[str, Any] | None
    history: History | None
    problems: tuple[str, ...]

    def to_record(self) -> dict[str, Any]:
        """Make a record for JSON."""
        layout = self.run.layout
        files = {
            "config_toml": layout.config_toml,
            "config_json": layout.config_json,
            "run_json": layout.run_json,
            "history_json": layout.history_json,
            "log": layout.log,
            "best_model": layout.best_model,
            "latest_model": layout.latest_model,
            "metrics_csv": layout.metrics_csv,
        }
        return {
            **asdict(self.run.record),
            "name": layout.name,
            "directory": str(layout.directory),
            "status": self.status,
            "age_s": self.age_s,
            "config": self.config,
            "history": None if self.history is None else self.history.to_dict(),
            "files": {name: str(path) if path.exists() else None for name, path in files.items()},
            "problems": self.problems,
        }


def read_details(run: Run, now: datetime) -> RunDetails:
    """Read what a run's files tell; one that is damaged leaves the others to be told.

    Args:
        run: The run.
        now: The time that its age counts to, with its zone.
    """
    config = history = beyond = None
    problems = []
    try:
        config = read_config(run.layout.config_json)
    except RunError as error:
        problems.append(error.message)
    try:
        history = run.history
    except RunError as error:
        problems.append(error.message)
    try:
        kept = run.config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        beyond = flatten(kept)
    except ConfigError as error:
        problems.append(f"this version of Pochi would not train its config again: {error.diagnostics[0]}")
    return RunDetails(run, run.status, age_s(run, now), config, beyond, history, tuple(problems))
