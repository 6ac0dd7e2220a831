"""What must stay as it is while a study goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pochi_cli.config.load import validate
from pochi_cli.config.root import Config
from pochi_cli.config.search import OptunaConfig
from pochi_cli.config.search_space import plain_config
from pochi_cli.config.values import show
from pochi_cli.errors import ConfigError, format_key
from pochi_cli.runs.continuation import course_changes


def settings_of(search: OptunaConfig) -> dict[str, Any]:
    """List the settings of a search that must stay as they are."""
    return search.model_dump(
        mode="json", exclude_none=True, include={"direction", "optuna_epochs", "sampler", "search_space"}
    )


def differences(made: Mapping[str, Any], config: Config) -> list[str]:
    """Tell what differs from the settings with which a study was begun."""
    assert config.optuna is not None
    before, after = made["search"], settings_of(config.optuna)
    found = [
        f"{key} was {show(before[key])}, and is {show(after[key])} now"
        for key in ("direction", "optuna_epochs")
        if before[key] != after[key]
    ]
    grids = [settings.get("sampler") == "GridSampler" for settings in (before, after)]
    if grids[0] != grids[1]:  # the others may take turns
        found.append(f"sampler was {show(before.get('sampler'))}, and is {show(after['sampler'])} now")
    spaces = (before["search_space"], after["search_space"])
    for name in spaces[0] | spaces[1]:
        old, new = (show(space[name]) if name in space else "not there" for space in spaces)
        if spaces[0].get(name) != spaces[1].get(name):
            found.append(f"search_space.{name} was {old}, and is {new} now")
    try:
        earlier = validate(made["config"])
    except ConfigError as error:
        return [*found, f"its config is no longer valid: {error.diagnostics[0].message}"]
    now = validate(plain_config(config))
    return found + [
        f"{format_key(key)} was {_text(old)}, and is {_text(new)} now"
        for key, old, new in course_changes(earlier, now)
    ]


def _text(value: Any) -> str:
    return "not given" if value is None else show(value)
