"""Runs that were never trained, of the files that a trained one has."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import tomli_w

from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.runs.atomic import write_json, write_text
from pochi_cli.runs.epochs import ClassificationEpoch, EmbeddingEpoch
from pochi_cli.runs.history import History
from pochi_cli.runs.index import Run, open_run
from pochi_cli.runs.layout import create_run_directory
from pochi_cli.runs.records import RunFiles
from tests.engine.tiny import tiny_config
from tests.runs.test_records import record


def history(*val_accuracies: float | None) -> History:
    """One epoch for each accuracy; the losses fall as the accuracies rise."""
    return History(
        tuple(
            ClassificationEpoch(
                epoch=epoch,
                learning_rate=0.1,
                train_loss=1 / epoch,
                train_accuracy=50.0 + epoch,
                val_loss=None if value is None else (100 - value) / 100,
                val_accuracy=value,
                duration_s=2.0,
                samples_per_second=100.0,
            )
            for epoch, value in enumerate(val_accuracies, start=1)
        )
    )


KS = (1, 5, 10, 50)


def encoder_history(
    *recalls: float | None, scale: float = 1.0, held_out: bool = True, ks: tuple[int, ...] = KS
) -> History:
    """One epoch for each recall at 5, `None` where it was not measured; that of more neighbours is higher.

    Args:
        recalls: The recalls.
        scale: Of the losses, which fall.
        held_out: Whether rows are held out.
        ks: Of which numbers of neighbours the recall is.
    """
    return History(
        tuple(
            EmbeddingEpoch(
                epoch=epoch,
                learning_rate=0.001,
                total_loss=scale * (0.1 + 10 / epoch),
                rank_loss=scale * 8 / epoch,
                pairdist_loss=scale * (0.01 + 0.2 / epoch),
                val_total_loss=scale * (0.2 + 11 / epoch) if held_out else None,
                recall={k: None if recall is None else recall_of(recall, k) for k in ks} if held_out else {},
                duration_s=1.5,
                samples_per_second=20_000.0,
            )
            for epoch, recall in enumerate(recalls, start=1)
        )
    )


def recall_of(at_5: float, k: int) -> float:
    """A recall that rises with the number of neighbours."""
    return at_5 * (1 + (k - 5) / 200)


def baselines(pca: float, ks: tuple[int, ...] = KS) -> dict[str, dict[str, float]]:
    """The recalls of encodings that are not learnt, of which the principal components are the best."""
    return {
        name: {f"recall_at_{k}": recall_of(share * pca, k) for k in ks}
        for name, share in (("pca", 1.0), ("random_projection", 0.5), ("truncation", 0.25))
    }


def make_encoder_run(
    work_dir: Path,
    trained: History | None = None,
    config: dict[str, Any] | None = None,
    *,
    pca: float | None = 0.6,
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> Run:
    """Make a finished run of the embedding task, with the best recall at 5 that its history has.

    Args:
        work_dir: Where.
        trained: Its history.
        config: Keys of its config that are not the usual ones.
        pca: Recall at 5 of the principal components; `None` where nothing is held out.
        settings: What its record says of the run that is not usual.
        changes: Fields of its record that are not usual.
    """
    values = {"task": "embedding", "train_vectors": "vectors.npy", "latent_dim": 256, **(config or {})}
    best = None if trained is None else trained.best("recall_at_5")
    held = {"n_query": 3000, "n_pool": 3000, "metric": "l2"} if pca is not None else {}
    usual: dict[str, Any] = {
        "task": "embedding",
        "model_name": "encoder-768-256",
        "class_names": (),
        "epochs": 100,
        "best_metric": "recall_at_5",
        "best_epoch": None if best is None else best.epoch,
        "best_value": None if best is None else best.metrics["recall_at_5"],
        "baselines": None if pca is None else baselines(pca),
        "settings": {
            "device": "cpu",
            "dim": 768,
            "train_rows": 27_000,
            "val_rows": 3000 if held else 0,
            **held,
            **(settings or {}),
        },
    }
    resolved = EmbeddingConfig.model_validate(values).model_dump(mode="json", exclude_none=True)
    return make_run(work_dir, trained, resolved, base={}, **(usual | changes))


def make_run(
    work_dir: Path,
    trained: History | None = None,
    config: dict[str, Any] | None = None,
    *,
    base: dict[str, Any] | None = None,
    **changes: Any,
) -> Run:
    """Make a finished run.

    Args:
        work_dir: Where.
        trained: Its history.
        config: Keys of its config that are not those of the base.
        base: What else is in its config; the tiny one by default.
        changes: Fields of its record that are not usual.
    """
    layout = create_run_directory(work_dir, datetime(2026, 11, 20, 12, 30, 5))
    made = replace(
        record(layout.directory),
        experiment_id=str(uuid.uuid4()),
        status="finished",
        settings={"device": "cpu", "train_images": 65, "val_images": 30},
        environment={"pochi": "0.1.0", "torch": "2.6.0", "git_commit": "abc"},
        data_fingerprint="0123456789abcdef",
        duration_s=65.0,
        epochs_done=len(trained or ()),
    )
    if base is None:
        base = tiny_config().model_dump(mode="json", exclude_none=True)
    values = base | (config or {})
    write_text(layout.config_toml, tomli_w.dumps(values))
    write_json(layout.config_json, {"experiment_id": made.experiment_id, **values})
    files = RunFiles(layout, replace(made, **changes), export_metrics=False)
    if trained is not None:
        files.write_history(trained)
    return open_run(layout.directory)
