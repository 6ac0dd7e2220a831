"""From a config to a trained run."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from pochi_cli.config.root import Config
from pochi_cli.data.loaders import raise_if_worker_died
from pochi_cli.engine.building import build_state, equip
from pochi_cli.engine.deciding import decide
from pochi_cli.engine.fit import Job, OnEpoch, fit
from pochi_cli.engine.log import LoggedProgress
from pochi_cli.engine.memory import is_out_of_memory
from pochi_cli.engine.progress import Progress, SilentProgress, Start
from pochi_cli.engine.recording import closing, open_files
from pochi_cli.engine.resuming import check_data, describe_continuation, latest_checkpoint, mend_best, restore
from pochi_cli.engine.runtime import choose_runtime, configured
from pochi_cli.engine.saving import Checkpoints, NoCheckpoints
from pochi_cli.engine.signals import noting_signals
from pochi_cli.engine.tasks import prepare_task
from pochi_cli.errors import DataError, MemoryExhaustedError, StorageError, first_line
from pochi_cli.runs.atomic import remove_leftovers
from pochi_cli.runs.index import Run, open_run
from pochi_cli.runs.layout import RunLayout, create_run_directory, create_trial, make_parts
from pochi_cli.runs.lock import locked


def train(config: Config, *, progress: Progress | None = None, on_epoch: OnEpoch = lambda _: None) -> Run:
    """Train a new run.

    Args:
        config: What to do.
        progress: Told how far it is.
        on_epoch: Called with each epoch's record; `"stop"` ends the training.

    Raises:
        PochiError: Data, model, device, storage or training failed.
        Interrupted: A signal asked to stop; the state is saved.
    """
    return _train(config, None, progress or SilentProgress(), on_epoch)


def train_trial(
    config: Config,
    directory: Path,
    *,
    progress: Progress | None = None,
    on_epoch: OnEpoch = lambda _: None,
) -> Run:
    """Train as `train` does, in a directory of its own and without checkpoints.

    Args:
        config: What to do.
        directory: The run's; there must be none yet.
        progress: Told how far it is.
        on_epoch: Called with each epoch's record; `"stop"` ends the training.

    Raises:
        PochiError: Data, model, device, storage or training failed.
        Interrupted: A signal asked to stop; nothing is saved but the record.
    """
    return _train(config, None, progress or SilentProgress(), on_epoch, trial=directory)


def resume(
    run: Run,
    config: Config,
    *,
    progress: Progress | None = None,
    on_epoch: OnEpoch = lambda _: None,
) -> Run:
    """Go on with a run from its latest checkpoint, or from the start if it has none.

    Args:
        run: The run.
        config: Its config, as `continued_config` gives it.
        progress: Told how far it is.
        on_epoch: Called with each epoch's record; `"stop"` ends the training.

    Raises:
        PochiError: As for `train`; or the run is already trained, damaged, or its data have changed.
        Interrupted: A signal asked to stop; the state is saved.
    """
    with locked(run.layout.lock):
        make_parts(run.layout)
        remove_leftovers(run.directory)
        return _train(config, open_run(run.directory), progress or SilentProgress(), on_epoch)


def _train(
    config: Config,
    run: Run | None,
    progress: Progress,
    on_epoch: OnEpoch,
    trial: Path | None = None,
) -> Run:
    runtime = choose_runtime(config)
    with configured(config, runtime), _known_torch_errors():
        task = prepare_task(config, progress.message)
        if run:
            check_data(run, task)
        task = task.resolved(runtime)
        checkpoint = latest_checkpoint(run, task.config) if run else None
        state, messages = build_state(task, runtime, from_scratch=checkpoint is None)
        decided = decide(config, task, runtime, state, may_measure=trial is None, tell=progress.message)
        task, runtime, config = decided.task, decided.runtime, decided.task.config
        equip(state, task, runtime)
        if run and checkpoint is not None:
            restore(state, checkpoint, config, run)
            messages = (*messages, describe_continuation(run.record, config, state.position))
        before = run.record.settings if run else None
        parts = task.parts(runtime, state.model, progress.message, before)
        loaders, objective = parts.loaders, parts.objective
        # A run that goes on keeps what it chose when it began, and where that came from.
        speed = (before or {}).get("speed") or decided.speed
        workers = [loader.worker_count for loader in loaders if loader]
        chosen = {"num_workers": workers, **parts.settings, **({} if speed is None else {"speed": speed})}
        if config.compile:
            state.model.compile()

        # From here on there is something to save. Before, a signal simply ends the process.
        with noting_signals() as signals, ExitStack() as stack:
            layout = run.layout if run else _create_layout(config, trial)
            values = config.model_dump(mode="json", exclude_none=True)
            try:
                if run is None:
                    stack.enter_context(locked(layout.lock))
                files = open_files(
                    layout, task, values, runtime, state.history, state.tracer.blocks, run, chosen
                )
            except StorageError:
                if run is None:
                    shutil.rmtree(layout.directory, ignore_errors=True)  # nothing is left half-made
                raise
            told = LoggedProgress(progress, layout.log)
            stack.enter_context(closing(files, told, signals))
            introduction = task.introduction(files.record.experiment_id)
            for text in (*messages, *decided.messages, *parts.messages, *introduction):
                told.message(text)
            lost = mend_best(run) if run else None
            for text in (*task.warnings, *parts.warnings, *([lost] if lost else ())):
                told.warning(text)
            told.start(
                Start(
                    run=str(layout.directory),
                    first_epoch=state.position.epoch,
                    epochs=config.epochs,
                    batches=len(loaders.train),
                    val_batches=len(loaders.val) if loaders.val else 0,
                    metrics=objective.metrics,
                    shown_metric=config.shown_metric,
                )
            )
            steps = -(-len(loaders.train) // config.accumulate_steps)
            place = (state.position.epoch, state.position.steps)
            state.board.open(layout, loaders, steps, place, told.warning)
            stack.enter_context(_known_torch_errors())  # once more: the record of the run is to name them
            stack.enter_context(task.explaining_memory(runtime, state))
            fit(
                Job(
                    config=config,
                    runtime=runtime,
                    objective=objective,
                    loaders=loaders,
                    state=state,
                    files=files,
                    checkpoints=Checkpoints(layout, task.spec(values)) if trial is None else NoCheckpoints(),
                    progress=told,
                    on_epoch=on_epoch,
                    signals=signals,
                )
            )
    return open_run(layout.directory)


def _create_layout(config: Config, trial: Path | None) -> RunLayout:
    now = datetime.now()
    return create_run_directory(Path(config.work_dir), now) if trial is None else create_trial(trial, now)


@contextmanager
def _known_torch_errors() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        raise_if_worker_died(error)
        if getattr(error, "errno", None) == errno.EMFILE or "Too many open files" in str(error):
            raise DataError(
                f"too many files are open: {first_line(error)}",
                hint="allow more (`ulimit -n 4096`), or use fewer num_workers",
            ) from error
        if not is_out_of_memory(error):
            raise
        raise MemoryExhaustedError(
            f"out of memory before the first step: {first_line(error)}",
            hint="use a smaller model, or free memory",
        ) from error
