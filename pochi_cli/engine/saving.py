"""Which checkpoints a training saves, and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pochi_cli.engine.checkpoint import copy_checkpoint, save_checkpoint
from pochi_cli.engine.distributed import ALONE, Alone
from pochi_cli.engine.runtime import random_state
from pochi_cli.engine.state import ModelSpec, TrainingState
from pochi_cli.runs.layout import RunLayout


class Checkpoints:
    """Saves the state of a training under the names that a run has for it.

    Args:
        layout: Where they go.
        spec: What the model's answers depend on.
        team: The processes that train together; the first one writes, all say how they stand.
    """

    def __init__(self, layout: RunLayout, spec: ModelSpec, team: Alone = ALONE) -> None:
        self._layout = layout
        self._spec = spec
        self._team = team

    def save(self, state: TrainingState) -> None:
        """Save the state, which is that between two steps.

        Raises:
            StorageError: Writing failed.
        """
        self._save(state, [self._layout.latest_model])

    def save_epoch(self, state: TrainingState, epoch: int, *, is_best: bool, is_numbered: bool) -> str | None:
        """Save the state at the end of an epoch.

        Returns:
            Name of the numbered checkpoint, if there is one.

        Raises:
            StorageError: Writing failed.
        """
        layout = self._layout
        numbered = layout.checkpoint(epoch)
        paths = [
            *([layout.best_model] if is_best else []),
            *([numbered] if is_numbered else []),
            layout.latest_model,
        ]
        self._save(state, paths)
        return numbered.name if is_numbered else None

    def number(self, epoch: int) -> None:
        """Give the latest checkpoint the number of its epoch, if it has none.

        Raises:
            StorageError: Writing failed.
        """
        numbered = self._layout.checkpoint(epoch)
        if self._team.is_first and not numbered.exists():
            copy_checkpoint(self._layout.latest_model, numbered)

    def _save(self, state: TrainingState, paths: Sequence[Path]) -> None:
        content = state.to_checkpoint(self._spec, self._team.gather(random_state()))
        if self._team.is_first:
            save_checkpoint(content, paths)


class NoCheckpoints:
    """Saves nothing."""

    def save(self, state: TrainingState) -> None:
        """Do nothing."""

    def save_epoch(self, state: TrainingState, epoch: int, *, is_best: bool, is_numbered: bool) -> str | None:
        """Do nothing."""

    def number(self, epoch: int) -> None:
        """Do nothing."""
