"""A search: trials are taken from the study and given to processes that train them."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import gethostname
from typing import Any

from pochi_cli.config.load import validate
from pochi_cli.config.root import Config
from pochi_cli.config.search import OptunaConfig
from pochi_cli.config.search_space import plain_config, with_params
from pochi_cli.cores import usable_cores
from pochi_cli.engine.signals import SignalFlag, noting_signals
from pochi_cli.errors import ConfigError, InstallationError, Interrupted, TrainingError, format_key
from pochi_cli.runs.search_layout import SearchLayout, results_directory
from pochi_cli.search import messages
from pochi_cli.search.messages import Decision, EpochDone, Failed, Message, Order, Ready, Stepped, Trained
from pochi_cli.search.progress import SearchView
from pochi_cli.search.records import (
    StudyRecord,
    TrialRecord,
    metric_of,
    study_id_in,
    trial_config,
    write_statistics,
    write_study,
)
from pochi_cli.search.storage import open_storage, storage_errors
from pochi_cli.search.study import SharedStudy, TakenOverError
from pochi_cli.search.trial import End, UnderWay
from pochi_cli.search.workers import Event, Worker

_TICK_S = 0.25
_MOST_FAILED_STARTS = 3
_LOOK_S = 2.0
"""How often the trials of other processes are looked at."""
_OPENING_S = 3.0
"""How long the process that made a directory may take to write into it."""
_END_S = 15.0
"""How long trials may take to stop after an interrupt."""
_AT_THE_END = "they are worked out when the search ends"


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        study: All trials.
        layout: Where its files are.
    """

    study: StudyRecord
    layout: SearchLayout


def optimize(config: Config, view: SearchView) -> Outcome:
    """Search until the study has its trials, until the time is over, or until an interrupt.

    Args:
        config: A config with a search.
        view: Told how far it is.

    Raises:
        PochiError: The storage, the directory or the study cannot be used, or no process can be started.
        Interrupted: A signal asked to stop; what is done is recorded, and the trials that ran are put back.
    """
    assert config.optuna is not None
    with storage_errors(config.optuna.storage):
        study = SharedStudy(config, open_storage(config.optuna.storage))
        layout = results_directory(Path(config.work_dir), _is_own(study, config.optuna))
        write_study(layout, study.record(), config)
        with noting_signals() as signals, study.present(layout):
            search = _Search(config, study, layout, view, signals)
            try:
                search.run()
            except KeyboardInterrupt:
                if not signals.at_once:  # else all is put back at once, and told below
                    raise
            finally:
                search.close()
        record = study.record()
    if signals.number is not None:
        again = (
            "what was searched is written, but was not stored: a new search begins anew"
            if config.optuna.storage is None
            else "the same command goes on"
        )
        count = f"{len(record.finished)} of {record.n_trials} trials are done"
        raise Interrupted(signals.number, f"stopped; {count} ({layout.directory}); {again}")
    return Outcome(record, layout)


def _is_own(study: SharedStudy, search: OptunaConfig) -> Callable[[SearchLayout], bool]:
    def is_own(layout: SearchLayout) -> bool:
        if search.storage is None:
            return False
        deadline = time.monotonic() + _OPENING_S
        while not layout.history.exists() and time.monotonic() < deadline:
            time.sleep(0.1)  # another process of the same command may have just made it
        return study_id_in(layout) == study.study_id

    return is_own


class _Search:
    """The searching process: what it runs, and what it does about what it is told."""

    def __init__(
        self,
        config: Config,
        study: SharedStudy,
        layout: SearchLayout,
        view: SearchView,
        signals: SignalFlag,
    ) -> None:
        assert config.optuna is not None
        self._config = config
        self._search = config.optuna
        self._plain = trial_config(config)
        self._study = study
        self._layout = layout
        self._view = view
        self._signals = signals
        self._metric = metric_of(config)
        self._events: queue.Queue[Event] = queue.Queue()
        self._workers: dict[int, Worker] = {}
        self._ready: set[int] = set()
        self._running: dict[int, UnderWay] = {}
        self._began = time.monotonic()
        self._was_late = False
        self._failed_starts = 0
        self._last_look = 0.0
        self._told: set[str] = set()
        self._record = study.record()

    def run(self) -> None:
        """Search until there is nothing left to do."""
        self._begin()
        while not self._is_over():
            if self._signals.number is not None:
                self._stop()
                return
            self._look_after_others()
            self._give_work()
            with suppress(queue.Empty):
                self._handle(self._events.get(timeout=_TICK_S))
            self._study.beat()
            self._view.update(self._record, [running.seen() for running in self._running.values()])
        self._write()

    def close(self) -> None:
        """End the processes, and put back what they were at."""
        for worker in self._workers.values():
            worker.close()
        self._view.stop()
        self._study.give_back_all()

    def _begin(self) -> None:
        for number in self._study.put_back_crashed():
            self._view.message(f"trial {number} was ended by a crash, and is tried again")
        self._record = self._study.record()
        self._view.start(
            self._record, str(self._layout.directory), self._search.n_jobs, self._search.timeout_s
        )
        cores, threads = usable_cores(), self._config.threads
        if threads is not None and self._search.n_jobs > 1 and threads * self._search.n_jobs > cores:
            self._view.warning(
                f"{self._search.n_jobs} trials with threads = {threads} are more threads than there are "
                f"cores ({cores})"
            )
        elif self._search.n_jobs > cores:
            self._view.warning(
                f"{self._search.n_jobs} trials at a time are more than there are cores ({cores})"
            )
        names = self._search.search_space
        has_rates = self._config.layer_wise_lr_config.layer_rates
        by_layer = self._config.enable_layer_wise_lr or "enable_layer_wise_lr" in names
        if "learning_rate" in names and has_rates and by_layer:
            self._view.message(
                "learning_rate scales the layer-wise rates: those of a trial are the file's, times its "
                f"learning_rate over {self._config.learning_rate:g}"
            )

    def _is_over(self) -> bool:
        """Whether nothing runs, and nothing will."""
        if self._running:
            return False
        if self._is_late():
            return True
        unfinished = len(self._record.finished) < self._record.n_trials
        return not unfinished or not (self._study.has_work() or self._study.has_others())

    def _is_late(self) -> bool:
        limit = self._search.timeout_s
        is_late = limit is not None and time.monotonic() - self._began >= limit
        if is_late and not self._was_late:
            self._was_late = True
            self._view.message(f"timeout_s = {limit:g} is over: no further trial begins")
        return is_late

    def _look_after_others(self) -> None:
        if self._search.storage is None or time.monotonic() - self._last_look < _LOOK_S:
            return
        self._last_look = time.monotonic()
        for number in self._study.put_back_crashed():
            self._view.message(f"the process of trial {number} is gone: the trial is tried again")
        self._record = self._study.record()

    def _give_work(self) -> None:
        """Give each process that waits a trial, and start processes for the trials that are left."""
        if self._is_late():
            return
        for index in list(self._ready):
            if not self._order(self._workers[index]):
                return
        missing = self._record.n_trials - len(self._record.finished) - len(self._running)
        for index in range(min(self._search.n_jobs, missing + len(self._running))):
            if index not in self._workers:
                threads = max(1, usable_cores() // self._search.n_jobs) if self._search.n_jobs > 1 else None
                limit = self._config.threads or threads
                self._workers[index] = Worker(index, self._search.n_jobs, limit, self._events)

    def _order(self, worker: Worker) -> bool:
        """Give a process the next trial whose config is valid; return whether there was one."""
        while (taken := self._study.take()) is not None:
            running = UnderWay(taken, time.monotonic())
            try:
                config = plain_config(validate(with_params(self._plain, taken.params)))
            except ConfigError as error:
                reasons = "; ".join(
                    f"{format_key(found.key)}: {found.message}"
                    for found in error.diagnostics
                    if found.severity == "error"
                )
                self._finish(running, End("failed", f"its config is not valid: {reasons}"))
                continue
            self._running[worker.index] = running
            self._ready.discard(worker.index)
            directory = str(self._layout.trial(taken.number).absolute())
            worker.tell(Order(config, directory, self._metric))
            self._record = self._study.record()
            return True
        return False

    def _handle(self, event: Event) -> None:
        try:
            self._respond(event)
        except TakenOverError as error:  # the others have it now
            self._view.warning(str(error))
            if self._workers.get(event.worker.index) is event.worker:
                self._dismiss(event.worker)

    def _respond(self, event: Event) -> None:
        index, message = event.worker.index, event.message
        if self._workers.get(index) is not event.worker:
            return  # it was closed
        running = self._running.get(index)
        match message:
            case None:
                self._mourn(event.worker, running)
            case Ready():
                self._ready.add(index)
            case messages.Unusable(message=text, hint=hint):
                raise InstallationError(text, hint)
            case messages.Warned(text=text):
                if text not in self._told:  # most trials have the same to tell
                    self._told.add(text)
                    self._view.warning(text)
            case _ if running is not None:
                self._hear(event.worker, running, message)
            case _:
                pass

    def _hear(self, worker: Worker, running: UnderWay, message: Message) -> None:
        """Take up what the process of a trial tells of it."""
        match message:
            case Stepped(epoch=epoch, done=done):
                running.epoch, running.done = epoch, done
            case EpochDone(epoch=epoch, value=value):
                running.epoch, running.done = epoch, 1.0
                running.metric.append(value)
                hopeless = self._study.report(running.taken, epoch, value)
                running.is_pruned = hopeless and epoch < self._search.optuna_epochs
                worker.tell(Decision(running.is_pruned))
            case Trained():
                del self._running[worker.index]
                self._ready.add(worker.index)
                self._finish_trained(running, message)
            case Failed(reason=reason):
                self._dismiss(worker)
                self._finish(running, End("failed", reason))
            case messages.Interrupted():
                self._dismiss(worker)
                self._study.give_back(running.taken)
            case _:
                raise AssertionError(message)

    def _mourn(self, worker: Worker, running: UnderWay | None) -> None:
        """Take note of the end of a process that nobody asked for."""
        reason, words, was_asked = worker.end, worker.last_words, worker.was_asked_to_end
        self._dismiss(worker)
        if was_asked:  # with this process, which hears of it as well, or alone
            if running is not None:
                self._study.give_back(running.taken)
            return
        self._failed_starts += running is None
        if running is None and self._failed_starts < _MOST_FAILED_STARTS:
            return
        if running is None:
            raise TrainingError(
                f"a process for trials does not start: {reason}"
                + (f"; {words.splitlines()[-1]}" if words else "")
            )
        if "Traceback" in words:
            self._view.warning(words[words.rindex("Traceback") :])
            reason += f": {words.splitlines()[-1]}"
        self._finish(running, End("failed", reason))

    def _dismiss(self, worker: Worker) -> None:
        """Give a process up, with the memory that it holds; another one takes its place."""
        worker.close()
        del self._workers[worker.index]
        self._ready.discard(worker.index)
        self._running.pop(worker.index, None)

    def _finish_trained(self, running: UnderWay, trained: Trained) -> None:
        known = {trial.data_fingerprint for trial in self._record.complete} - {None}
        end = running.end(self._metric, is_of_others=bool(known) and trained.data_fingerprint not in known)
        self._finish(running, end, asdict(trained))

    def _finish(self, running: UnderWay, end: End, results: Mapping[str, Any] | None = None) -> None:
        taken = running.taken
        directory = self._layout.trial(taken.number)
        before = self._record.best
        record = TrialRecord(
            number=taken.number,
            params=taken.params,
            epochs=len(running.metric),
            duration_s=time.monotonic() - running.started,
            host=gethostname(),
            directory=str(directory.absolute()) if directory.exists() else None,
            **asdict(end),
            **(results or {}),
        )
        self._study.finish(taken, record)
        self._write()
        told = next(trial for trial in self._record.trials if trial.number == taken.number)
        best = self._record.best
        is_best = best is not None and best.number == taken.number and best != before
        self._view.trial_done(told, self._record, is_best=is_best)

    def _write(self) -> None:
        self._record = self._study.record()
        write_study(self._layout, self._record, self._config)
        write_statistics(self._layout, self._record, _AT_THE_END)

    def _stop(self) -> None:
        """Let the trials that run stop after their step, and put them back."""
        for index in self._running:
            self._workers[index].stop()
        deadline = time.monotonic() + _END_S
        while self._running and time.monotonic() < deadline and not self._signals.at_once:
            try:
                event = self._events.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            running = self._running.get(event.worker.index)
            ended = event.message is None or isinstance(event.message, messages.Interrupted | Failed)
            if running is not None and self._workers.get(event.worker.index) is event.worker:
                if ended:
                    self._dismiss(event.worker)
                    self._study.give_back(running.taken)
                else:
                    self._handle(event)
        self._write()
