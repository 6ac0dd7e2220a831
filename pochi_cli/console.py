"""All that is printed: results to stdout, progress and messages to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pochi_cli.characters import visible_lines, without_surrogates
from pochi_cli.config.diagnostics import render, summary
from pochi_cli.errors import ConfigError, DataError, Diagnostic, PochiError, StorageError
from pochi_cli.runs.atomic import without_non_finite
from pochi_cli.tables import column_tables, fitting_widths, listing, plain, styled

if TYPE_CHECKING:
    from pochi_cli.inspection.findings import Finding
    from pochi_cli.inspection.gradient_rows import GradientOverview
    from pochi_cli.runs.plan import Plan

_MOST_BARS = 24
"""Length of the sparklines, where the terminal is wide enough."""


class _Patient:
    """A stream that goes silent when nobody reads it any more: a closed terminal must not end a training."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or do nothing."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Console(Console):
    """Takes nothing that it prints for an order to the terminal: names and reasons come from files."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Prepare a text that was given as such."""
        return super().render_str(visible_lines(text), **options)


def stderr_console(*, soft_wrap: bool = True) -> Console:
    """Make a console on stderr, where progress and messages go."""
    file = cast(TextIO, _Patient(sys.stderr))
    return _Console(file=file, highlight=False, emoji=False, soft_wrap=soft_wrap)


class _Results(_Console):
    """Standard output, whose loss is a failure: the result did not arrive."""

    def on_broken_pipe(self) -> None:
        """Pass it on; rich would exit."""
        raise BrokenPipeError


@contextmanager
def _arriving() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, had enough. What is left in the buffer must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StorageError(f"cannot write the result: {error.strerror or error}") from error


def _print_result(content: RenderableType, *, soft_wrap: bool = False, width: int | None = None) -> None:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that do not speak UTF-8
    with _arriving():
        # Without emoji: a class may be named ":dog:".
        console = _Results(highlight=False, emoji=False, width=width)
        console.print(content, markup=False, soft_wrap=soft_wrap)


def show(text: str) -> None:
    """Print a result."""
    _print_result(text, soft_wrap=True)


def show_file(text: str) -> None:
    """Print the text of a file as it is, in UTF-8 whatever the terminal's encoding."""
    with _arriving():
        sys.stdout.buffer.write(text.encode())


def note(text: str) -> None:
    """Tell something beside the result."""
    stderr_console().print(text, markup=False)


def show_fields(title: str, fields: Iterable[tuple[str, str]]) -> None:
    """Print a table of names and values."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(plain(name), plain(value))
    _print_result(Group(plain(title, "bold"), table))


def show_plan(source: str, plan: Plan) -> None:
    """Print what a valid config will do."""
    from pochi_cli.runs.plan_text import describe_plan, describe_rates  # pydantic, which few commands need

    show_fields(f"{source} is valid", describe_plan(plan))
    bars = min(_MOST_BARS, Console().width // 3)  # the rest is for names and numbers
    header = ("learning rate of", "parameters", f"epochs 1 to {plan.epochs:,}", "rate")
    show_table("", header, describe_rates(plan, max(bars, 1)), whole=2)


def show_table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, whole: int | None = None
) -> None:
    """Print a table: names in the first column, what belongs to them in the others.

    Args:
        title: Its heading.
        header: Names of the columns.
        rows: As many cells each.
        whole: Position of a column that is never folded.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for position, name in enumerate(header):
        table.add_column(
            plain(name),
            overflow="fold",
            justify="right" if position else "left",
            no_wrap=position == whole,
        )
    for row in rows:
        table.add_row(*map(plain, row))
    _print_result(Group(plain(title, "bold"), table, ""))


def show_listing(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str],
    shortened: Sequence[str],
    left_out: Sequence[str],
) -> None:
    """Print a table of one line for each row; where the output is no terminal there is room for everything.

    Args:
        header: Names of the columns.
        rows: As many cells each, of one line.
        right: Columns that are aligned to the right.
        shortened: Columns whose cells are cut, in this order, where a terminal is too narrow.
        left_out: Columns to leave out, in this order, where that does not suffice.
    """
    widths = fitting_widths(header, rows, shortened, left_out, _terminal_width())
    _print_result(listing(header, rows, widths, right), soft_wrap=True)


def show_columns(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with one column for each of several things that are compared.

    Where the terminal is too narrow for all of them they go on below, with the names of the rows again.

    Args:
        title: Its heading.
        header: Names of the columns after the first.
        rows: The name of a row, and a cell for each column.
    """
    room = _terminal_width()
    heading = plain(title, "bold")
    for table, width in column_tables(header, rows, room):
        _print_result(Group(heading, table, ""), width=room or max(width, heading.cell_len))


def _terminal_width() -> int | None:
    console = Console()
    return console.width if console.is_terminal else None


def show_values(values: Mapping[str, Any]) -> None:
    """Print one JSON object, in ASCII, whatever the terminal's encoding.

    Numbers that are not finite are strings, as in the files of a run; what is no Unicode becomes �.
    """
    text = json.dumps(without_non_finite(values), ensure_ascii=False, allow_nan=False)
    show_file(json.dumps(json.loads(without_surrogates(text)), indent=2) + "\n")


def show_error(error: PochiError) -> None:
    """Tell an expected failure, with its hint."""
    if isinstance(error, ConfigError | DataError) and error.diagnostics:
        show_diagnostics(error.diagnostics)
        return
    console = stderr_console()
    console.print(Text.assemble(("error:", "bold red"), " ", plain(error.message)))
    if error.hint:
        console.print(Text.assemble("  ", ("hint:", "cyan"), " ", plain(error.hint)))
    for extra in getattr(error, "__notes__", ()):
        console.print(f"  {extra}", markup=False)


def show_diagnostics(diagnostics: Iterable[Diagnostic], source: str | None = None) -> None:
    """Tell what is wrong with a config, each with its place, and count."""
    console = stderr_console()
    console.print(_diagnostics(list(diagnostics), source, console), soft_wrap=True)


def show_findings(diagnostics: Iterable[Diagnostic], source: str) -> None:
    """Print diagnostics where they are the result that was asked for."""
    _print_result(_diagnostics(list(diagnostics), source, Console()), soft_wrap=True)


def show_gradients(overview: GradientOverview) -> None:
    """Print the table of traced gradients."""
    from pochi_cli.gradient_table import gradient_table

    console = Console()
    _print_result(gradient_table(overview, console.width if console.is_terminal else None), soft_wrap=True)


def show_verdicts(findings: Sequence[Finding]) -> None:
    """Print what an inspection found, the gravest first, each with its evidence and what to do."""
    from pochi_cli.findings_text import findings_text

    console = Console()
    _print_result(findings_text(findings, console.width if console.is_terminal else None), soft_wrap=True)


def _diagnostics(diagnostics: list[Diagnostic], source: str | None, console: Console) -> Text:
    width = console.width if console.is_terminal else None
    text = Text()
    for diagnostic in diagnostics:
        text.append_text(styled(render(diagnostic, width))).append("\n")
    return text.append(summary(diagnostics, source))
