"""Findings of inspections for a terminal or a log, in the form of the diagnostics of a config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from pochi_cli.characters import visible
from pochi_cli.config.diagnostics import Line, heading, remark
from pochi_cli.inspection.findings import GRAVITIES, Finding
from pochi_cli.tables import styled

_MOST_NAMES = 12


def findings_text(findings: Iterable[Finding], width: int | None) -> Text:
    """Tell each finding with its evidence and suggestion, the gravest first.

    Args:
        findings: At least one.
        width: Columns of the output; `None` leaves long messages on one line.
    """
    ordered = sorted(findings, key=lambda finding: GRAVITIES.index(finding.severity))
    return Text("\n").join(styled(_lines(finding, width)) for finding in ordered)


def _lines(finding: Finding, width: int | None) -> Iterator[Line]:
    yield from heading(finding.severity, finding.code, finding.message, width)
    yield from remark("note", visible(finding.evidence), " ", width)
    if finding.also:
        yield from remark("note", f"also {visible(_names(finding.also))}", " ", width)
    yield from remark("help", visible(finding.suggestion), " ", width)


def _names(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")
