"""What an epoch gave, in lines and words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pochi_cli.runs.epoch_text import EpochTable, epoch_text, means_text
from pochi_cli.runs.epochs import ClassificationEpoch, EmbeddingEpoch, EpochRecord


def classification(**changes: Any) -> EpochRecord:
    values: dict[str, Any] = {
        "epoch": 7,
        "learning_rate": 0.1,
        "train_loss": 1.23456,
        "train_accuracy": 45.678,
        "val_loss": 0.5,
        "val_accuracy": 99.99,
        "samples_per_second": 1234.5,
    }
    return ClassificationEpoch(**values | changes)


def embedding(**changes: Any) -> EpochRecord:
    values: dict[str, Any] = {
        "epoch": 100,
        "learning_rate": 3.08e-6,
        "total_loss": 4880.7547,
        "rank_loss": 4880.7236,
        "pairdist_loss": 0.1037,
        "val_total_loss": 3996.2614,
        "recall": {1: 0.4908, 5: 0.5737},
        "samples_per_second": 2810.4,
    }
    return EmbeddingEpoch(**values | changes)


@pytest.mark.parametrize("record", [classification(), embedding()])
def test_lines_fit_a_narrow_terminal(record: EpochRecord) -> None:
    table = EpochTable(list(record.metrics), "recall_at_5", 100)
    line = table.line(record, is_best=True, checkpoint="checkpoint_epoch_100.pth")
    assert line.endswith("  best saved")
    assert len(line) <= 80
    assert len(table.header()) == len(line.removesuffix("  best saved"))


def test_an_encoder_shows_the_watched_recall() -> None:
    record = embedding()
    table = EpochTable(list(record.metrics), "recall_at_5", 100)
    assert table.header().split() == [
        "epoch",
        "total",
        "rank",
        "pairdist",
        "held",
        "out",
        "r@5",
        "lr",
        "vec/s",
    ]
    assert table.line(record, is_best=False, checkpoint=None).split() == [
        "100/100", "4881", "4881", "0.1037", "3996", "0.5737", "3.08e-06", "2810",
    ]  # fmt: skip
    unmeasured = embedding(recall={1: None, 5: None}, total_loss=1.5e-7, val_total_loss=math.nan)
    cells = table.line(unmeasured, is_best=False, checkpoint=None).split()
    assert (cells[1], cells[4], cells[5]) == ("1.5e-07", "nan", "-")
    by_loss = EpochTable(list(record.metrics), "val_total_loss", 100)
    assert "r@1" in by_loss.header()
    assert "r@" not in EpochTable(["total_loss", "val_total_loss"], "recall_at_5", 9).header()


def test_words() -> None:
    assert list(epoch_text(classification())) == [
        "train loss 1.2346 accuracy 45.68 %",
        "val loss 0.5000 accuracy 99.99 %",
        "learning rate 0.1",
        "1234.5 images/s",
    ]
    text, *_, speed = epoch_text(embedding())
    assert text.startswith("total loss 4880.7547, rank loss 4880.7236, pair-distance loss 0.1037, held-out")
    assert text.endswith("recall@1 0.4908, recall@5 0.5737")
    assert speed == "2810.4 vectors/s"
    assert means_text({"loss": 2.0, "accuracy": 12.345}) == "loss 2.0000, accuracy 12.35 %"
