"""The finished epochs of a run, and their forms in train_history.json and in the metrics CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pochi_cli.config.recalls import neighbors_in, recall_name
from pochi_cli.runs.epochs import ClassificationEpoch, EmbeddingEpoch, EpochRecord
from pochi_cli.runs.typed import read_count, read_number

_RATE = "lr_"
_CLASSIFICATION = (
    "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "duration_s",
    "samples_per_second", "waiting_share",
)  # fmt: skip
_EMBEDDING = {
    "learning_rate": "learning_rate",
    "total_loss": "total_loss",
    "rank_loss": "rank_loss",
    "pairdist_loss": "pairdist_loss",
    "val_total_loss": "val_total_loss",
    "duration_s": "epoch_times",
    "samples_per_second": "samples_per_second",
    "waiting_share": "waiting_share",
}
"""Names of an embedding history's arrays, by the fields that they hold."""
_OPTIONAL = ("val_loss", "val_accuracy", "val_total_loss", "waiting_share")


@dataclass(frozen=True)
class History:
    """The finished epochs of a run, in order, all of one task."""

    epochs: tuple[EpochRecord, ...] = ()

    def __len__(self) -> int:
        """Count the epochs."""
        return len(self.epochs)

    def add(self, record: EpochRecord) -> History:
        """Return the history with one more epoch."""
        return History((*self.epochs, record))

    @property
    def classification(self) -> tuple[ClassificationEpoch, ...]:
        """The epochs, if they are a classifier's; else none."""
        return tuple(record for record in self.epochs if isinstance(record, ClassificationEpoch))

    @property
    def embedding(self) -> tuple[EmbeddingEpoch, ...]:
        """The epochs, if they are an encoder's; else none."""
        return tuple(record for record in self.epochs if isinstance(record, EmbeddingEpoch))

    @property
    def waiting_shares(self) -> tuple[float, ...]:
        """Share of the time, from 0 to 1, that each epoch waited for data, where it was measured."""
        return tuple(record.waiting_share for record in self.epochs if record.waiting_share is not None)

    def best(self, metric: str) -> EpochRecord | None:
        """Find the epoch that is best by a metric; on a tie the earlier, `None` where none was measured."""
        place = best_place((record.metrics.get(metric) for record in self.epochs), metric)
        return None if place is None else self.epochs[place]

    def to_dict(self) -> dict[str, Any]:
        """Write one array per quantity; layer rates as `lr_<pattern>`."""
        columns: dict[str, Any] = {"epochs": [record.epoch for record in self.epochs]}
        if self.embedding:
            columns |= _embedding_columns(self.embedding)
        else:
            for name in _CLASSIFICATION:
                columns[name] = [getattr(record, name) for record in self.epochs]
        for pattern in self.epochs[0].layer_rates if self.epochs else ():
            columns[f"{_RATE}{pattern}"] = [record.layer_rates[pattern] for record in self.epochs]
        return columns

    @classmethod
    def from_dict(cls, columns: Mapping[str, Any]) -> History:
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        columns = {"waiting_share": [None] * len(columns["epochs"]), **columns}  # older versions have none
        is_embedding = "total_loss" in columns
        names = list(_EMBEDDING.values() if is_embedding else _CLASSIFICATION)
        names = ["epochs", *names, *(name for name in columns if name.startswith(_RATE))]
        rows = [
            dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)
        ]
        if not is_embedding:
            return cls(tuple(ClassificationEpoch(**_fields(row, _CLASSIFICATION)) for row in rows))
        recalls = _recalls(columns)
        return cls(
            tuple(
                EmbeddingEpoch(
                    **_fields({**row, **{key: row[name] for key, name in _EMBEDDING.items()}}, _EMBEDDING),
                    recall={k: values.get(row["epochs"]) for k, values in recalls.items()},
                )
                for row in rows
            )
        )

    def to_csv(self) -> str:
        """Write the metrics as CSV, in full precision; quantities that were not measured are empty."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        first = (
            self.epochs[0]
            if self.epochs
            else ClassificationEpoch(epoch=0, learning_rate=0.0, train_loss=0.0, train_accuracy=0.0)
        )
        patterns = list(first.layer_rates)
        rates = [f"{_RATE}{pattern}" for pattern in patterns]
        writer.writerow(["epoch", "learning_rate", *first.metrics, *rates])
        for record in self.epochs:
            values = [record.learning_rate, *record.metrics.values()]
            values += [record.layer_rates[pattern] for pattern in patterns]
            writer.writerow([record.epoch, *("" if value is None else repr(value) for value in values)])
        return buffer.getvalue()


def _embedding_columns(epochs: tuple[EmbeddingEpoch, ...]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: [getattr(record, key) for record in epochs] for key, name in _EMBEDDING.items()
    }
    measured = [record for record in epochs if record.has_recall]
    columns["recall_epochs"] = [record.epoch for record in measured]
    columns["recall_history"] = {
        recall_name(k): [record.recall[k] for record in measured] for k in epochs[0].recall
    }
    columns["totals"] = {
        "epochs": len(epochs),
        "duration_s": sum(record.duration_s for record in epochs),
        "recalls": len(measured),
    }
    return columns


def _recalls(columns: Mapping[str, Any]) -> dict[int, dict[int, float]]:
    """Read the recalls of an embedding history: by the number of neighbours, and by the epoch."""
    epochs = [read_count(epoch) for epoch in columns["recall_epochs"]]
    return {
        neighbors_in(name): dict(zip(epochs, map(read_number, values), strict=True))
        for name, values in columns["recall_history"].items()
    }


def _fields(cells: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Check the cells of an epoch, and name them as its record does."""
    measured = {name: cells[name] for name in names if cells[name] is not None}
    if missing := [name for name in names if name not in measured and name not in _OPTIONAL]:
        raise ValueError(f"no {missing[0]} in epoch {cells['epochs']}")
    return {
        "epoch": read_count(cells["epochs"]),
        "layer_rates": {
            name.removeprefix(_RATE): read_number(value)
            for name, value in cells.items()
            if name.startswith(_RATE)
        },
        **{name: read_number(value) for name, value in measured.items()},
    }


def best_place(values: Iterable[float | None], metric: str) -> int | None:
    """Find the place of the best value, of equal ones the first; `None` where no value is a number."""
    best: tuple[int, float] | None = None
    for place, value in enumerate(values):
        if value is not None and is_better(value, None if best is None else best[1], metric):
            best = place, value
    return None if best is None else best[0]


def is_better(value: float, best: float | None, metric: str) -> bool:
    """Tell whether a metric's value beats the best so far; a tie does not, a NaN never does."""
    if math.isnan(value):
        return False
    if best is None or math.isnan(best):
        return True
    return value < best if metric.endswith("loss") else value > best
