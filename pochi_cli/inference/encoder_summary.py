"""What the evaluation of an encoder came to: the record, in words, as a table and as files. Free of torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pochi_cli.config.recalls import neighbors_in
from pochi_cli.runs.epoch_text import BASELINES, metric_name

_NAMES = {"encoder": "the encoder", **BASELINES}


@dataclass(frozen=True)
class EncoderSummary:
    """How good an encoder is on some vectors; the contents of the JSON.

    Attributes:
        created_at: When, ISO 8601 with time zone.
        run, experiment_id: Of the run; `None` for a checkpoint elsewhere.
        checkpoint: The file.
        epoch: Finished epochs when it was written.
        is_averaged: Whether its weights are averaged.
        loss_function: What it was trained with.
        dim, latent_dim: Dimensions before and after.
        data: Where the vectors are.
        is_held_out: Whether they are the held-out rows of the training.
        data_fingerprint: SHA-256 over all vectors of the file.
        metric: What neighbours are near by.
        rows: Vectors in the file.
        n_query, n_pool: Vectors whose neighbours were compared, and among which they were sought.
        fitted_on: What the principal components were worked out from.
        recalls: Of the encoder and of the baselines, by `recall_at_<k>`.
        spread: Spread of the latents over that of the vectors.
        device, precision: What it ran on.
    """

    created_at: str
    run: str | None
    experiment_id: str | None
    checkpoint: str
    epoch: int
    is_averaged: bool
    loss_function: str
    dim: int
    latent_dim: int
    data: str
    is_held_out: bool
    data_fingerprint: str
    metric: str
    rows: int
    n_query: int
    n_pool: int
    fitted_on: str
    recalls: Mapping[str, Mapping[str, float]]
    spread: float
    device: str
    precision: str


def recall_header(recalls: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """Name the columns of a table of recalls."""
    return ("encoding", *(metric_name(name) for name in _metrics(recalls)))


def recall_rows(recalls: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    """Write the recalls as cells below `recall_header`; the best of each column is marked."""
    metrics = _metrics(recalls)
    best = {metric: max(values[metric] for values in recalls.values()) for metric in metrics}
    return [
        (
            _NAMES[name],
            *(f"{values[metric]:.4f}{'*' if values[metric] == best[metric] else ' '}" for metric in metrics),
        )
        for name, values in recalls.items()
    ]


def recall_verdict(recalls: Mapping[str, Mapping[str, float]], metric: str) -> str:
    """Say whether the encoder is better than the best encoding that is not learnt."""
    others = {name: values[metric] for name, values in recalls.items() if name != "encoder"}
    rival = max(others, key=lambda name: others[name])
    learnt = recalls["encoder"][metric]
    numbers = f"{metric_name(metric)} {learnt:.4f} against {others[rival]:.4f}"
    if learnt > others[rival]:
        return f"the encoder keeps more neighbours than {_NAMES[rival]}: {numbers}"
    return (
        f"the encoder does not beat {_NAMES[rival]}: {numbers}; that one needs no training. Train for "
        'longer, with DPLossV2, tau_mode = "relative" and init = "pca_residual"'
    )


def recall_csv(recalls: Mapping[str, Mapping[str, float]]) -> str:
    """Write the recalls as CSV, in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    metrics = _metrics(recalls)
    writer.writerow(["encoding", *metrics])
    for name, values in recalls.items():
        writer.writerow([name, *(repr(values[metric]) for metric in metrics)])
    return buffer.getvalue()


def describe_encoder(summary: EncoderSummary) -> tuple[str, list[tuple[str, str]]]:
    """Tell in words what was compared.

    Returns:
        A title, and pairs of a name and a text.
    """
    of = "held-out vectors" if summary.is_held_out else "vectors"
    averaged = ", averaged weights" if summary.is_averaged else ""
    count = f"{summary.n_query:,}" + (f" of {summary.rows:,}" if summary.rows > summary.n_query else "")
    title = f"{count} {of} of {summary.data}"
    return title, [
        ("encoder", f"{summary.loss_function}, {summary.dim} > {summary.latent_dim} dimensions, after epoch "
                    f"{summary.epoch}{averaged}"),
        ("checkpoint", summary.checkpoint),
        ("neighbours", f"by {summary.metric}, each among the {summary.n_pool - 1:,} others"),
        ("principal components", f"of {summary.fitted_on}"),
        ("spread", f"{100 * summary.spread:.1f} % of the vectors'"),
        ("computed on", f"{summary.device} in {summary.precision}"),
    ]  # fmt: skip


def encoder_text(summary: EncoderSummary, metric: str) -> str:
    """Write all as the text of a file."""
    title, fields = describe_encoder(summary)
    rows: Sequence[Sequence[str]] = [recall_header(summary.recalls), *recall_rows(summary.recalls)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    width = max(len(name) for name, _ in fields)
    lines = [title, "", *(f"{name:<{width}}  {text}" for name, text in fields), "", *table, ""]
    return "\n".join(line.rstrip() for line in [*lines, recall_verdict(summary.recalls, metric)]) + "\n"


def _metrics(recalls: Mapping[str, Mapping[str, float]]) -> list[str]:
    return sorted(recalls["encoder"], key=neighbors_in)
