"""What a run of the embedding task came to, at a glance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from pochi_cli.config.recalls import is_recall, neighbors_in, recall_name
from pochi_cli.errors import PochiError
from pochi_cli.runs.epoch_text import metric_name, value_text
from pochi_cli.runs.epochs import EmbeddingEpoch
from pochi_cli.runs.history import History
from pochi_cli.runs.index import Run
from pochi_cli.runs.measures import ABOVE_PCA, baseline_recall
from pochi_cli.runs.quantities import duration_text, loss_text
from pochi_cli.runs.records import RunRecord, read_config
from pochi_cli.runs.seeds import Spread
from pochi_cli.runs.verdict_text import against_pca

_LOSS_KEYS = {
    "tau": "tau",
    "tau_mode": "tau_mode",
    "lambda_rank": "rank weight",
    "lambda_pairdist": "pair weight",
    "pair_norm": "pair_norm",
    "exclude_self": "exclude_self",
}
_TAUS = ("tau", "tau_mode")


@dataclass(frozen=True)
class Experiment:
    """A run of the embedding task, as a picture tells it.

    Attributes:
        title: Which run, how it stands, and how far it came.
        history: Its finished epochs.
        baselines: Recalls of encodings that are not learnt; `None` where nothing is held out.
        facts: Pairs of a name and a text.
        missing: Why there is no recall, where there is none.
    """

    title: str
    history: History
    baselines: Mapping[str, Any] | None
    facts: tuple[tuple[str, str], ...]
    missing: str


def read_experiment(run: Run, history: History) -> Experiment:
    """Gather what a picture of a run tells.

    Args:
        run: The run.
        history: Its finished epochs, at least one.

    Raises:
        RunError: Its config is damaged.
    """
    record = run.record
    config = read_config(run.layout.config_json)
    facts = [
        ("loss function", _loss(config)),
        ("encoder", _encoder(config, record)),
        ("parameters", _parameters(run)),
        ("optimizer", _optimizer(config)),
        *_recall_facts(record, history),
        *_loss_facts(history.embedding),
        ("epochs", f"{len(history):,} of {record.epochs:,} in {duration_text(record.duration_s)}"),
        ("speed", f"{median(epoch.samples_per_second for epoch in history.epochs):,.0f} vectors per second"),
    ]
    return Experiment(
        title=f"{run.layout.name}: {run.status}, {len(history):,} of {record.epochs:,} epochs",
        history=history,
        baselines=record.baselines,
        facts=tuple((name, text) for name, text in facts if text),
        missing="not measured yet" if held_out_rows(record) else "no rows are held out to measure it",
    )


def held_out_rows(record: RunRecord) -> int:
    """Tell how many rows a run holds out."""
    rows = record.settings.get("val_rows")
    return rows if isinstance(rows, int) else 0


def parameter_count(run: Run) -> int | None:
    """Count the numbers that a run's model holds; `None` where that is not known."""
    from pochi_cli.config.root import EmbeddingConfig
    from pochi_cli.runs.planning import encoder_parameters, make_plan

    try:
        config = run.config
    except PochiError:
        return None  # of another version, or a stranger's
    if not isinstance(config, EmbeddingConfig):
        return make_plan(config).parameters
    dim = run.record.settings.get("dim")
    return sum(encoder_parameters(config, dim).values()) if isinstance(dim, int) else None


def _parameters(run: Run) -> str:
    count = parameter_count(run)
    return "" if count is None else f"{count:,}"


def _loss(config: Mapping[str, Any]) -> str:
    name = config.get("loss_function")
    keys = [key for key in _LOSS_KEYS if key not in _TAUS or not str(name).startswith("DPLossV1")]
    told = (f"{_LOSS_KEYS[key]} {_plain(config[key])}" for key in keys if config.get(key))
    return ", ".join(map(str, (name, *told))) if name else ""


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _encoder(config: Mapping[str, Any], record: RunRecord) -> str:
    dims = f"{record.settings.get('dim', '?')} → {config.get('latent_dim', '?')} dimensions"
    hidden = config.get("hidden_dims")
    if not isinstance(hidden, Sequence):
        return dims
    return f"{dims}, {'hidden ' + ', '.join(map(str, hidden)) if hidden else 'linear'}"


def _optimizer(config: Mapping[str, Any]) -> str:
    keys = {"optimizer": "", "learning_rate": "rate ", "batch_size": "batches of ", "seed": "seed "}
    return ", ".join(f"{word}{_plain(config[key])}" for key, word in keys.items() if key in config)


def _recall_facts(record: RunRecord, history: History) -> Iterator[tuple[str, str]]:
    measured = [epoch for epoch in history.embedding if epoch.has_recall]
    if not measured:
        return
    last = measured[-1]
    metric = record.best_metric if is_recall(record.best_metric) else recall_name(next(iter(last.recall)))
    name = metric_name(metric)
    best = history.best(metric)
    if best is not None:
        value = best.metrics[metric]
        assert value is not None
        yield f"best {name}", f"{value_text(metric, value)} in epoch {best.epoch}"
        reference = baseline_recall(record.baselines, "pca", metric)
        if reference is not None:
            gains = {f"{ABOVE_PCA}.{metric}": Spread(value - reference, None, 1)}
            told = against_pca(metric, gains).removeprefix(", ")
            yield "", f"{told} ({value_text(metric, reference)})"
    final = last.recall.get(neighbors_in(metric))
    if final is not None:
        text = "unknown" if math.isnan(final) else value_text(metric, final)
        yield f"final {name}", f"{text} in epoch {last.epoch}"
    queries, pool, by = (record.settings.get(key) for key in ("n_query", "n_pool", "metric"))
    if isinstance(queries, int) and isinstance(pool, int):
        yield "measured on", f"{queries:,} queries in a pool of {pool:,}, by {by}"


def _loss_facts(epochs: Sequence[EmbeddingEpoch]) -> Iterator[tuple[str, str]]:
    names = {"total_loss": "total loss", "val_total_loss": "held-out total", "rank_loss": "rank loss"}
    names["pairdist_loss"] = "pair-distance loss"
    history = History(tuple(epochs))
    for metric, name in names.items():
        best = history.best(metric)
        final = epochs[-1].metrics[metric]
        if final is None:
            continue
        lowest = None if best is None else best.metrics[metric]
        least = f"lowest {loss_text(lowest)} in epoch {best.epoch}, " if best and lowest is not None else ""
        yield name, f"{least}final {loss_text(final) if math.isfinite(final) else str(final)}"
