"""A study as it stands in its storage."""

from __future__ import annotations

import optuna

from pochi_cli.config.root import Config
from pochi_cli.config.search_rules import require_search
from pochi_cli.config.values import show
from pochi_cli.errors import RunError
from pochi_cli.search.records import StudyRecord
from pochi_cli.search.storage import open_storage, require_stored, storage_errors, without_password
from pochi_cli.search.study import SharedStudy


def stored_study(config: Config) -> StudyRecord:
    """Read a study from its storage, without taking part in it.

    Raises:
        ConfigError: The config has no search.
        RunError: It has no storage, or there is no such study in it, or it has other settings.
        StorageError: The storage cannot be read.
    """
    require_search(config)
    assert config.optuna is not None
    url, name = config.optuna.storage, config.optuna.study_name
    if url is None:
        raise RunError(
            "the config's [optuna] table names no storage, from which a study could be read",
            hint="name the directory of the search's results instead",
        )
    require_stored(url)
    with storage_errors(url):
        storage = open_storage(url)
        if name not in optuna.get_all_study_names(storage):
            there = ", ".join(map(show, optuna.get_all_study_names(storage)))
            raise RunError(
                f"{without_password(url)} has no study {show(name)}",
                hint=f"there are {there}" if there else "it has none; pochi optimize makes one",
            )
        return SharedStudy(config, storage).record()
