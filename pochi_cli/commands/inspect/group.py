"""`pochi inspect`: what goes on inside a network."""

from __future__ import annotations

import typer

from pochi_cli.commands.inspect.activations import activations
from pochi_cli.commands.inspect.all import inspect_all
from pochi_cli.commands.inspect.attention import attention
from pochi_cli.commands.inspect.gradients import gradients
from pochi_cli.commands.inspect.model import model
from pochi_cli.commands.inspect.monitor import monitor

app = typer.Typer(help="Look inside a network.", no_args_is_help=True)
app.command("model")(model)
app.command("activations")(activations)
app.command("attention")(attention)
app.command("gradients")(gradients)
app.command("monitor")(monitor)
app.command("all")(inspect_all)
