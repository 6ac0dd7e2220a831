"""From the names of a search space to keys of the config, and from chosen values to a trial's config."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from pochi_cli.config.optim import OPTIMIZER_PARAMS, SCHEDULER_PARAMS
from pochi_cli.config.root import ROOTS, TrainingConfig
from pochi_cli.config.search import Choices, FloatRange, IntRange, OptunaConfig
from pochi_cli.errors import KeyPath

CHOOSERS: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "optimizer": OPTIMIZER_PARAMS,
    "scheduler": SCHEDULER_PARAMS,
}
"""Keys whose value decides which arguments there are, with the models of these."""

LAYER_RATES: KeyPath = ("layer_wise_lr_config", "layer_rates")

_RATES_PREFIX = "layer_wise_lr_config.layer_rates."
_PART = re.compile(r"\.(?P<key>[A-Za-z0-9_-]+)|\[(?P<index>[0-9]{1,9})\]")

Values = Mapping[KeyPath, Any]
"""What a trial sets, by key."""


@dataclass(frozen=True)
class Parameter:
    """One thing that is searched.

    Attributes:
        name: As the file calls it.
        path: The key of the config that it sets.
        space: What it is drawn from.
    """

    name: str
    path: KeyPath
    space: FloatRange | IntRange | Choices

    @property
    def chooser(self) -> str | None:
        """The key that decides whether it is an argument, such as `optimizer`; `None` for other keys."""
        table = str(self.path[0])
        is_argument = len(self.path) > 1 and table.removesuffix("_params") in CHOOSERS
        return table.removesuffix("_params") if is_argument else None

    @property
    def decides(self) -> bool:
        """Whether it decides which arguments there are."""
        return len(self.path) == 1 and self.path[0] in CHOOSERS

    def is_active(self, choices: Mapping[str, Any]) -> bool:
        """Tell whether a trial with this optimizer and scheduler, as far as they are searched, draws it."""
        chooser = self.chooser
        return chooser is None or chooser not in choices or self.is_known_to(choices[chooser])

    def is_known_to(self, choice: Any) -> bool:
        """Tell whether a choice of its chooser has such an argument."""
        return self.chooser is not None and self.path[1] in _arguments(self.chooser, choice)


def parameters(search: OptunaConfig) -> tuple[Parameter, ...]:
    """List what is searched, in the file's order, after what decides on others.

    Names that are no keys are left out.
    """
    found = [
        Parameter(name, path, space)
        for name, space in search.search_space.items()
        if (path := key_of(name)) is not None
    ]
    return tuple(sorted(found, key=lambda parameter: not parameter.decides))


def key_of(name: str) -> KeyPath | None:
    """Find the key that a name of the search space stands for.

    What follows `layer_wise_lr_config.layer_rates.` is a pattern, whatever it holds.

    Returns:
        `None` if it has not the form of a key.
    """
    if name.startswith(_RATES_PREFIX) and name != _RATES_PREFIX:
        return (*LAYER_RATES, name.removeprefix(_RATES_PREFIX))
    path: list[str | int] = []
    dotted, at = f".{name}", 0
    while at < len(dotted):
        part = _PART.match(dotted, at)
        if part is None:
            return None
        path.append(part["key"] if part["key"] is not None else int(part["index"]))
        at = part.end()
    if not path or isinstance(path[0], int):
        return None
    for chooser in CHOOSERS:
        short = str(path[0]).removeprefix(f"{chooser}_")
        if len(path) == 1 and short != path[0] and not _is_known(path[0]):
            return (f"{chooser}_params", short)
    return tuple(path)


def plain_config(config: TrainingConfig) -> dict[str, Any]:
    """Write what a config was given, without its search: plain values, from which it is read again."""
    return config.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={"optuna"})


def with_values(plain: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """Set the values of a trial in a config.

    Arguments of the file that a searched optimizer or scheduler does not have are left out. Where layer-wise
    rates are on, a searched `learning_rate` scales those that are not searched by its own factor: alone it
    would have no effect on them.

    Args:
        plain: As `plain_config` returns it.
        values: The values; their places must exist, except for keys of tables.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(plain))
    for chooser in CHOOSERS:
        table = changed.get(f"{chooser}_params")
        if (chooser,) in values and isinstance(table, dict):
            known = _arguments(chooser, values[chooser,])
            if kept := {key: value for key, value in table.items() if key in known}:
                changed[f"{chooser}_params"] = kept
            else:
                del changed[f"{chooser}_params"]
    rate = values.get(("learning_rate",))
    is_by_layer = values.get(("enable_layer_wise_lr",), changed.get("enable_layer_wise_lr"))
    if is_by_layer is True and isinstance(rate, int | float):
        factor = rate / plain["learning_rate"]
        table, key = map(str, LAYER_RATES)
        rates = changed.get(table, {}).get(key, {})
        rates.update({pattern: layer_rate * factor for pattern, layer_rate in rates.items()})
    for path, value in values.items():
        _set(changed, path, copy.deepcopy(value))
    return changed


def with_params(plain: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Set what was drawn, by the names of the search space, as `with_values` does."""
    drawn = {path: value for name, value in params.items() if (path := key_of(name)) is not None}
    return with_values(plain, drawn)


def has_place(plain: Mapping[str, Any], path: KeyPath) -> bool:
    """Tell whether `with_values` can set a key: arrays on the way must be there and long enough."""
    node: Any = plain
    for position, part in enumerate(path):
        if isinstance(part, int):
            if not isinstance(node, list) or part >= len(node):
                return False
        elif not isinstance(node, dict):
            return False
        elif part not in node:
            return all(isinstance(later, str) for later in path[position:])
        node = node[part]
    return True


def _is_known(key: str | int) -> bool:
    return any(key in root.model_fields for root in ROOTS.values())


def _set(node: Any, path: KeyPath, value: Any) -> None:
    *parents, last = path
    for part in parents:
        node = node[part] if isinstance(part, int) else node.setdefault(part, {})
    node[last] = value


def _arguments(chooser: str, choice: Any) -> frozenset[str]:
    model = CHOOSERS[chooser].get(choice) if isinstance(choice, str) else None
    return frozenset(model.model_fields if model else ())
