"""The `pochi` command. Exceptions become exit codes here and nowhere else."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from pochi_cli.commands import (
    data,
    embed,
    export,
    infer,
    init,
    migrate,
    optimize,
    plot,
    report,
    runs,
    schema,
    train,
    validate_config,
)
from pochi_cli.commands.inspect import group as inspect
from pochi_cli.errors import Interrupted, MemoryExhaustedError, PeerLostError, PochiError
from pochi_cli.ranks import launched_rank
from pochi_cli.version import __version__

app = typer.Typer(
    name="pochi",
    help="Train image classifiers or encoders of vectors from one strict TOML file, and understand the runs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.init)
app.command("validate-config")(validate_config.validate_config)
app.command("schema")(schema.schema)
app.command("migrate")(migrate.migrate)
app.command("train")(train.train)
app.command("optimize")(optimize.optimize)
app.command("infer")(infer.infer)
app.command("embed")(embed.embed)
app.command("export")(export.export)
app.command("report")(report.report)
app.add_typer(data.app, name="data")
app.add_typer(plot.app, name="plot")
app.add_typer(runs.app, name="runs")
app.add_typer(inspect.app, name="inspect")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pochi {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _stop(number: int, frame: FrameType | None) -> None:
    """Handle SIGINT before a run begins.

    Raises:
        SystemExit: Unless a module is being imported: torch's own are C++ in part, where an exception may
            abort the process. Nothing is half done then.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(128 + number)
        frame = frame.f_back
    sys.exit(128 + number)


def main() -> None:
    """Run the command line.

    Exit codes: 0 success; 1 the work failed or the config is invalid; 2 wrong usage; 130 after SIGINT,
    143 after SIGTERM.
    """
    # Typer would make exit code 1 of an interrupt, and a traceback of one that comes while it is imported.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)
    # A stream that was closed by the caller (`2>&-`) is as good as one that nobody reads.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - to the end of the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    try:
        app(prog_name="pochi")
    except PochiError as error:
        from pochi_cli.console import note, show_error

        # Before processes that train together know of each other the first of each machine speaks for all.
        if not (launched_rank().local_rank if error.is_told is None else error.is_told):
            show_error(error)
        elif isinstance(error, PeerLostError) and error.hint is not None:
            note(error.hint)
        if isinstance(error, PeerLostError):
            import torch

            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                # What waits on the GPU for the lost process waits for ever, and the end of this one for it.
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(1)
        sys.exit(1)
    except MemoryError:
        from pochi_cli.console import show_error

        show_error(MemoryExhaustedError("out of memory", hint="free memory, or raise the limit (ulimit -v)"))
        sys.exit(1)
    except Interrupted as stop:
        from pochi_cli.console import note

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience must not spoil the exit code

        if not stop.is_told:
            note(str(stop))
        sys.exit(128 + stop.signal_number)
