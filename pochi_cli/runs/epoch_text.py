"""What an epoch gave, in words and as the cells of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pochi_cli.config.recalls import is_recall, neighbors_in
from pochi_cli.runs.epochs import ClassificationEpoch, EmbeddingEpoch, EpochRecord
from pochi_cli.runs.quantities import loss_text

_NAMES = {
    "total_loss": "total loss",
    "rank_loss": "rank loss",
    "pairdist_loss": "pair-distance loss",
    "val_total_loss": "held-out total loss",
}
BASELINES = {
    "pca": "principal components",
    "random_projection": "a random projection",
    "truncation": "truncation",
}
"""What encodings that are not learnt are called."""
_HEADINGS = {
    "train_loss": ("train loss", 10),
    "train_accuracy": ("acc %", 6),
    "val_loss": ("val loss", 8),
    "val_accuracy": ("acc %", 6),
    "total_loss": ("total", 6),
    "rank_loss": ("rank", 6),
    "pairdist_loss": ("pairdist", 8),
    "val_total_loss": ("held out", 8),
}
"""Names and widths of the columns; with the marks behind them a line has 80 characters at most."""


def metric_name(metric: str) -> str:
    """Name a metric as a text does: `recall@5`, `pair-distance loss`, or as it is called."""
    if is_recall(metric):
        return f"recall@{neighbors_in(metric)}"
    return _NAMES.get(metric, metric)


def value_text(metric: str, value: float) -> str:
    """Write a metric's value in a few digits, without its unit."""
    if metric.endswith("accuracy"):
        return f"{value:.2f}"
    return f"{value:.4f}" if is_recall(metric) else loss_text(value)


def means_text(means: Mapping[str, float]) -> str:
    """Write the running means of an epoch."""
    return ", ".join(
        f"{metric_name(name)} {value_text(name, value)}{' %' if name.endswith('accuracy') else ''}"
        for name, value in means.items()
    )


def running_text(means: Mapping[str, float]) -> str:
    """Write the running means beside a bar, where there is little room."""
    short = {"loss": ("loss", ".3f"), "accuracy": ("acc %", ".1f"), "total_loss": ("total", ".4g")}
    short |= {"rank_loss": ("rank", ".3g"), "pairdist_loss": ("pairdist", ".3g")}
    return " ".join(f"{short[name][0]} {value:{short[name][1]}}" for name, value in means.items())


def epoch_text(record: EpochRecord) -> Iterator[str]:
    """Write what an epoch gave, part by part."""
    match record:
        case ClassificationEpoch():
            yield f"train loss {loss_text(record.train_loss)} accuracy {record.train_accuracy:.2f} %"
            if record.val_loss is not None and record.val_accuracy is not None:
                yield f"val loss {loss_text(record.val_loss)} accuracy {record.val_accuracy:.2f} %"
            speed = "images"
        case EmbeddingEpoch():
            measured = {name: value for name, value in record.metrics.items() if value is not None}
            yield means_text(measured)
            speed = "vectors"
        case _:
            raise AssertionError(record)
    yield f"learning rate {record.learning_rate:g}"
    yield f"{record.samples_per_second:.1f} {speed}/s"
    if record.waiting_share is not None:
        yield f"waited {100 * record.waiting_share:.1f} % of the time for data"


class EpochTable:
    """The lines of the finished epochs, one below the other.

    Args:
        metrics: Names of what the records hold. Of several recalls only the watched one has a column.
        best_metric: What is watched.
        epochs: How many epochs there will be.
    """

    def __init__(self, metrics: Sequence[str], best_metric: str, epochs: int) -> None:
        chosen = [name for name in metrics if not is_recall(name) or name == best_metric]
        recalls = [name for name in metrics if is_recall(name)]
        if recalls and best_metric not in recalls:
            chosen.append(recalls[0])
        self._columns = [
            (name, *(_HEADINGS[name] if name in _HEADINGS else (f"r@{neighbors_in(name)}", 6)))
            for name in chosen
        ]
        self._epochs = epochs
        self._is_encoder = "total_loss" in metrics
        self._first = max(7, 2 * len(str(epochs)) + 1)

    def header(self) -> str:
        """Name the columns."""
        cells = [f"{'epoch':>{self._first}}"]
        cells += [f"{heading:>{width}}" for _, heading, width in self._columns]
        cells += [f"{'lr':>8}", "vec/s"] if self._is_encoder else [f"{'lr':>8}", "img/s", "wait"]
        return "  ".join(cells)

    def line(self, record: EpochRecord, *, is_best: bool, checkpoint: str | None) -> str:
        """Write an epoch's line."""
        place = f"{record.epoch}/{self._epochs}"
        cells = [f"{place:>{self._first}}"]
        for name, _, width in self._columns:
            value = record.metrics.get(name)
            cells.append(f"{self._cell(name, value):>{width}}")
        cells += [f"{record.learning_rate:>8.3g}", f"{record.samples_per_second:>5.0f}"]
        if not self._is_encoder:  # vectors are in memory
            share = record.waiting_share
            cells.append(f"{'-' if share is None else f'{share:.0%}':>4}")
        marks = (["best"] if is_best else []) + (["saved"] if checkpoint else [])
        return f"{'  '.join(cells)}  {' '.join(marks)}".rstrip()

    def _cell(self, name: str, value: float | None) -> str:
        if value is None:
            return "-"
        # The losses of an encoder may be of any size.
        return f"{value:.4g}" if self._is_encoder and not is_recall(name) else value_text(name, value)
