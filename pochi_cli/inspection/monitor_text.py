"""The course of a training in words and cells. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pochi_cli.config.recalls import is_recall
from pochi_cli.inspection.monitor_report import BlockUpdates, MonitorReport, SeenSteps
from pochi_cli.runs.epoch_text import epoch_text, metric_name
from pochi_cli.runs.quantities import metric_text

_BESTS = {"val_loss": "least loss", "val_accuracy": "best accuracy", "val_total_loss": "least loss"}
"""What the best value of a metric is called."""

UPDATE_HEADER = ("block", "first epoch", "last epoch", "least", "largest")
UPDATE_NUMBERS = UPDATE_HEADER[1:]
UPDATE_LEFT_OUT = ("least", "largest", "first epoch")
"""Columns that a narrow terminal goes without, in this order."""


def update_rows(updates: Iterable[BlockUpdates]) -> list[tuple[str, ...]]:
    """Write the update ratios of each block as cells below `UPDATE_HEADER`."""
    return [
        (block.block, *map(_number, (block.first, block.last, block.least, block.largest)))
        for block in updates
    ]


def describe_report(report: MonitorReport) -> tuple[str, list[tuple[str, str]]]:
    """Write a heading, and what was recorded as names and values."""
    return f"Training of {report.run}", list(_fields(report))


def _fields(report: MonitorReport) -> Iterator[tuple[str, str]]:
    because = f": {report.reason}" if report.reason else ""
    yield "status", f"{report.status} after {len(report.history)} of {report.epochs} epochs{because}"
    if report.last is not None:
        yield "last epoch", f"{report.last.epoch}: {'; '.join(epoch_text(report.last))}"
    validating = [
        name for name in (report.last.metrics if report.last else ()) if name in _BESTS or is_recall(name)
    ]
    held = "the held-out vectors" if report.history.embedding else "the validation data"
    bests = {metric: report.best(metric) for metric in validating}
    for metric, record in bests.items():
        if record is not None and (value := record.metrics[metric]) is not None:
            name = _BESTS.get(metric, f"best {metric_name(metric)}")
            yield name, f"{metric_text(metric, value)} of {held}, in epoch {record.epoch}"
    if report.last is not None and not any(bests.values()):
        yield "validation", "none was measured: whether the network overfits cannot be told"
    if report.seen is not None:
        yield from _steps(report.seen)
    elif report.is_monitored:
        yield "monitor", "no step is there: they are written at the end of an epoch"
    else:
        yield (
            "monitor",
            "no step was recorded (enabled = true in [monitor] does it): only the epochs are judged",
        )


def _steps(seen: SeenSteps) -> Iterator[tuple[str, str]]:
    of = f"epoch {seen.epochs[0]}" if len(seen.epochs) == 1 else f"the epochs {_stretches(seen.epochs)}"
    speed = (
        "" if seen.samples_per_second is None else f", {seen.samples_per_second:.1f} images/s in the median"
    )
    yield "steps", f"{seen.recorded:,} recorded of {of}{speed}"
    if seen.passed_over:
        yield "passed over", f"{seen.passed_over:,} steps, for half precision overflowed"
    if seen.grad_norm is not None:
        yield "gradient norm", f"{seen.grad_norm:.3g}, median of epoch {seen.epochs[-1]}"
    if not seen.measured:
        yield "update ratios", "none was measured"
    else:
        of = f"{seen.measured:,} step{'s' * (seen.measured > 1)}"
        yield "update ratios", f"of {of}, medians of an epoch; around 0.001 is usual"


def _stretches(numbers: Sequence[int]) -> str:
    """Write rising numbers with those that follow each other put together: 1 to 3, 5."""
    ends = [at for at, number in enumerate(numbers) if number + 1 not in numbers[at + 1 : at + 2]]
    starts = [0, *(end + 1 for end in ends[:-1])]
    return ", ".join(
        f"{numbers[start]} to {numbers[end]}" if start < end else str(numbers[start])
        for start, end in zip(starts, ends, strict=True)
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}"
