"""The rules on what is searched that need no look at what the searched keys allow."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pochi_cli.config.recording import ONLOOKERS
from pochi_cli.config.root import ClassificationConfig, TrainingConfig, root_of
from pochi_cli.config.rules import Rules
from pochi_cli.config.search import Choices, FloatRange, IntRange, OptunaConfig
from pochi_cli.config.search_grid import MOST_VALUES, Grid, is_countable, value_at, values_of
from pochi_cli.config.search_space import (
    LAYER_RATES,
    Parameter,
    has_place,
    key_of,
    parameters,
    plain_config,
)
from pochi_cli.config.suggestions import meant_key
from pochi_cli.config.values import show
from pochi_cli.errors import ConfigError, Diagnostic, KeyPath, Note, format_key

SEARCH_RULES = Rules(TrainingConfig)  # type: ignore[type-abstract]  # nothing is made of it

SPACE: KeyPath = ("optuna", "search_space")

_NOT_LEARNT = {
    *ONLOOKERS,
    "gradient_tracking_config",
    "num_workers",
    "cache",
    "device",
    "threads",
    "on_bad_image",
}
_UNSEARCHABLE = {
    **dict.fromkeys(_NOT_LEARNT, "nothing that is learnt depends on it"),
    "task": "it is the same in every trial",
    "optuna": "it is the search itself",
    "epochs": "every trial trains for optuna_epochs",
    "work_dir": "trials lie in the directory of the search",
    "num_classes": "the data decide it",
    "dataset": "trials could not be compared on other data",
    "val_data_root": "trials could not be compared on other validation data",
    "train_vectors": "trials could not be compared on other data",
    "vector_column": "trials could not be compared on other data",
    "holdout": "trials could not be compared on other validation data",
    "recall_ks": "nothing that is learnt depends on it",
    "recall_every_epochs": "every epoch of a trial has its recall",
    "recall_samples": "trials could not be compared on other validation data",
    "metric": "recalls by different metrics do not compare",
    "val_split": "trials could not be compared on other validation data",
    "save_interval": "trials keep no checkpoints",
    "checkpoint_every_steps": "trials keep no checkpoints",
}
"""Keys that make no sense in a search, and why."""


@SEARCH_RULES.rule("optuna.search_space")
def _ranges(config: TrainingConfig) -> Iterator[Diagnostic]:
    for name, space in _search(config).search_space.items():
        if isinstance(space, Choices):
            continue
        key = (*SPACE, name)
        low, high, step = space.low, space.high, space.step
        if low >= high:
            yield Diagnostic(
                "out-of-range",
                f"{name}: high is {show(high)}, but must be above low ({show(low)})",
                (*key, "high"),
                help="exchange them" if low > high else "a single value belongs to the config itself",
                notes=(Note("low is set here", (*key, "low")),),
            )
            continue
        if not is_countable(space):
            yield Diagnostic(
                "out-of-range",
                f"{name}: step is {show(step)}, which makes more than {MOST_VALUES:,} values",
                (*key, "step"),
                help="use a larger one, or leave it out",
            )
            continue
        if space.log and low <= 0:
            yield Diagnostic(
                "out-of-range",
                f"{name}: low is {show(low)}, but must be above 0 with log = true",
                (*key, "low"),
                help="begin with a small number, such as " + ("1" if isinstance(space, IntRange) else "1e-6"),
                notes=(Note("log is set here", (*key, "log")),),
            )
        if space.log and step not in (None, 1):
            yield Diagnostic(
                "conflict",
                f"{name}: log = true and step = {show(step)} exclude each other",
                (*key, "step"),
                help='keep one of them, or list the values: type = "categorical", choices = [...]',
                notes=(Note("log is set here", (*key, "log")),),
            )
        elif step is not None and low + step > high:
            yield Diagnostic(
                "out-of-range",
                f"{name}: step is {show(step)}, more than the distance from low to high",
                (*key, "step"),
                help="use a smaller one",
            )
        elif step is not None and not math.isclose(
            last := value_at(space, values_of(space) - 1), high, rel_tol=1e-8
        ):
            yield Diagnostic(
                "unreachable-bound",
                f"{name}: high is {show(high)}, but in steps of {show(step)} the last value is {last:.12g}",
                (*key, "high"),
                severity="warning",
                help=f"set high = {last:.12g}, or another step",
            )


@SEARCH_RULES.rule("optuna.search_space")
def _choices(config: TrainingConfig) -> Iterator[Diagnostic]:
    for name, space in _search(config).search_space.items():
        if not isinstance(space, Choices):
            continue
        for position, choice in enumerate(space.choices):
            if any(type(choice) is type(other) and choice == other for other in space.choices[:position]):
                yield Diagnostic(
                    "conflict",
                    f"{name}: the choice {show(choice)} is given twice",
                    (*SPACE, name, "choices", position),
                    help="leave it out",
                )


@SEARCH_RULES.rule(
    "optuna.search_space",
    "layer_wise_lr_config",
    "enable_layer_wise_lr",
    "early_stopping",
    "scheduler",
    "scheduler_params",
)
def _names(config: TrainingConfig) -> Iterator[Diagnostic]:
    plain = plain_config(config)
    for name in _search(config).search_space:
        path = key_of(name)
        if path is None:
            help_ = "write optimizer_params.weight_decay or train_transform[1].degrees, as diagnostics do"
            yield _refused("unknown-key", name, f"search_space: {show(name)} is no key", help_)
        elif reason := _UNSEARCHABLE.get(str(path[0])):
            yield _refused("conflict", name, f"{name} cannot be searched: {reason}", "leave it out")
        elif not has_place(plain, path):
            message = f"search_space: there is no {format_key(path)}"
            yield _refused("unknown-key", name, message, _nearest(plain, path))
        elif path[:2] == LAYER_RATES and not _may_hold(config, "enable_layer_wise_lr"):
            message = f"{name} is searched, but enable_layer_wise_lr is false: it would have no effect"
            help_ = "set enable_layer_wise_lr = true at the top level, or leave it out"
            yield _refused("conflict", name, message, help_)
        elif path[0] == "early_stopping" and not _may_hold(config, "early_stopping.enabled"):
            message = f"{name} is searched, but early stopping is not enabled: it would have no effect"
            help_ = "set enabled = true in [early_stopping], or leave it out"
            yield _refused("conflict", name, message, help_)
        elif path[0] == "scheduler_params" and not _may_hold(config, "scheduler"):
            message = f"{name} is searched, but there is no scheduler"
            yield _refused("conflict", name, message, "give a scheduler, or search `scheduler` as well")


def _refused(code: str, name: str, message: str, remedy: str | None) -> Diagnostic:
    return Diagnostic(code, message, (*SPACE, name), at="key", help=remedy)


def _nearest(plain: dict[str, object], path: KeyPath) -> str | None:
    """Say what there is in place of a key that has no place."""
    if str(path[0]) not in root_of(plain).model_fields:
        return meant_key((path[0],), {**plain, str(path[0]): None})
    table = next(path[:end] for end in range(len(path), 0, -1) if has_place(plain, path[:end]))
    return f"{format_key(table)} has {_extent(plain, table)}"


def _may_hold(config: TrainingConfig, switch: str) -> bool:
    """Tell whether a key is set, or is searched itself."""
    value: object = config
    for part in switch.split("."):
        value = getattr(value, part)
    table, _, _ = switch.rpartition(".")
    return bool(value) or bool({switch, table} & _search(config).search_space.keys())


def _extent(plain: dict[str, object], table: KeyPath) -> str:
    node: object = plain
    for part in table:
        if not isinstance(node, dict | list) or (isinstance(node, dict) and part not in node):
            return "only its default: give it in the file, or search it as a whole"
        node = node[part]  # type: ignore[index]
    if isinstance(node, list):
        steps = ", ".join(
            f"[{position}] {entry['name'] if isinstance(entry, dict) and 'name' in entry else show(entry)}"
            for position, entry in enumerate(node)
        )
        return f"the entries {steps}"
    return f"the value {show(node)}"


@SEARCH_RULES.rule("optuna.search_space")
def _overlaps(config: TrainingConfig) -> Iterator[Diagnostic]:
    seen: list[Parameter] = []
    for parameter in sorted(parameters(_search(config)), key=lambda parameter: len(parameter.path)):
        for other in seen:
            if parameter.path[: len(other.path)] == other.path:
                yield Diagnostic(
                    "conflict",
                    f"{parameter.name} and {other.name} both set {format_key(parameter.path)}",
                    (*SPACE, parameter.name),
                    at="key",
                    help="keep one of them",
                    notes=(Note(f"{other.name} is searched here", (*SPACE, other.name)),),
                )
        seen.append(parameter)


@SEARCH_RULES.rule("optuna", "dataset", "val_data_root", "val_split", "holdout")
def _needs_validation(config: TrainingConfig) -> Iterator[Diagnostic]:
    if config.optuna is not None and not config.has_validation:
        yield Diagnostic(
            "conflict",
            "optuna compares trials on data that are not trained on, and there are none",
            ("optuna",),
            at="key",
            help="give val_data_root or val_split"
            if isinstance(config, ClassificationConfig)
            else "set holdout above 0",
        )


@SEARCH_RULES.rule("optuna.storage")
def _storage(config: TrainingConfig) -> Iterator[Diagnostic]:
    storage = _search(config).storage
    if storage is not None and (storage == "sqlite://" or ":memory:" in storage):
        yield Diagnostic(
            "conflict",
            f"optuna.storage is {show(storage)}, which is kept nowhere",
            ("optuna", "storage"),
            help='leave it out for a search in memory, or name a file: "sqlite:///study.db"',
        )
    elif storage is not None and "://" not in storage:
        yield Diagnostic(
            "unknown-value",
            f"optuna.storage is {show(storage)}, but must be a URL",
            ("optuna", "storage"),
            help=f'for a file: "sqlite:///{storage.rpartition(":")[2].lstrip("/")}"',
        )


@SEARCH_RULES.rule("optuna.sampler", "optuna.search_space")
def _finite_grid(config: TrainingConfig) -> Iterator[Diagnostic]:
    search = _search(config)
    if search.sampler != "GridSampler":
        return
    endless = [
        name
        for name, space in search.search_space.items()
        if isinstance(space, FloatRange) and space.step is None
    ]
    for name in endless:
        yield Diagnostic(
            "infinite-grid",
            f"{name} has no step: GridSampler needs a finite grid",
            (*SPACE, name),
            at="key",
            help='give `step`, or list the values: type = "categorical", choices = [...]',
            notes=(Note("sampler is set here", ("optuna", "sampler")),),
        )
    spaces = search.search_space.values()
    if (
        endless
        or not all(map(is_countable, spaces))
        or any(not isinstance(space, Choices) and space.low >= space.high for space in spaces)
    ):
        return
    size = Grid(parameters(search), 0).size
    if size > search.n_trials:
        yield Diagnostic(
            "part-of-grid",
            f"n_trials is {search.n_trials}, but the grid has {size:,} points: the others are not visited",
            ("optuna", "n_trials" if "n_trials" in search.model_fields_set else "sampler"),
            severity="warning",
            help=f"set n_trials = {size}, or make the grid coarser",
        )


@SEARCH_RULES.rule("optuna.sampler", "optuna.search_space")
def _evolving(config: TrainingConfig) -> Iterator[Diagnostic]:
    search = _search(config)
    if search.sampler != "CmaEsSampler":
        return
    names = [name for name, space in search.search_space.items() if isinstance(space, Choices)]
    verb = "is" if len(names) == 1 else "are"
    if names:
        yield Diagnostic(
            "random-parameters",
            f"CmaEsSampler works on numbers: {', '.join(names)} {verb} drawn at random",
            ("optuna", "sampler"),
            severity="warning",
            help="use TPESampler, which takes every kind",
        )


@SEARCH_RULES.rule("optuna.direction", "optuna.search_space")
def _comparable_losses(config: TrainingConfig) -> Iterator[Diagnostic]:
    search = _search(config)
    for name in search.search_space:
        if search.direction == "minimize" and key_of(name) in (("class_weights",), ("sampler",)):
            yield Diagnostic(
                "incomparable-losses",
                f"{name} weighs the validation loss: losses of trials with other weights do not compare",
                (*SPACE, name),
                severity="warning",
                at="key",
                help='use direction = "maximize", which compares accuracies',
            )


def require_search(config: TrainingConfig) -> None:
    """Make sure that there is something to search.

    Raises:
        ConfigError: The config has no search.
    """
    if config.optuna is None:
        raise ConfigError(
            [
                Diagnostic(
                    "missing-key",
                    "there is no table [optuna]: nothing says what is searched",
                    ("optuna",),
                    help="add [optuna] and [optuna.search_space]; `pochi init --template search-digits` "
                    "writes an example",
                )
            ]
        )


def _search(config: TrainingConfig) -> OptunaConfig:
    """The search; one of nothing where there is none."""
    return config.optuna or OptunaConfig.model_construct(search_space={}, storage=None, sampler="TPESampler")
