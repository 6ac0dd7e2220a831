"""A training by several processes: `python -m tests.engine.together SPEC`, a JSON object, in each of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from pochi_cli.config.load import validate
from pochi_cli.engine.training import resume, train
from pochi_cli.errors import Interrupted, PochiError
from pochi_cli.runs.index import Run, find_run, open_run
from tests.engine.trained import going_on


def train_together(raw: dict[str, Any], *, processes: int = 2, code: int = 0, **more: Any) -> list[str]:
    """Train a raw config; returns what each process wrote to its error channel."""
    return _together({"raw": raw, **more}, processes, code)


def resume_together(run: Run, *overrides: str, processes: int = 2, code: int = 0) -> Run:
    """Go on with a run."""
    _together({"resume": str(run.directory), "overrides": overrides}, processes, code)
    return open_run(run.directory)


def latest_in(work_dir: Path) -> Run:
    """The run that was trained last."""
    return find_run("latest", work_dir)


def start(spec: dict[str, Any], processes: int) -> list[subprocess.Popen[str]]:
    """Start the processes as a launcher does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.engine.together", json.dumps(spec)],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


def _together(spec: dict[str, Any], processes: int, code: int) -> list[str]:
    started = start(spec, processes)
    written = [process.communicate(timeout=120)[1] for process in started]
    assert {process.returncode for process in started} == {code}, "\n".join(written)
    return written


def main() -> None:
    """Train, or go on, as one of them."""
    spec = json.loads(sys.argv[1])
    try:
        if "raw" in spec:
            train(validate(spec["raw"]))
        else:
            run = find_run(spec["resume"])
            resume(run, going_on(run, spec["overrides"]))
    except PochiError as error:
        sys.exit(f"told: {error.message}" if not error.is_told else 1)
    except Interrupted as stop:
        sys.exit(128 + stop.signal_number)


if __name__ == "__main__":
    main()
