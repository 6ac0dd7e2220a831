"""`pochi inspect`: what goes on inside a network."""

from __future__ import annotations

import typer

from pochi_cli.commands.inspect.gradients import gradients
from pochi_cli.commands.inspect.monitor import monitor

app = typer.Typer(help="Look inside a network.", no_args_is_help=True)
app.command("gradients")(gradients)
app.command("monitor")(monitor)
