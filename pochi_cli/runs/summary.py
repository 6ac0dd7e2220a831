"""What a run came to, in words."""

from __future__ import annotations

import shlex

from pochi_cli.runs.epoch_text import BASELINES, epoch_text, metric_name
from pochi_cli.runs.history import History
from pochi_cli.runs.index import Run
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.quantities import duration_text, metric_text
from pochi_cli.runs.records import RunRecord

_LONG_WAIT = 0.1
"""Share of the time that is worth telling."""


def summarize(run: Run) -> tuple[str, list[tuple[str, str]]]:
    """Tell in words what a run came to and where its files lie.

    Returns:
        A title, and pairs of a name and a text.
    """
    record, layout = run.record, run.layout
    rows = [*describe_results(record, run.history), ("directory", str(layout.directory))]
    rows += describe_files(layout)
    if layout.tensorboard.exists():
        rows.append(("to watch", f"tensorboard --logdir {shlex.quote(str(layout.directory.parent))}"))
    return f"run {layout.name} {record.status}", rows


def describe_results(record: RunRecord, history: History) -> list[tuple[str, str]]:
    """Tell in words how far a run came, and how well."""
    epochs = f"{record.epochs_done} of {record.epochs}, {duration_text(record.duration_s)}"
    if record.waiting_share is not None and record.waiting_share >= _LONG_WAIT:
        epochs += f"; {record.waiting_share:.0%} of the training waited for data"
    rows = [("epochs", epochs)]
    if record.best_epoch is not None and record.best_value is not None:
        value = metric_text(record.best_metric, record.best_value)
        rows.append(("best", f"{record.best_metric} {value} in epoch {record.best_epoch}"))
    if len(history):
        rows.append(("last", next(epoch_text(history.epochs[-1]))))
    rows += baseline_rows(record, history)
    if record.skipped_images:
        rows.append(("left out", f"{record.skipped_images} images, which the log names"))
    return rows


def baseline_rows(record: RunRecord, history: History) -> list[tuple[str, str]]:
    """Tell in words how an encoder stands beside encodings that are not learnt; nothing of a classifier."""
    metric = str(record.settings.get("judged_by"))
    best = history.best(record.best_metric)
    if best is None or best.metrics.get(metric) is None:  # it was not measured in the best epoch
        best = history.best(metric)
    learnt = None if best is None else best.metrics.get(metric)
    known = {name: values[metric] for name, values in (record.baselines or {}).items() if metric in values}
    if not known or learnt is None:
        return []
    text = ", ".join(f"{BASELINES.get(name, name)} {value:.4f}" for name, value in known.items())
    rows = [("not learnt", f"{metric_name(metric)} {learnt:.4f}, of {text}")]
    rival = max(known, key=lambda name: known[name])
    better = f"keeps more neighbours than {BASELINES.get(rival, rival)}"
    worse = f"does not beat {BASELINES.get(rival, rival)}, which needs no training"
    return [*rows, ("verdict", f"the encoder {better if learnt > known[rival] else worse}")]


def describe_files(layout: RunLayout) -> list[tuple[str, str]]:
    """Tell which of a run's files there are."""
    found = [
        ("models", (layout.best_model, layout.latest_model)),
        ("metrics", (layout.metrics_csv,)),
        (
            "graphs",
            tuple(
                layout.metrics_figure(kind) for kind in ("loss", "accuracy", "experiment", "layer_wise_lr")
            ),
        ),
        ("gradients", (layout.gradient_trace, layout.gradient_steps)),
        ("monitor", (layout.monitor_steps, layout.monitor_updates)),
        ("tensorboard", (layout.tensorboard,)),
        ("records", (layout.config_toml, layout.run_json, layout.history_json, layout.log)),
    ]
    rows = []
    for name, paths in found:
        there = [str(path.relative_to(layout.directory)) for path in paths if path.exists()]
        rows += [(name, ", ".join(there))] if there else []
    return rows
