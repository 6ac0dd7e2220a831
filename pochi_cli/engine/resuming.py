"""What a run goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from pochi_cli.config.load import validate
from pochi_cli.config.root import Config
from pochi_cli.config.schedule import learning_rate
from pochi_cli.config.values import show
from pochi_cli.engine.checkpoint import check_whole, copy_checkpoint, load_checkpoint
from pochi_cli.engine.state import Position, TrainingState
from pochi_cli.engine.tasks import Task
from pochi_cli.errors import ConfigError, RunError, first_line, format_key
from pochi_cli.models.sync_norm import normalising_by_own
from pochi_cli.runs.continuation import course_changes
from pochi_cli.runs.index import Run
from pochi_cli.runs.records import RunRecord

_SAMPLES = {
    "train_images": "training images",
    "val_images": "validation images",
    "train_rows": "vectors to train on",
    "val_rows": "held-out vectors",
}


def check_data(run: Run, task: Task) -> None:
    """Hold the data of a run that goes on against those that it began with.

    Raises:
        RunError: They have changed.
    """
    if task.fingerprint != run.record.data_fingerprint:
        raise RunError(
            f"the data of {run.layout.name} have changed since it began, so it cannot go on exactly: "
            f"{', '.join(_data_changes(run.record, task))}",
            hint="put the data back as they were, or train a new run",
        )


def check_processes(run: Run, model: nn.Module, processes: int, *, is_synced: bool) -> None:
    """Check that as many processes go on as there were, where their number matters.

    Args:
        run: The run.
        model: What it trains.
        processes: How many are to go on.
        is_synced: Whether they normalise by the images of all of them.

    Raises:
        RunError: Each normalises by its own portion of a batch, and there would be other portions.
    """
    before = run.record.settings.get("processes", 1)
    if processes == before or is_synced or not normalising_by_own(model):
        return
    if before == 1:
        raise RunError(
            f"{run.layout.name} was trained by one process; {processes} would normalise by their own images",
            hint="go on with --set sync_batch_norm=true, or with one process",
        )
    raise RunError(
        f"{run.layout.name} was trained by {before} processes, each of which normalised by its own images: "
        f"{processes} would not go on exactly",
        hint=f"start {before}, or train a new run with sync_batch_norm = true, with which the number is free",
    )


def latest_checkpoint(run: Run, config: Config) -> dict[str, Any] | None:
    """Read what a run goes on from; `None` if it has no checkpoint yet.

    Raises:
        RunError: The run is already trained, or its checkpoint is lost or damaged.
    """
    record, name = run.record, run.layout.name
    if record.status == "finished" and record.epochs_done < record.epochs:
        raise RunError(
            f"{name} was stopped after epoch {record.epochs_done}, before its last one",
            hint="train a new run without early stopping, or with more patience",
        )
    if record.status == "finished" and config.epochs == record.epochs:
        raise RunError(
            f"{name} is finished, after {record.epochs_done} of {config.epochs} epochs",
            hint="give it more: --set epochs=N",
        )
    if not run.layout.latest_model.exists() and record.epochs_done == 0:
        return None
    try:
        return load_checkpoint(run.layout.latest_model)
    except RunError as error:
        error.hint = error.hint or _offer_older(run)
        raise


def _offer_older(run: Run) -> str:
    older = _newest_whole(run)
    if older is None:
        return "no other checkpoint of it is whole: train a new run"
    epoch, path = older
    return f"to go on after epoch {epoch}, copy {path} to {run.layout.latest_model}"


def mend_best(run: Run) -> str | None:
    """Put the best checkpoint back from a numbered one if it is lost or damaged.

    Returns:
        What to warn of.
    """
    layout, epoch = run.layout, run.record.best_epoch
    if epoch is None:
        return None
    try:
        check_whole(layout.best_model)
    except RunError as error:
        source = layout.checkpoint(epoch)
        try:
            check_whole(source)
        except RunError:
            return f"{error.message}, and no other checkpoint is of its epoch {epoch}"
        copy_checkpoint(source, layout.best_model)
        return f"{error.message}: it is put back from {source.name}"
    return None


def _newest_whole(run: Run) -> tuple[int, Path] | None:
    """Find the checkpoint of the latest epoch, besides the latest checkpoint itself, that is not damaged."""
    found = run.layout.numbered_checkpoints()
    if run.record.best_epoch is not None:
        found.setdefault(run.record.best_epoch, run.layout.best_model)
    for epoch, path in sorted(found.items(), reverse=True):
        with suppress(RunError):
            check_whole(path)
            return epoch, path
    return None


def _data_changes(record: RunRecord, task: Task) -> Iterator[str]:
    if task.class_names != record.class_names:
        yield f"its classes were {show(record.class_names)} and are {show(task.class_names)}"
        return
    changed = False
    for key, now in task.samples.items():
        if (before := record.settings.get(key)) != now:
            changed = True
            yield f"it had {before} {_SAMPLES[key]} and has {now}"
    if not changed:
        yield "as many as before, but they are others"


def restore(state: TrainingState, checkpoint: dict[str, Any], config: Config, run: Run, rank: int) -> None:
    """Take up the state of a checkpoint, if it is one of this run.

    Raises:
        RunError: It belongs to another config, or does not fit the model.
    """
    path = run.layout.latest_model
    try:
        before = validate(checkpoint["config"])
        # Whether a run of one process may change that was decided by its record.
        changes = course_changes(before, config, {"sync_batch_norm"})
        if key := next((key for key, _, _ in changes), None):
            raise RunError(
                f"{path} is of a training with another config: {format_key(key)} differs",
                hint="put back the run's own checkpoint",
            )
        state.restore(checkpoint, rank)
    except KeyError as error:
        raise RunError(f"{path} is incomplete: it has no {error}", hint=_offer_older(run)) from error
    except (RuntimeError, TypeError, ValueError, ConfigError) as error:
        message = f"{path} does not fit the run's own config: {first_line(error)}"
        raise RunError(message, hint=_offer_older(run)) from error


def describe_continuation(record: RunRecord, config: Config, position: Position) -> str:
    """Tell where a run goes on; and with more epochs than before, at which learning rates."""
    text = f"goes on in epoch {position.epoch}"
    if position.batches:
        text += f", after batch {position.batches}"
    if config.epochs <= record.epochs:
        return text
    rates = [
        learning_rate(config, config.learning_rate, epoch)
        for epoch in range(record.epochs, config.epochs + 1)
    ]
    course = (
        f"{config.scheduler} {show(config.scheduler_params.model_dump())}"
        if config.scheduler_params
        else ("no scheduler")
    )
    return (
        f"{text}, to epoch {config.epochs} instead of {record.epochs}; the learning rate goes on from "
        f"{rates[0]:.3g} in epoch {record.epochs} to {rates[-1]:.3g} in epoch {config.epochs} ({course})"
    )
