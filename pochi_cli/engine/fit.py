"""The loop."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar

import torch
from torch import Tensor

from pochi_cli.config.root import Config
from pochi_cli.data.batches import Loader, Loaders
from pochi_cli.engine.distributed import Alone, Forward
from pochi_cli.engine.objectives import EpochFacts, Metrics, Objective, Watch
from pochi_cli.engine.optim import set_learning_rates
from pochi_cli.engine.progress import Progress, StepRecord
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.saving import Checkpoints, NoCheckpoints
from pochi_cli.engine.signals import SignalFlag
from pochi_cli.engine.state import Position, TrainingState
from pochi_cli.engine.totals import EpochTotals, FiniteGuard, check_weights
from pochi_cli.engine.waiting import Waiting
from pochi_cli.errors import Interrupted, NonFiniteLossError
from pochi_cli.models.freezing import train_mode
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.history import is_better
from pochi_cli.runs.records import NoFiles, RunFiles

Decision = Literal["continue", "stop"]
OnEpoch = Callable[[EpochRecord], Decision | None]

B = TypeVar("B")
"""A batch as the loaders of a task give it."""


@dataclass(frozen=True)
class Job:
    """Everything that the loop works with.

    Attributes:
        config: The resolved config.
        objective: What a step computes.
        state: What changes.
        files: Where it is recorded.
        checkpoints: What saves the state.
        on_epoch: Called with each epoch's record; `"stop"` ends the training.
        signals: Whether the user asked to stop.
        team: The processes that train together; each of them runs the loop.
        forward: What computes the outputs of a training step.
    """

    config: Config
    runtime: Runtime
    team: Alone
    forward: Forward
    objective: Objective[Any]
    loaders: Loaders[Loader[Any]]
    state: TrainingState
    files: RunFiles | NoFiles
    checkpoints: Checkpoints | NoCheckpoints
    progress: Progress
    on_epoch: OnEpoch
    signals: SignalFlag


def fit(job: Job) -> None:
    """Train to the last epoch, to an early stop, or to an interruption.

    Raises:
        Interrupted: A signal asked to stop; the state is saved.
        PochiError: The data, the storage or the training failed.
    """
    state, config = job.state, job.config
    stopped = state.early_stopping.is_exhausted
    while state.position.epoch <= config.epochs and not stopped:
        started = time.monotonic() - state.position.duration_s
        epoch = state.position.epoch
        rates = set_learning_rates(state.optimizer, config, epoch)
        rate = config.learning_rate if config.layer_rates else next(iter(rates.values()))
        try:
            trained = train_epoch(job, epoch, rate)
        except NonFiniteLossError as error:
            record_steps(job)  # they show how it came to that
            state.board.fail(error.message)
            raise
        validation = validate(job, epoch)
        tell_noticed(job)
        facts = EpochFacts(
            epoch=epoch,
            learning_rate=rate,
            layer_rates={pattern: rates[pattern] for pattern in config.layer_rates},
            duration_s=time.monotonic() - started,
            samples_per_second=trained.samples_per_second,
            waiting_share=trained.waiting_share,
        )
        record = job.objective.record(facts, trained.means, validation)
        loss = record.validation_loss
        if loss is not None and not math.isfinite(loss):
            job.progress.warning(f"the validation loss of epoch {epoch} is not finite: {loss}")
        stopped = state.early_stopping.update(epoch, record.metrics.get(config.best_metric))
        if stopped and epoch < config.epochs:
            waited = state.early_stopping.epochs_waited
            job.progress.message(
                f"stopped early: {config.best_metric} has not improved enough for {waited} epochs"
            )
        state.duration_s += record.duration_s
        state.history = state.history.add(record)
        state.position = Position(epoch + 1)
        record_epoch(job, record, rates, is_last=stopped or epoch == config.epochs)
        stopped = decide(job, record) or stopped
        if stop_asked(job) and not stopped and epoch < config.epochs:
            interrupt(job)
    state.board.end(job.files.record)


class TrainedEpoch(NamedTuple):
    """What the steps of an epoch gave.

    Attributes:
        means: By their names.
        samples_per_second: Samples over the time.
        waiting_share: Share of the time, from 0 to 1, spent waiting for data, since the training went on.
    """

    means: dict[str, float]
    samples_per_second: float
    waiting_share: float


def train_epoch(job: Job, epoch: int, learning_rate: float) -> TrainedEpoch:
    """Run the steps of an epoch, from where the state stands in it."""
    state, config, runtime, objective = job.state, job.config, job.runtime, job.objective
    team, totals, guard = job.team, objective.totals(), FiniteGuard(runtime)
    samples = 0
    if state.position.sums:
        totals.restore(list(state.position.sums))
    step, done = state.position.steps, state.position.batches
    stopping = False
    job.progress.epoch(epoch, done)
    train_mode(state.model)
    state.tracer.begin(epoch, step)
    state.monitor.begin(epoch, learning_rate)
    state.board.begin(totals)
    began = time.monotonic()
    started = began - state.position.duration_s
    waiting = Waiting(runtime.device)

    def stand_here() -> None:
        """Make what was just done the place from which a training goes on; waits for the device."""
        guard.check(state.model, epoch, step)
        check_weights(state.model, epoch, step)
        sums = tuple(totals.state())
        state.position = Position(epoch, done, step, sums, time.monotonic() - started)

    loaded = waiting.timed(job.loaders.train.batches(epoch, done))
    for numbers, batches in in_groups(loaded, config.accumulate_steps):
        step, done = step + 1, numbers[-1] + 1
        inputs = [
            objective.prepare(batch, epoch, number) for number, batch in zip(numbers, batches, strict=True)
        ]
        # One mean over all samples of the step, however they are spread over its batches and the processes.
        weight = team.sum(torch.stack([part.weight * part.is_counted for part in inputs]).sum())
        state.board.batch(inputs[0].inputs)
        step_loss = torch.zeros_like(weight)
        for part in inputs:
            with job.forward.batch(part.portion, is_last=part is inputs[-1]):
                with runtime.autocast():
                    outputs = job.forward(part.inputs)
                losses = objective.training_losses(outputs, part)
                loss = losses.losses.sum() / weight
                state.scaler.scale(loss * part.scale).backward()  # type: ignore[no-untyped-call]
            if part.is_counted:
                totals.add(losses, outputs, part.targets)
                step_loss += loss.detach()
            samples += part.portion.total
        step_loss = settle(team, totals, step_loss)
        # Before anything waits for the device: it would wait for ever for a process that has died.
        stopping = stop_asked(job)
        state.monitor.add(step_loss, sum(part.portion.total for part in inputs))
        guard.see(step_loss, step)
        state.scaler.unscale_(state.optimizer)
        state.tracer.step()
        state.monitor.before_step(step)
        due = step % config.log_every_steps == 0
        if due or guard.checks_every_step:
            guard.check(state.model, epoch, step)
        if config.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_grad_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.monitor.after_step()
        state.optimizer.zero_grad(set_to_none=True)
        job.forward.average_buffers()
        state.average.update()

        state.board.step(step, is_due=due)
        seen = totals.read() if due or job.progress.wants_metrics() else None
        job.progress.step(StepRecord(done, samples, learning_rate, seen, is_due=due))
        if stopping:
            break
        if config.checkpoint_every_steps and step % config.checkpoint_every_steps == 0:
            stand_here()
            job.checkpoints.save(state)

    stand_here()
    if stopping:  # what has come since, the others do not know of yet
        interrupt(job)
    return TrainedEpoch(
        totals.read(),
        totals.count() / max(state.position.duration_s, 1e-9),
        waiting.seconds / max(time.monotonic() - began, 1e-9),
    )


def settle(team: Alone, totals: EpochTotals, loss: Tensor) -> Tensor:
    """Put together what the processes added to the sums in a step; returns the whole of its loss, ()."""
    taken = totals.take()
    summed = team.sum(torch.cat([taken, loss.to(taken.dtype)[None]]))
    totals.settle(summed[:-1])
    return summed[-1].to(loss.dtype)


def stop_asked(job: Job) -> bool:
    """Tell whether a signal asked any of the processes to stop; all are told the same."""
    number = next(filter(None, job.team.counts(job.signals.number or 0)), None)
    job.signals.number = job.signals.number or number
    return number is not None


def in_groups(batches: Iterator[tuple[int, B]], size: int) -> Iterator[tuple[list[int], list[B]]]:
    """Yield the batches of each optimizer step with their numbers."""
    numbers: list[int] = []
    group: list[B] = []
    for number, batch in batches:
        numbers.append(number)
        group.append(batch)
        if len(group) == size:
            yield numbers, group
            numbers, group = [], []
    if group:
        yield numbers, group


def validate(job: Job, epoch: int) -> Metrics | None:
    """Judge the model that counts; nothing without validation data."""
    if job.loaders.val is None:
        return None

    def see(_: int, outputs: Tensor, targets: Tensor) -> None:
        job.state.board.validation(outputs, targets)

    def go_on(batches_done: int) -> None:
        job.progress.validation(batches_done)
        if stop_asked(job):
            interrupt(job)

    job.progress.validation(0)
    watch = Watch(see, go_on, is_gathered=job.team.first(job.state.board.sees_validation))
    # Where the processes' devices differ, so may the last digits, and what is decided by them.
    return job.team.first(job.objective.validate(job.state.average.model, epoch, watch))


def tell_noticed(job: Job) -> None:
    """Tell what was decided, and warn of what is doubtful and of each bad image left out, once."""
    loaders = [loader for loader in job.loaders if loader]
    if texts := [text for loader in loaders for text in loader.newly_decided()]:
        for text in dict.fromkeys(texts):
            job.progress.message(text)
        counts = [loader.worker_count for loader in loaders]
        job.files.update(settings={**job.files.record.settings, "num_workers": counts})
    for text in job.objective.noticed():
        job.progress.warning(text)
    for loader in loaders:
        for bad in loader.newly_skipped():
            job.progress.warning(f"left out {bad.path}: {bad.reason}")


def record_steps(job: Job) -> None:
    """Write what was traced and seen at the steps of an epoch, if anything was."""
    if (traced := job.state.tracer.end()) is not None:
        job.progress.gradients(job.files.write_gradients(traced))
        job.state.board.gradients(traced)
    if (seen := job.state.monitor.end()) is not None:
        job.files.write_monitor(seen)
        job.state.board.updates(seen)


def record_epoch(job: Job, record: EpochRecord, rates: Mapping[str, float], *, is_last: bool) -> None:
    """Write the epoch's steps and checkpoints, then history, metrics and run.json.

    The latest checkpoint comes after all that it does not hold itself: a run that is killed before goes on
    from the epoch before, and writes the others again.
    """
    state, files = job.state, job.files
    metric = job.config.best_metric
    value = record.metrics.get(metric)
    best = value is not None and is_better(value, files.record.best_value, metric)
    numbered = record.epoch % job.config.save_interval == 0 or is_last
    record_steps(job)
    state.board.epoch(record, rates)
    checkpoint = job.checkpoints.save_epoch(state, record.epoch, is_best=best, is_numbered=numbered)
    files.write_history(state.history)
    changes: dict[str, Any] = {
        "epochs_done": len(state.history),
        "duration_s": state.duration_s,
        "waiting_share": fmean(shares) if (shares := state.history.waiting_shares) else None,
        "skipped_images": sum(len(loader.skipped) for loader in job.loaders if loader),
    }
    if best:
        changes |= {"best_epoch": record.epoch, "best_value": value}
    files.update(**changes)
    job.progress.epoch_done(record, is_best=best, checkpoint=checkpoint)


def decide(job: Job, record: EpochRecord) -> bool:
    """Ask the caller whether to stop; the last epoch then gets its numbered checkpoint.

    Raises:
        ValueError: The answer is none of those allowed.
    """
    decision = job.team.first(job.on_epoch(record) if job.team.is_first else None)
    if decision not in (None, "continue", "stop"):
        raise ValueError(f'on_epoch must return None, "continue" or "stop", not {decision!r}')
    if decision == "stop":
        job.checkpoints.number(record.epoch)
    return decision == "stop"


def interrupt(job: Job) -> NoReturn:
    """Save the state as a signal asked, and stop.

    Raises:
        Interrupted: Always.
    """
    assert job.signals.number is not None
    job.checkpoints.save(job.state)
    job.files.update(duration_s=job.state.duration_s + job.state.position.duration_s)
    directory = shlex.quote(str(job.files.layout.directory))
    raise Interrupted(job.signals.number, f"stopped and saved; go on with: pochi train --resume {directory}")
