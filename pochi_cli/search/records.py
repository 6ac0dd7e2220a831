"""What a search did, as typed records and as files. Free of torch and of Optuna."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any, Literal

import tomli_w
from pydantic import TypeAdapter, ValidationError

from pochi_cli.config.root import Config, EmbeddingConfig
from pochi_cli.config.search import Direction
from pochi_cli.config.search_space import plain_config, with_params
from pochi_cli.errors import RunError
from pochi_cli.runs.atomic import write_json, write_text
from pochi_cli.runs.history import best_place
from pochi_cli.runs.records import read_json
from pochi_cli.runs.search_layout import SearchLayout, results_in

TrialState = Literal["complete", "pruned", "failed", "running"]


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: From 0, unique in the study.
        state: `complete`, `pruned`, `failed`, or still `running`.
        params: What was drawn, by the names of the search space.
        value: The metric of the best epoch; of a pruned trial that of its last, which does not compete.
        best_epoch: That epoch, from 1.
        epochs: Finished epochs.
        metric: The metric after each of them.
        started_at, ended_at: When, ISO 8601 with time zone.
        duration_s: How long, in seconds.
        threads: Threads that it computed with, where they are known.
        batch_size: Images in a batch, also where that was left to be chosen.
        data_fingerprint: Of its images.
        reason: Why it failed or was pruned.
        retry_of: The trial that a crash or an interrupt had ended, and that this one is in place of.
        host: Machine that ran it.
        directory: Its run, on that machine.
    """

    number: int
    state: TrialState
    params: Mapping[str, Any]
    value: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    metric: tuple[float, ...] = ()
    started_at: str | None = None
    ended_at: str | None = None
    duration_s: float | None = None
    threads: int | None = None
    batch_size: int | None = None
    data_fingerprint: str | None = None
    reason: str | None = None
    retry_of: int | None = None
    host: str | None = None
    directory: str | None = None


@dataclass(frozen=True, eq=False)  # what is worked out of one is remembered by it
class StudyRecord:
    """A study and its trials, as they stood at one moment.

    Attributes:
        study_id: UUID.
        study_name: As in its storage.
        storage: Where it is kept, without a password; `None` for memory.
        direction: Whether large or small values are better.
        metric: `val_accuracy` in percent, `val_loss`, `recall_at_<k>` or `val_total_loss`.
        n_trials: Trials of the whole study.
        optuna_epochs: Epochs of a trial.
        search_space: What was searched, as in the config.
        trials: By number; those that a crash or an interrupt ended, and that were begun anew, are left out.
        put_back: How many these are.
    """

    study_id: str
    study_name: str
    storage: str | None
    direction: Direction
    metric: str
    n_trials: int
    optuna_epochs: int
    search_space: Mapping[str, Any]
    trials: tuple[TrialRecord, ...] = ()
    put_back: int = 0

    def count(self, state: TrialState) -> int:
        """Count the trials of a state."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        """The trials that are not running any more."""
        return tuple(trial for trial in self.trials if trial.state != "running")

    @property
    def complete(self) -> tuple[TrialRecord, ...]:
        """The trials that compete."""
        return tuple(trial for trial in self.trials if trial.state == "complete" and trial.value is not None)

    @property
    def best(self) -> TrialRecord | None:
        """The best trial; of equally good ones the first."""
        complete = self.complete
        place = best_place((trial.value for trial in complete), self.metric)
        return None if place is None else complete[place]

    @property
    def epochs_saved(self) -> int:
        """Epochs that pruning saved."""
        return sum(self.optuna_epochs - trial.epochs for trial in self.trials if trial.state == "pruned")


def metric_of(config: Config) -> str:
    """Name what is compared: of images what the direction means, of vectors what chooses the best."""
    assert config.optuna is not None
    if isinstance(config, EmbeddingConfig):
        return config.best_metric  # with which the direction agrees
    return "val_accuracy" if config.optuna.direction == "maximize" else "val_loss"


def trial_config(config: Config) -> dict[str, Any]:
    """Write the config of a trial, before anything is drawn, as plain values."""
    assert config.optuna is not None
    plain = {**plain_config(config), "epochs": config.optuna.optuna_epochs}
    if isinstance(config, EmbeddingConfig):
        plain["recall_every_epochs"] = 1  # a pruner asks after every epoch
    return plain


def write_study(layout: SearchLayout, study: StudyRecord, config: Config) -> None:
    """Write the files of a search as far as it has got.

    Raises:
        StorageError: Writing failed.
    """
    write_json(layout.history, asdict(study))
    if (best := study.best) is not None:
        write_json(layout.best_params, _best(study, best))
        write_text(layout.optimized_config, _optimized(layout, study, best, config))


def write_statistics(
    layout: SearchLayout, study: StudyRecord, importances: Mapping[str, float] | str
) -> None:
    """Write counts, times and importances.

    Args:
        layout: Where.
        study: What was searched.
        importances: Share of each parameter in the metric's variance; or why there are none.

    Raises:
        StorageError: Writing failed.
    """
    times = [trial.duration_s for trial in study.finished if trial.duration_s is not None]
    best = study.best
    write_json(
        layout.statistics,
        {
            "study_id": study.study_id,
            "study_name": study.study_name,
            "storage": study.storage,
            "direction": study.direction,
            "metric": study.metric,
            "n_trials": study.n_trials,
            "trials": len(study.finished),
            **{state: study.count(state) for state in ("complete", "pruned", "failed")},
            "put_back": study.put_back,
            "optuna_epochs": study.optuna_epochs,
            "epochs": sum(trial.epochs for trial in study.trials),
            "epochs_saved_by_pruning": study.epochs_saved,
            "duration_s": {
                "all_trials": sum(times),
                "mean": mean(times) if times else None,
                "shortest": min(times, default=None),
                "longest": max(times, default=None),
            },
            "best": None if best is None else _best(study, best),
            "param_importances": None if isinstance(importances, str) else dict(importances),
            "param_importances_missing": importances if isinstance(importances, str) else None,
        },
    )


def _best(study: StudyRecord, best: TrialRecord) -> dict[str, Any]:
    return {
        "trial": best.number,
        "metric": study.metric,
        "value": best.value,
        "epoch": best.best_epoch,
        "params": dict(best.params),
    }


def _optimized(layout: SearchLayout, study: StudyRecord, best: TrialRecord, config: Config) -> str:
    values = optimized_values(config, best)
    threads = "" if best.threads is None or config.threads is not None else f" --set threads={best.threads}"
    path = shlex.quote(str(layout.optimized_config))
    recalls = " --set recall_every_epochs=1" if isinstance(config, EmbeddingConfig) else ""
    repeat = f"pochi train {path} --set epochs={study.optuna_epochs}{recalls}{threads}"
    head = (
        f"# The best of {len(study.finished)} trials of {_one_line(study.study_name)}: trial {best.number}, "
        f"{study.metric} {best.value} in epoch {best.best_epoch} of {study.optuna_epochs}.\n"
        f"# The same short training once more: {_one_line(repeat)}\n\n"
    )
    return head + tomli_w.dumps(values)


def _one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def optimized_values(config: Config, trial: TrialRecord) -> dict[str, Any]:
    """Put a trial's parameters into the config."""
    values = with_params(plain_config(config), trial.params)
    if values.get("batch_size") == "auto" and trial.batch_size is not None:
        values["batch_size"] = trial.batch_size  # another machine, or hour, might choose another
    return values


def read_study(layout: SearchLayout) -> StudyRecord:
    """Read what `write_study` wrote.

    Raises:
        RunError: It is missing or damaged.
    """
    beside = results_in(layout.directory)
    if not layout.history.exists() and beside.history.exists():
        raise RunError(f"there is no {layout.history}", hint=f"did you mean {beside.directory}?")
    content = read_json(layout.history)
    try:
        return TypeAdapter(StudyRecord).validate_python(content)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        place = ".".join(map(str, found["loc"]))
        raise RunError(f"{layout.history} is damaged: {place}: {found['msg']}") from error


def study_id_in(layout: SearchLayout) -> str | None:
    """Tell whose study a directory of results belongs to; `None` where it tells nothing."""
    try:
        return read_study(layout).study_id
    except RunError:
        return None
