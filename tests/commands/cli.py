"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def pochi(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `pochi` without a terminal, 200 columns wide."""
    return subprocess.run(
        [sys.executable, "-m", "pochi_cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def write_toml(path: Path, raw: dict[str, object]) -> Path:
    """Write a raw config as a file."""
    import tomli_w

    path.write_text(tomli_w.dumps(raw), "utf-8")
    return path
