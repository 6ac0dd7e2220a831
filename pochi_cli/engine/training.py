"""From a config to a trained run."""

from __future__ import annotations

import errno
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from pochi_cli.config.root import Config
from pochi_cli.data.sampling import derive_seed
from pochi_cli.data.worker_processes import raise_if_worker_died
from pochi_cli.engine.building import build_state, equip
from pochi_cli.engine.deciding import decide
from pochi_cli.engine.distributed import Alone, check_batches, doubts, joined
from pochi_cli.engine.fit import Job, OnEpoch, fit
from pochi_cli.engine.log import LoggedProgress
from pochi_cli.engine.memory import is_out_of_memory
from pochi_cli.engine.progress import Progress, SilentProgress, Start
from pochi_cli.engine.recording import closing, open_files
from pochi_cli.engine.resuming import (
    check_data,
    check_processes,
    describe_continuation,
    latest_checkpoint,
    mend_best,
    restore,
)
from pochi_cli.engine.runtime import (
    Runtime,
    choose_device,
    choose_runtime,
    configured,
    doubtful_threads,
    seed_all,
)
from pochi_cli.engine.saving import Checkpoints, NoCheckpoints
from pochi_cli.engine.signals import SignalFlag, noting_signals
from pochi_cli.engine.state import TrainingState
from pochi_cli.engine.tasks import Task, prepare_task
from pochi_cli.errors import (
    DataError,
    MemoryExhaustedError,
    PeerLostError,
    RunError,
    StorageError,
    first_line,
)
from pochi_cli.ranks import Rank, launched_rank
from pochi_cli.runs.atomic import remove_leftovers
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.index import Run, open_run
from pochi_cli.runs.layout import RunLayout, create_run_directory, create_trial, make_parts
from pochi_cli.runs.lock import locked
from pochi_cli.runs.records import NoFiles, RunFiles


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
    jobs: int = 1,
    progress: Progress | None = None,
    on_epoch: OnEpoch = lambda _: None,
) -> Run:
    """Train as `train` does, in a directory of its own and without checkpoints.

    Args:
        config: What to do.
        directory: The run's; there must be none yet.
        jobs: How many trials share this machine.
        progress: Told how far it is.
        on_epoch: Called with each epoch's record; `"stop"` ends the training.

    Raises:
        PochiError: Data, model, device, storage or training failed.
        Interrupted: A signal asked to stop; nothing is saved but the record.
    """
    return _train(
        config, None, progress or SilentProgress(), on_epoch, trial=directory, place=Rank(jobs=jobs)
    )


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
    return _train(config, run, progress or SilentProgress(), on_epoch)


def _train(
    config: Config,
    run: Run | None,
    progress: Progress,
    on_epoch: OnEpoch,
    trial: Path | None = None,
    place: Rank | None = None,
) -> Run:
    place = place or launched_rank()
    with joined(place, choose_device(config.device, place)) as team, ExitStack() as stack:
        stack.enter_context(_known_torch_errors(team))
        if len(set(team.gather(run.record.experiment_id if run else None))) > 1:
            raise RunError(
                "the processes do not all find the same run to go on with",
                hint="work_dir has to be on a file system that all machines see",
            )
        if not team.is_first:
            progress, on_epoch = SilentProgress(), _undecided
        if run is not None:
            if team.is_first:
                stack.enter_context(locked(run.layout.lock))
                make_parts(run.layout)
                remove_leftovers(run.directory)
            team.first(None)  # from here on it is theirs
            run = open_run(run.directory)
        runtime = choose_runtime(config, team)
        stack.enter_context(configured(config, runtime))
        return _train_on(runtime, config, run, progress, on_epoch, trial)


def _undecided(_: EpochRecord) -> None:
    """Leave it to the first of several processes."""


def _train_on(
    runtime: Runtime,
    config: Config,
    run: Run | None,
    progress: Progress,
    on_epoch: OnEpoch,
    trial: Path | None,
) -> Run:
    team = runtime.team
    with team.one_first() if config.downloads else nullcontext():
        task = prepare_task(config, progress.message)
    if run:
        check_data(run, task)
    task = task.resolved(runtime)
    checkpoint = latest_checkpoint(run, task.config) if run else None
    with team.one_first() if config.downloads else nullcontext():
        state, messages = build_state(task, runtime, from_scratch=checkpoint is None)
    decided = decide(config, task, runtime, state, may_measure=trial is None, tell=progress.message)
    task, runtime, config = decided.task, decided.runtime, decided.task.config
    check_batches(task.batch_size, team)
    equip(state, task, runtime)
    if run and checkpoint is not None:
        check_processes(run, state.model, team.size, is_synced=task.syncs_batch_norm)
        restore(state, checkpoint, config, run, team.rank)
        del checkpoint  # its tensors would be held until the training ends
        messages = (*messages, describe_continuation(run.record, config, state.position))
    elif team.rank:
        seed_all(derive_seed(config.seed, team.rank) % 2**32)  # each has its own dropout
    before = run.record.settings if run else None
    parts = task.parts(runtime, state.model, progress.message, before)
    loaders, objective = parts.loaders, parts.objective
    # A run that goes on keeps what it chose when it began, and where that came from.
    speed = (before or {}).get("speed") or decided.speed
    workers = [loader.worker_count for loader in loaders if loader]
    chosen = {
        "processes": team.size,
        "num_workers": workers,
        **parts.settings,
        **({} if speed is None else {"speed": speed}),
    }
    if config.compile:
        state.model.compile()
    values = config.model_dump(mode="json", exclude_none=True)

    # From here on there is something to save. Before, a signal simply ends the process.
    with noting_signals() as signals, ExitStack() as stack:
        recorded = _recorded(task, values, runtime, state, run, chosen, progress, signals, trial)
        files, told = stack.enter_context(recorded)
        introduction = task.introduction(files.record.experiment_id)
        for text in (*messages, *decided.messages, *parts.messages, *introduction):
            told.message(text)
        lost = mend_best(run) if run and team.is_first else None
        doubtful = (*doubtful_threads(runtime), *doubts(state.model, task.batch_size, team))
        for text in (*task.warnings, *doubtful, *parts.warnings, *([lost] if lost else ())):
            told.warning(text)
        told.start(
            Start(
                run=str(files.layout.directory),
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
        state.board.open(files.layout, loaders, steps, place, told.warning)
        stack.enter_context(_known_torch_errors(team))  # once more: the record of the run is to name them
        stack.enter_context(task.explaining_memory(runtime, state))
        checkpoints = Checkpoints(files.layout, task.spec(values), team)
        fit(
            Job(
                config=config,
                runtime=runtime,
                team=team,
                forward=team.forward(state.model, objective.outputs),
                objective=objective,
                loaders=loaders,
                state=state,
                files=files,
                checkpoints=checkpoints if trial is None else NoCheckpoints(),
                progress=told,
                on_epoch=on_epoch,
                signals=signals,
            )
        )
    # What the first one has written the others read: `run.json` is the last of it.
    finished = open_run(files.layout.directory) if team.is_first else Run(files.layout, files.record)
    return team.first(finished)


@contextmanager
def _recorded(
    task: Task,
    values: dict[str, Any],
    runtime: Runtime,
    state: TrainingState,
    run: Run | None,
    chosen: Mapping[str, Any],
    progress: Progress,
    signals: SignalFlag,
    trial: Path | None,
) -> Iterator[tuple[RunFiles | NoFiles, Progress]]:
    """Record a training inside the block; of several processes the first one does, the others know of it."""
    team = runtime.team
    if not team.is_first:
        yield NoFiles(*team.first((run.layout, run.record) if run else ())), progress
        return
    layout = run.layout if run else _create_layout(task.config, trial)
    with ExitStack() as stack:
        try:
            if run is None:
                stack.enter_context(locked(layout.lock))
            files = open_files(layout, task, values, runtime, state.history, state.tracer.blocks, run, chosen)
        except StorageError:
            if run is None:
                shutil.rmtree(layout.directory, ignore_errors=True)  # nothing is left half-made
            raise
        team.first((layout, files.record))
        told = LoggedProgress(progress, layout.log)
        with closing(files, told, signals):
            try:
                yield files, told
            except PeerLostError as error:
                directory = shlex.quote(str(layout.directory))
                error.hint = f"go on from what was saved before with: pochi train --resume {directory}"
                raise


def _create_layout(config: Config, trial: Path | None) -> RunLayout:
    now = datetime.now()
    return create_run_directory(Path(config.work_dir), now) if trial is None else create_trial(trial, now)


@contextmanager
def _known_torch_errors(team: Alone) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        raise_if_worker_died(error)
        team.raise_if_lost(error)
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
