"""A study that processes share: who takes which trial, and what becomes of those that a crash ended.

A study holds a waiting trial for each one that it is to have, made when it begins (of very many, some at a
time). A process takes a trial by making it a running one, which a storage grants to one process only: so
trials are shared without repeats, and their number is kept.

A trial whose process is gone (see `presence`) is failed, marked as crashed, and put back once more, with the
same parameters.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from pochi_cli.config.root import Config
from pochi_cli.config.search import OptunaConfig
from pochi_cli.config.search_grid import Grid
from pochi_cli.config.search_space import Parameter, parameters, plain_config
from pochi_cli.config.values import show
from pochi_cli.errors import RunError
from pochi_cli.runs.search_layout import SearchLayout
from pochi_cli.search.presence import BEAT, OWNER, Watch, present
from pochi_cli.search.records import StudyRecord, TrialRecord, metric_of
from pochi_cli.search.samplers import create_pruner, create_sampler
from pochi_cli.search.settings import differences, settings_of
from pochi_cli.search.space import draw, label, value_of
from pochi_cli.search.storage import without_password

_WINDOW = 256
"""Waiting trials that are made at a time."""
_BEAT_S = 10.0
_OPENING_S = 5.0
"""How long the process that made a study may take to sign it."""

_STUDY = "pochi"
_CRASHED = "pochi_crashed"
_RETRY_OF = "pochi_retry_of"
_ROOT = "pochi_root"
_POINT = "pochi_point"
_RESULT = "pochi_result"

_RESULTS = (
    "best_epoch",
    "epochs",
    "duration_s",
    "threads",
    "batch_size",
    "data_fingerprint",
    "reason",
    "host",
    "directory",
)
"""What is recorded of a trial beside what Optuna has."""
_FINISHED = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class TakenOverError(Exception):
    """This process was silent for so long that another one has put its trial back."""


@dataclass(frozen=True)
class Taken:
    """A trial that this process runs.

    Attributes:
        number: Its number in the study.
        params: What was drawn, by the names of the search space.
        trial: Optuna's.
    """

    number: int
    params: Mapping[str, Any]
    trial: Trial


class SharedStudy:
    """A study in a storage, as one process sees it.

    Args:
        config: A config with a search.
        storage: Where the study is kept.

    Attributes:
        study_id: UUID of the study.

    Raises:
        RunError: There is a study of this name that was not made by Pochi, or with other settings.
    """

    def __init__(self, config: Config, storage: BaseStorage) -> None:
        assert config.optuna is not None
        self._search: OptunaConfig = config.optuna
        self._metric = metric_of(config)
        self._searched: tuple[Parameter, ...] = parameters(self._search)
        self._storage = storage
        self._pruner = create_pruner(self._search)
        is_grid = self._search.sampler == "GridSampler"
        self._grid = Grid(self._searched, self._search.seed) if is_grid else None
        self._owner: Mapping[str, Any] = {}
        self._mine: set[int] = set()
        self._last_beat = 0.0
        self._watch = Watch()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        name = self._search.study_name
        try:
            self._study = optuna.create_study(
                study_name=name, storage=storage, direction=self._search.direction
            )
        except DuplicatedStudyError:
            self._study = optuna.load_study(study_name=name, storage=storage)
            is_new = False
        else:
            is_new = True
        self._storage_id = storage.get_study_id_from_name(name)
        self.study_id = self._sign(config) if is_new else self._recognise(config)

    @property
    def limit(self) -> int:
        """Trials that the study is to have."""
        points = self._search.n_trials if self._grid is None else self._grid.size
        return min(self._search.n_trials, points)

    @contextmanager
    def present(self, layout: SearchLayout) -> Iterator[None]:
        """Be there for other processes to see, and be the owner of what is taken."""
        with present(layout) as self._owner:
            yield

    def take(self) -> Taken | None:
        """Take the next trial that waits, and draw its parameters; `None` if there are no more."""
        while True:
            standing = self._standing()
            for frozen in standing[: self.limit]:
                if frozen.state == TrialState.WAITING and self._seize(frozen):
                    return self._begin(frozen.number)
            if len(standing) >= self.limit:
                return None
            self._fill()

    def _seize(self, frozen: FrozenTrial) -> bool:
        try:
            return self._storage.set_trial_state_values(self._id(frozen.number), TrialState.RUNNING)
        except RuntimeError:  # another process has finished it already
            return False

    def _begin(self, number: int) -> Taken:
        self._mine.add(number)
        self._storage.set_trial_user_attr(self._id(number), OWNER, dict(self._owner))
        # A study of its own for each trial: one remembers the trials that it has seen while it draws.
        study = optuna.load_study(
            study_name=self._search.study_name,
            storage=self._storage,
            sampler=create_sampler(self._search.sampler, self._search.seed, number),
            pruner=self._pruner,
        )
        study.get_trials(deepcopy=False)  # Optuna's cache knows only those trials that were asked for
        trial = Trial(study, self._id(number))
        return Taken(number, draw(trial, self._searched), trial)

    def report(self, taken: Taken, epoch: int, value: float) -> bool:
        """Tell a trial's metric after an epoch; return whether to end the trial.

        Raises:
            TakenOverError: Another process has taken the trial over.
        """
        with self._still_mine(taken):
            taken.trial.report(value, step=epoch)
            return bool(taken.trial.should_prune())

    @contextmanager
    def _still_mine(self, taken: Taken) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # Optuna's word for a trial that has ended
            self._mine.discard(taken.number)
            raise TakenOverError(f"trial {taken.number} was taken over by another process") from error

    def finish(self, taken: Taken, record: TrialRecord) -> None:
        """Write a trial that has ended: complete, pruned or failed.

        Raises:
            TakenOverError: Another process has taken it over.
        """
        result = {name: getattr(record, name) for name in _RESULTS}
        state = next(state for state, name in _FINISHED.items() if name == record.state)
        value = record.value if state == TrialState.COMPLETE else None
        with self._still_mine(taken):
            taken.trial.set_user_attr(_RESULT, result)
            taken.trial.study.tell(taken.trial, value, state=state)
        self._mine.discard(taken.number)

    def give_back(self, taken: Taken) -> None:
        """Put a trial back that was not brought to its end."""
        self._give_back({taken.number})

    def give_back_all(self) -> None:
        """Put back whatever this process has taken and not brought to its end."""
        self._give_back(set(self._mine))

    def _give_back(self, numbers: set[int]) -> None:
        self._mine -= numbers
        for trial in self._trials():
            if trial.number in numbers:
                self._put_back(trial)

    def beat(self) -> None:
        """Show that this process lives; cheap when it did so a moment ago."""
        if time.monotonic() - self._last_beat < _BEAT_S:
            return
        self._last_beat = time.monotonic()
        for number in self._mine:
            self._storage.set_trial_user_attr(self._id(number), BEAT, time.time_ns())

    def put_back_crashed(self) -> list[int]:
        """Put the trials back whose processes are gone; return their numbers."""
        gone = [trial for trial in self._run_by_others() if self._watch.is_gone(trial)]
        for trial in gone:
            self._put_back(trial)
        return [trial.number for trial in gone]

    def has_work(self) -> bool:
        """Tell whether a trial waits, or could be made."""
        standing = self._standing()
        waits = any(trial.state == TrialState.WAITING for trial in standing[: self.limit])
        return waits or len(standing) < self.limit

    def has_others(self) -> bool:
        """Tell whether other processes run trials."""
        return bool(self._run_by_others())

    def _run_by_others(self) -> list[FrozenTrial]:
        return [
            trial
            for trial in self._trials()
            if trial.state == TrialState.RUNNING and trial.number not in self._mine
        ]

    def _fill(self) -> None:
        """Make waiting trials, as many as are missing."""
        trials = self._trials()
        retried = {trial.user_attrs.get(_RETRY_OF) for trial in trials}
        for trial in trials:  # of a process that died between failing a trial and putting it back
            if _is_crashed(trial) and trial.number not in retried:
                self._enqueue_again(trial)
        standing = self._standing()
        waiting = sum(trial.state == TrialState.WAITING for trial in standing)
        missing = min(self.limit - len(standing), _WINDOW - waiting)
        if self._grid is None:
            for _ in range(missing):
                self._study.enqueue_trial({})
        elif missing > 0:
            visited = {trial.user_attrs[_POINT] for trial in standing}
            for index, _ in zip(self._grid.order(visited, self.limit), range(missing), strict=False):
                self._study.enqueue_trial(self._labels(index), user_attrs={_POINT: index})

    def record(self) -> StudyRecord:
        """Read the whole study."""
        begun = [trial for trial in self._standing() if trial.state != TrialState.WAITING]
        storage = self._search.storage
        return StudyRecord(
            study_id=self.study_id,
            study_name=self._search.study_name,
            storage=None if storage is None else without_password(storage),
            direction=self._search.direction,
            metric=self._metric,
            n_trials=max(self.limit, len(begun)),
            optuna_epochs=self._search.optuna_epochs,
            search_space=settings_of(self._search)["search_space"],
            trials=tuple(
                self._trial_record(trial) for trial in sorted(begun, key=lambda trial: trial.number)
            ),
            put_back=sum(map(_is_crashed, self._trials())),
        )

    def _trial_record(self, trial: FrozenTrial) -> TrialRecord:
        named = {parameter.name: parameter for parameter in self._searched}
        result = trial.user_attrs.get(_RESULT, {})
        values = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        return TrialRecord(
            number=trial.number,
            state=_FINISHED.get(trial.state, "running"),  # type: ignore[arg-type]
            params={name: value_of(named[name], drawn) for name, drawn in trial.params.items()},
            value=trial.value if trial.state != TrialState.FAIL else None,
            metric=tuple(values),
            started_at=_moment(trial.datetime_start),
            ended_at=_moment(trial.datetime_complete),
            retry_of=trial.user_attrs.get(_RETRY_OF),
            **result,
        )

    def _trials(self) -> Sequence[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _standing(self) -> list[FrozenTrial]:
        """List the trials that count, in the order in which their numbers were first given.

        Of two that processes made for one and the same, in a hurry, the first counts. There may be more of
        them than there are to be: the last ones then wait until n_trials is raised.
        """
        firsts: dict[tuple[str, int], FrozenTrial] = {}
        for trial in self._trials():
            if not _is_crashed(trial):
                point = trial.user_attrs.get(_POINT)
                key = ("trial", _root(trial)) if point is None else ("point", point)
                firsts.setdefault(key, trial)
        return sorted(firsts.values(), key=lambda trial: (_root(trial), trial.number))

    def _put_back(self, trial: FrozenTrial) -> None:
        try:
            self._storage.set_trial_user_attr(self._id(trial.number), _CRASHED, True)
            self._study.tell(trial.number, state=TrialState.FAIL)
        except (RuntimeError, ValueError):  # another process was faster
            return
        self._enqueue_again(trial)

    def _enqueue_again(self, trial: FrozenTrial) -> None:
        attributes = {_RETRY_OF: trial.number, _ROOT: _root(trial)}
        if (point := trial.user_attrs.get(_POINT)) is not None:
            attributes[_POINT] = point
        drawn = trial.params if point is None or self._grid is None else self._labels(point)
        self._study.enqueue_trial(dict(drawn), user_attrs=attributes)

    def _labels(self, point: int) -> dict[str, Any]:
        assert self._grid is not None
        return {name: label(value) for name, value in self._grid[point].items()}

    def _id(self, number: int) -> int:
        """Find the storage's own number of a trial."""
        return self._storage.get_trial_id_from_study_id_trial_number(self._storage_id, number)

    def _sign(self, config: Config) -> str:
        """Note in the study what it is for, and make its first trials; return its UUID."""
        study_id = str(uuid.uuid4())
        settings = {"config": plain_config(config), "search": settings_of(self._search)}
        self._study.set_user_attr(_STUDY, {"id": study_id, **settings})
        self._fill()
        return study_id

    def _recognise(self, config: Config) -> str:
        """Hold the study against the config; return its UUID.

        Raises:
            RunError: The study is none of Pochi's, or has other settings.
        """
        name = self._search.study_name
        deadline = time.monotonic() + _OPENING_S
        while (made := self._study.user_attrs.get(_STUDY)) is None:
            is_like_ours = self._study.direction.name.lower() == self._search.direction
            if self._trials() or not is_like_ours:
                raise RunError(
                    f"the storage has a study {show(name)} that pochi optimize has not made",
                    hint="give another study_name",
                )
            if time.monotonic() > deadline:  # it was killed before it could sign it
                return self._sign(config)
            time.sleep(0.1)  # another process has only just made it
        if found := differences(made, config):
            raise RunError(
                f"the study {show(name)} was begun with other settings: {'; '.join(found)}",
                hint="put them back, or begin a new study with another study_name",
            )
        return str(made["id"])


def _is_crashed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and trial.user_attrs.get(_CRASHED) is True


def _root(trial: FrozenTrial) -> int:
    """The number that a trial was first given."""
    return int(trial.user_attrs.get(_ROOT, trial.number))


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone().isoformat(timespec="seconds")
