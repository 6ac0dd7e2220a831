"""`pochi inspect all`: every inspection that applies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from pochi_cli.commands.inspect import activations, attention, gradients, model, monitor
from pochi_cli.commands.inspect.options import OutputDir, Strict
from pochi_cli.commands.inspect.outcome import Outcome
from pochi_cli.commands.options import AsJson, Device, RunName, WorkDir

Inspections = Iterator[tuple[str, Callable[[], Outcome]]]


def inspect_all(
    run: RunName = "latest",
    strict: Strict = False,
    device: Device = None,
    output_dir: OutputDir = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Inspect a run in every way that applies, one after the other: model, activations, attention and more.

    Where one fails, because data or a checkpoint are missing, it is told, and the others go on; the exit code
    then is 1.
    """
    from pochi_cli import console
    from pochi_cli.errors import PochiError
    from pochi_cli.runs.index import find_run

    directory = find_run(run, work_dir).directory
    records: dict[str, Any] = {}
    has_error = has_failed = False
    for name, inspect in _inspections(str(directory), device, output_dir, work_dir):
        if not as_json:
            console.show(f"── {name} ──")
        try:
            outcome = inspect()
        except PochiError as error:
            has_failed = True
            records[name] = {"obstacle": error.message}
            console.show_error(error)
        else:
            records[name] = outcome.record
            has_error = has_error or outcome.has_error
            if not as_json:
                outcome.show()
        if not as_json:
            console.show("")
    if as_json:
        console.show_values(records)
    if has_failed or (strict and has_error):
        raise typer.Exit(1)


def _inspections(run: str, device: str | None, output_dir: Path | None, work_dir: Path) -> Inspections:
    from pochi_cli.config.root import ClassificationConfig
    from pochi_cli.runs.index import find_run

    yield "model", lambda: model.inspect(run, None, None, device, output_dir, work_dir)
    yield "activations", lambda: activations.inspect(run, None, device, output_dir, work_dir)
    if isinstance(find_run(run, work_dir).config, ClassificationConfig):
        asked = attention.AskedAttention()
        yield "attention", lambda: attention.inspect(run, device, output_dir, work_dir, asked)
    yield "gradients", lambda: gradients.inspect(run, device, output_dir, work_dir)
    yield "monitor", lambda: monitor.inspect(run, output_dir, work_dir)
