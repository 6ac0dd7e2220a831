"""Where everything of a hyper-parameter search lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

from pochi_cli.errors import StorageError

StudyFigure = Literal["optimization_history", "param_importances", "contour"]
STUDY_FIGURES: tuple[StudyFigure, ...] = ("optimization_history", "param_importances", "contour")

_NAME = "optuna_results"


@dataclass(frozen=True)
class SearchLayout:
    """The paths of one search.

    Attributes:
        directory: Its own directory.
    """

    directory: Path

    @property
    def best_params(self) -> Path:
        """The best trial's parameters."""
        return self.directory / "best_params.json"

    @property
    def history(self) -> Path:
        """All trials."""
        return self.directory / "trials_history.json"

    @property
    def optimized_config(self) -> Path:
        """The config with the best trial's parameters."""
        return self.directory / "optimized_config.toml"

    @property
    def statistics(self) -> Path:
        """Counts, times, importances."""
        return self.directory / "study_statistics.json"

    def page(self, kind: StudyFigure) -> Path:
        """Interactive page of a figure."""
        return self.directory / f"{kind}.html"

    @property
    def trials(self) -> Path:
        """Directory of the trials' runs."""
        return self.directory / "trials"

    def trial(self, number: int) -> Path:
        """The run of a trial."""
        return self.trials / f"{number:03d}"

    @property
    def processes(self) -> Path:
        """Directory of the files that the searching processes hold locked."""
        return self.directory / ".processes"


def figure_in(directory: Path, kind: StudyFigure) -> Path:
    """Picture of a figure."""
    return directory / f"{kind}.png"


def results_in(work_dir: Path) -> SearchLayout:
    """Where the first search of a directory of runs lies."""
    return SearchLayout(work_dir / _NAME)


def results_directory(work_dir: Path, is_own: Callable[[SearchLayout], bool]) -> SearchLayout:
    """Find the directory of a search that goes on, or make one; where the name is taken, with a number.

    Args:
        work_dir: Where it lies.
        is_own: Tells whether an existing one is the search's.

    Raises:
        StorageError: It cannot be made.
    """
    for number in count(1):
        layout = SearchLayout(work_dir / (_NAME if number == 1 else f"{_NAME}_{number}"))
        try:
            layout.directory.mkdir(parents=True)
        except FileExistsError:
            if layout.directory.is_dir() and is_own(layout):
                return layout
        except OSError as error:
            message = f"cannot make {layout.directory}: {error.strerror or error}"
            raise StorageError(
                message, "choose another work_dir, or mend its permissions or space"
            ) from error
        else:
            return layout
    raise AssertionError  # it counts without end
