"""The command line as a user meets it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from pochi_cli.app import main


def pochi(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `pochi` without a terminal, 200 columns wide.

    It runs within this process, which has loaded torch already. An exception that it does not handle is
    raised.
    """
    command = ["pochi", *map(str, arguments)]
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("surrogateescape", "backslashreplace")
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "stdin", io.StringIO())
        for name, value in {"COLUMNS": "200", **environment}.items():
            patch.setenv(name, value)
        code: object = None
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGINT, before)
    assert code is None or isinstance(code, int)
    shown, told = (_written(stream) for stream in (out, err))
    return subprocess.CompletedProcess(command, code or 0, shown, told)


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def pochi_process(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the same in a process of its own."""
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
