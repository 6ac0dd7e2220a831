"""What a run came to, in words."""

from __future__ import annotations

from pochi_cli.runs.index import Run


def summarize(run: Run) -> tuple[str, list[tuple[str, str]]]:
    """Tell in words what a run came to and where its files lie.

    Returns:
        A title, and pairs of a name and a text.
    """
    record, layout = run.record, run.layout
    last = run.history.epochs[-1]
    rows = [("epochs", f"{record.epochs_done} of {record.epochs}, {_duration(record.duration_s)}")]
    if record.best_epoch is not None and record.best_value is not None:
        unit = " %" if record.best_metric.endswith("accuracy") else ""
        rows.append(
            ("best", f"{record.best_metric} {record.best_value:.4f}{unit} in epoch {record.best_epoch}")
        )
    rows.append(("last", f"train loss {last.train_loss:.4f}, accuracy {last.train_accuracy:.2f} %"))
    if record.skipped_images:
        rows.append(("left out", f"{record.skipped_images} images, which the log names"))
    rows.append(("directory", str(layout.directory)))
    found = [
        ("models", (layout.best_model, layout.latest_model)),
        ("metrics", (layout.metrics_csv,)),
        ("graphs", tuple(layout.metrics_figure(kind) for kind in ("loss", "accuracy", "layer_wise_lr"))),
        ("records", (layout.config_toml, layout.run_json, layout.history_json, layout.log)),
    ]
    for name, paths in found:
        there = [str(path.relative_to(layout.directory)) for path in paths if path.exists()]
        rows += [(name, ", ".join(there))] if there else []
    return f"run {layout.name} {record.status}", rows


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
    )
