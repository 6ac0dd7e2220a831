"""`pochi optimize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pochi_cli.commands.options import Overrides, quoted


def optimize(
    config: Annotated[Path, typer.Argument(help="TOML file with a table `optuna`.", readable=False)],
    overrides: Overrides = None,
    n_trials: Annotated[
        int | None,
        typer.Option("--n-trials", help="Short for --set optuna.n_trials=...", show_default=False),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", help="Seconds; short for --set optuna.timeout_s=...", show_default=False),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", help="URL; short for --set optuna.storage=...", show_default=False),
    ] = None,
) -> None:
    """Search hyper-parameters as the config's table `optuna` says, or go on with a stored search."""
    changes = list(overrides or ())
    changes += [f"optuna.n_trials={n_trials}"] if n_trials is not None else []
    changes += [f"optuna.timeout_s={timeout}"] if timeout is not None else []
    changes += [f"optuna.storage={quoted(storage)}"] if storage is not None else []
    from pochi_cli import api, console
    from pochi_cli.config.document import read_document
    from pochi_cli.config.load import check_document
    from pochi_cli.config.search_rules import require_search
    from pochi_cli.data.findings import raise_errors
    from pochi_cli.data.missing import missing_data
    from pochi_cli.errors import TrainingError
    from pochi_cli.search.summary import summarize, why_none
    from pochi_cli.search_display import create_view

    document = read_document(config, changes)
    checked = check_document(document)
    valid = checked.valid()
    with document.placing():
        require_search(valid)
        if checked.diagnostics:
            console.show_diagnostics(checked.diagnostics, document.path)
        raise_errors(missing_data(valid))
        outcome = api.optimize(valid, view=create_view())
    console.show_fields(*summarize(outcome.study, outcome.layout))
    if outcome.study.best is None:
        raise TrainingError(why_none(outcome.study), f"{outcome.layout.history} tells of each trial")
