"""Which data of a config are not there at all: told at once, before anything slow is imported."""

from __future__ import annotations

from pathlib import Path

from pochi_cli.characters import printable
from pochi_cli.config.embedding import DIGITS
from pochi_cli.config.root import ClassificationConfig, Config
from pochi_cli.errors import Diagnostic


def missing_data(config: Config) -> list[Diagnostic]:
    """Find which folders or files of a config cannot be looked into."""
    if isinstance(config, ClassificationConfig):
        from pochi_cli.data.prepare import missing_folders

        return missing_folders(config)
    if config.train_vectors == DIGITS:
        return []
    path = Path(config.train_vectors)
    try:
        with path.open("rb"):
            return []
    except OSError as error:
        reason = f"cannot read {printable(path)}: {error.strerror or error}"
        return [Diagnostic("unreadable-file", reason, ("train_vectors",))]
