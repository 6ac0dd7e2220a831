"""`pochi train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pochi_cli.commands.options import Overrides
from pochi_cli.commands.short_options import described, environment_changes, option_changes

if TYPE_CHECKING:
    from pochi_cli.config.root import Config
    from pochi_cli.runs.index import Run


def _short(name: str, key: str, remark: str = "") -> Any:
    return typer.Option(name, help=f"Short for --set {key}=...{remark}.", show_default=False)


def train(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file.", show_default=False, readable=False)
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN|latest|auto",
            help="Go on with a run: its directory, name, UUID, or `latest`; with its own config, or with a "
            "CONFIG that does not change its course. `auto`: with the newest unfinished run of CONFIG, or "
            "with a new one.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", help="cpu, mps, cuda or cuda:N; short for --set device=...", show_default=False
        ),
    ] = None,
    epochs: Annotated[int | None, _short("--epochs", "epochs")] = None,
    batch_size: Annotated[int | None, _short("--batch-size", "batch_size")] = None,
    save_interval: Annotated[
        int | None,
        _short("--save-interval", "save_interval", "; for vectors the variable SAVE_INTERVAL does it, too"),
    ] = None,
    learning_rate: Annotated[float | None, _short("--lr", "learning_rate")] = None,
    latent_dim: Annotated[int | None, _short("--latent-dim", "latent_dim", "; of an encoder")] = None,
    loss_function: Annotated[
        str | None, _short("--loss-function", "loss_function", "; of an encoder")
    ] = None,
    tau: Annotated[float | None, _short("--tau", "tau", "; of an encoder")] = None,
    nproc: Annotated[
        int | None,
        typer.Option(
            "--nproc",
            min=1,
            metavar="N",
            help="Train with N processes on this machine, each on a GPU of its own or a share of the cores. "
            "batch_size counts the images of all.",
            show_default=False,
        ),
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            "--work-dir",
            help="Where the run goes (short for --set work_dir=...), or where --resume looks.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a model from a config, or go on with a run.

    The command line comes before the environment, and that before the file.
    """
    if config is None and (resume is None or resume == "auto"):
        needs = "--resume auto needs a CONFIG" if resume else "give a CONFIG, or --resume RUN"
        raise typer.BadParameter(needs, param_hint="CONFIG")
    from pochi_cli import api, console
    from pochi_cli.config.document import read_document
    from pochi_cli.config.load import check_document
    from pochi_cli.data.findings import raise_errors
    from pochi_cli.data.missing import missing_data
    from pochi_cli.display import create_progress
    from pochi_cli.installation import load_torch
    from pochi_cli.ranks import launched_rank, missing_variables, report_to_launcher
    from pochi_cli.runs.continuation import continued_config, find_unfinished
    from pochi_cli.runs.records import require_file
    from pochi_cli.runs.summary import summarize

    rank = launched_rank()
    if nproc is not None and not rank.is_alone and rank.local_world_size != nproc:
        launched = f"and {rank.local_world_size} processes were launched on this machine"
        raise typer.BadParameter(launched, param_hint="--nproc")
    is_launcher = nproc is not None and nproc > 1 and rank.is_alone
    begins = not report_to_launcher() and rank.is_first  # tells what there is to tell before the training
    options = {
        "device": device,
        "epochs": epochs,
        "batch_size": batch_size,
        "save_interval": save_interval,
        "learning_rate": learning_rate,
        "latent_dim": latent_dim,
        "loss_function": loss_function,
        "tau": tau,
    }
    run = None
    if config is None:
        run = api.load_run(str(resume), work_dir or "work_dirs")
        config = run.layout.config_toml
        require_file(config)
    elif work_dir is not None:
        options["work_dir"] = str(work_dir)
    changes = option_changes(options, overrides or ())
    keys = [change.key for change in changes]
    if twice := next((change for change in changes if keys.count(change.key) > 1 and change.is_short), None):
        raise typer.BadParameter(f"and --set {twice.key} are both given", param_hint=twice.source)
    document = read_document(config, [change.argument for change in changes])
    if run is None and (more := environment_changes(document, changes)):
        changes = [*more, *changes]
        document = read_document(config, [change.argument for change in changes])
    if rank.is_alone and (missing := missing_variables()):
        unset = ", ".join(missing)
        console.note(f"this process trains alone: WORLD_SIZE is set, as by a launcher, but not {unset}")
    if begins:
        for text in described(changes, read_document(config, ()).raw, document.raw):
            console.note(text)
    checked = check_document(document)
    valid = checked.valid()
    if begins and checked.diagnostics and (run is None or changes):  # else they were told when the run began
        console.show_diagnostics(checked.diagnostics, document.path)
    with document.placing():
        raise_errors(missing_data(valid))  # at once: loading torch takes seconds
        if resume == "auto":
            run, unreadable = find_unfinished(valid)
            told = [*(f"passed over: {name}" for name in unreadable), _found(run, valid)]
            for text in told if begins else ():
                console.note(text)
        elif run is None and resume is not None:
            run = api.load_run(resume, valid.work_dir)
        if run is not None:
            valid = continued_config(run, valid)  # what does not fit is told at once as well
        load_torch()
        if is_launcher:
            from pochi_cli.engine.launching import launch

            launch(nproc or 1, sys.argv[1:], console.note)
            return
        progress = create_progress() if rank.is_first else None
        if run is None:
            run = api.train(valid, progress=progress)
        else:
            run = api.resume(run, valid, progress=progress)
    if rank.is_first:
        console.show_fields(*summarize(run))


def _found(run: Run | None, config: Config) -> str:
    if run is None:
        return f"there is no unfinished run of this config in {config.work_dir}: a new one begins"
    record = run.record
    return f"{run.layout.name} goes on: {run.status} after {record.epochs_done} of {record.epochs} epochs"
