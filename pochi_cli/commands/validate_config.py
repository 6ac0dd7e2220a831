"""`pochi validate-config`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pochi_cli.commands.options import Overrides

if TYPE_CHECKING:
    from pochi_cli.config.root import ClassificationConfig, EmbeddingConfig
    from pochi_cli.data.check import DataReport
    from pochi_cli.errors import Diagnostic
    from pochi_cli.runs.plan import DataFacts, Plan, VectorFacts


class Format(StrEnum):
    """How diagnostics are written."""

    text = "text"
    json = "json"
    github = "github"


@dataclass(frozen=True)
class Report:
    """What is told of one config: no plan where there are errors, no data where none were asked for."""

    diagnostics: tuple[Diagnostic, ...]
    plan: Plan | None = None
    data: DataReport | None = None


def validate_config(
    configs: Annotated[list[Path], typer.Argument(help="TOML files.", show_default=False, readable=False)],
    overrides: Overrides = None,
    output: Annotated[
        Format,
        typer.Option(
            "--format", help="json: one object per config and line; github: annotations of a workflow."
        ),
    ] = Format.text,
    with_data: Annotated[
        bool,
        typer.Option(
            "--data",
            help="Also decode every image, or read every vector, and hold the config against the data.",
        ),
    ] = False,
) -> None:
    """Report every mistake in configs; print the plan of those that have none."""
    failed = False
    for path in configs:
        report = _report(path, overrides or (), with_data=with_data)
        _show(report, str(path), output)
        failed = failed or report.plan is None
    if failed:
        raise typer.Exit(1)


def _report(path: Path, overrides: Sequence[str], *, with_data: bool) -> Report:
    from pochi_cli.config.document import read_document
    from pochi_cli.config.load import check_document
    from pochi_cli.errors import ConfigError
    from pochi_cli.runs.planning import make_plan

    try:
        document = read_document(path, overrides)
    except ConfigError as error:
        return Report(error.diagnostics)
    checked = check_document(document)
    if checked.config is None:
        return Report(checked.diagnostics)
    if not with_data:
        return Report(checked.diagnostics, make_plan(checked.config))
    from pochi_cli.config.root import ClassificationConfig

    facts: DataFacts | VectorFacts | None
    data = None
    if isinstance(checked.config, ClassificationConfig):
        facts, data, findings = _look_at_data(checked.config)
    else:
        facts, findings = _look_at_vectors(checked.config)
    diagnostics = tuple(document.place([*checked.diagnostics, *findings]))
    if any(diagnostic.severity == "error" for diagnostic in findings):
        return Report(diagnostics, data=data)
    return Report(diagnostics, make_plan(checked.config, facts), data)


def _look_at_data(
    config: ClassificationConfig,
) -> tuple[DataFacts | None, DataReport | None, list[Diagnostic]]:
    from pochi_cli import console
    from pochi_cli.config.classes import check_classes
    from pochi_cli.config.named_datasets import NAMED_DATASETS
    from pochi_cli.data.check import check_config_data
    from pochi_cli.data.prepare import missing_folders
    from pochi_cli.display import counting
    from pochi_cli.errors import DataError, Diagnostic
    from pochi_cli.runs.plan import DataFacts

    if missing := missing_folders(config):
        return None, None, missing
    try:
        with counting("decoding images") as progress:
            data = check_config_data(config, config.seed, progress, tell=console.note)
    except DataError as error:
        return None, None, [Diagnostic("unusable-data", error.message, ("train_data_root",), help=error.hint)]
    findings = list(data.findings)
    if config.dataset not in NAMED_DATASETS:  # of those the config alone tells
        findings += check_classes(config, data.class_names, ("train_data_root",))
    train, *val = data.splits
    facts = DataFacts(  # with bad images and on_bad_image = "error" there is no plan
        train.images - len(train.bad),
        sum(split.images - len(split.bad) for split in val),
        data.class_names,
        data.train_size,
        data.val_size,
        left_out=len(train.bad),
    )
    return facts, data, findings


def _look_at_vectors(config: EmbeddingConfig) -> tuple[VectorFacts | None, list[Diagnostic]]:
    from pochi_cli.data.vector_demands import check_demands, open_train_vectors
    from pochi_cli.data.vectors import check_rows, split_rows
    from pochi_cli.display import counting
    from pochi_cli.errors import DataError, Diagnostic
    from pochi_cli.runs.plan import VectorFacts

    try:
        with counting("reading vectors") as progress:
            vectors = open_train_vectors(config)
            check_rows(vectors, needs_norm=config.metric == "cosine", tell=progress)
        train, held = split_rows(vectors.rows, config.holdout, config.seed)
    except DataError as error:
        return None, [Diagnostic("unusable-data", error.message, ("train_vectors",), help=error.hint)]
    findings = check_demands(config, len(train), len(held), vectors.dim)
    return VectorFacts(len(train), len(held), vectors.dim), findings


def _show(report: Report, source: str, output: Format) -> None:
    from pochi_cli import console
    from pochi_cli.config.diagnostics import to_annotation, to_record

    if report.data is not None:  # what decodes images is imported only where some were decoded
        from pochi_cli.data.presentation import data_tables, report_values

    if output is Format.json:
        values: dict[str, Any] = {
            "file": source,
            "diagnostics": [to_record(diagnostic) for diagnostic in report.diagnostics],
            "plan": report.plan and report.plan.to_record(),
        }
        if report.data is not None:
            values["data"] = report_values(report.data)
        console.show(json.dumps(values, allow_nan=False))
    elif output is Format.github:
        for diagnostic in report.diagnostics:
            console.show(to_annotation(diagnostic))
    else:
        if report.plan is not None:
            console.show_plan(source, report.plan)
        if report.data is not None:
            for table in data_tables(report.data):
                console.show_table(table.title, table.header, table.rows)
        if report.diagnostics:
            console.show_findings(report.diagnostics, source)
