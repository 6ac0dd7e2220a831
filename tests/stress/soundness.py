"""Whether the files of a run are as they must be at every moment, also after a kill."""

from __future__ import annotations

import csv
import io
import json
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pochi_cli.runs.atomic import TEMPORARY_PREFIX
from pochi_cli.runs.index import Run, open_run
from tests.engine.trained import assert_equal, assert_same_run, checkpoint


@dataclass(frozen=True)
class Standing:
    """What the files of a run tell of it.

    Attributes:
        epochs: Epochs in train_history.json.
        place: Epoch and batches from which it would go on.
        has_best: Whether there is a best_model.pth.
        leftovers: Temporary files.
    """

    epochs: int = 0
    place: tuple[int, int] = (1, 0)
    has_best: bool = False
    leftovers: int = 0


class Examiner:
    """Looks at all files of a run; at a checkpoint that is still the same only once."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, int, int], tuple[int, int]] = {}

    def examine(self, directory: Path) -> Standing:
        """Open every file of a run.

        Raises:
            AssertionError: One is damaged, or they contradict each other; names it.
        """
        leftovers = 0
        places: dict[str, tuple[int, int]] = {}
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            if path.name.startswith(TEMPORARY_PREFIX):
                leftovers += 1
                continue
            try:
                if path.suffix == ".pth":
                    places[path.name] = self._place(path)
                else:
                    _open(path)
            except AssertionError:
                raise
            except Exception as error:
                raise AssertionError(f"{path} is damaged: {error!r}") from error
        run = open_run(directory)
        epochs = len(run.history)
        recorded = len(read_rows(run.layout.metrics_csv)) if run.layout.metrics_csv.exists() else 0
        assert recorded in (epochs, epochs - 1), f"{directory}: history has {epochs} epochs, CSV {recorded}"
        place = places.get(run.layout.latest_model.name, (1, 0))
        assert place[0] - 1 in (epochs, epochs + 1), (
            f"{directory}: epoch {place[0]} after {epochs} in history"
        )
        return Standing(epochs, place, run.layout.best_model.name in places, leftovers)

    def _place(self, path: Path) -> tuple[int, int]:
        status = path.stat()
        key = (status.st_ino, status.st_mtime_ns, status.st_size)
        if key not in self._places:
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None, f"a part of {path} has the wrong check sum"
            state = checkpoint(path)["sampler_state"]
            self._places[key] = state["epoch"], state["batches"]
        return self._places[key]


def _open(path: Path) -> None:
    match path.suffix:
        case ".json":
            json.loads(path.read_text("utf-8"))
        case ".toml":
            tomllib.loads(path.read_text("utf-8"))
        case ".csv" if path.name.startswith(("gradient_steps", "monitor_")):
            text = path.read_text("utf-8")
            header, *lines = csv.reader(io.StringIO(text))
            is_whole = text.endswith("\n") and all(len(line) == len(header) for line in lines)
            assert is_whole, f"a row of {path} is not whole"
        case ".csv":
            read_rows(path)
        case ".png":
            with Image.open(path) as image:
                image.load()
        case ".tsv" | ".pbtxt":
            assert path.read_text("utf-8").endswith("\n"), f"the last line of {path} is not whole"
        case _:
            # A record of an event file may be cut off, which its readers expect of a training that goes on.
            known = path.name in (".lock", "train.log") or path.parent.name == "tensorboard"
            assert known, f"{path} is no file of a run"


def read_rows(path: Path) -> list[list[float | None]]:
    """Read a metrics CSV.

    Raises:
        AssertionError: A row is not whole, or they are not those of epochs 1, 2, ...
    """
    text = path.read_text("utf-8")
    assert text.endswith("\n"), f"the last row of {path} is not whole"
    header, *lines = csv.reader(io.StringIO(text))
    rows = [[float(cell) if cell else None for cell in line] for line in lines]
    assert all(len(row) == len(header) for row in rows), f"a row of {path} has not {len(header)} cells"
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1)), f"the epochs of {path} have gaps"
    return rows


def run_in(work_dir: Path) -> Run | None:
    """Open the only run of a work_dir; `None` where none has begun.

    Raises:
        AssertionError: There are more.
    """
    directories = [path.parent for path in work_dir.glob("*/run.json")]
    assert len(directories) <= 1, f"{work_dir} has {len(directories)} runs instead of one"
    return open_run(directories[0]) if directories else None


def assert_identical(one: Run, other: Run) -> None:
    """Two finished runs are the same to the last bit: every checkpoint, history and CSV.

    Raises:
        AssertionError: They differ, are not finished, or temporary files are left; says where.
    """
    for run in (one, other):
        assert run.status == "finished", f"{run.directory} is {run.status}"
        leftovers = [path.name for path in run.directory.rglob(f"{TEMPORARY_PREFIX}*")]
        assert not leftovers, f"temporary files are left in {run.directory}: {leftovers}"
    assert_same_run(one, other)
    names = [sorted(path.name for path in run.layout.models.iterdir()) for run in (one, other)]
    assert names[0] == names[1], f"the checkpoints are {names[0]} and {names[1]}"
    for name in names[0]:
        first, second = (checkpoint(run.layout.models / name) for run in (one, other))
        del first["config"], second["config"]
        assert_equal(first, second, name)
    tables = [run.layout.metrics_csv.read_bytes() for run in (one, other)]
    assert tables[0] == tables[1], f"{one.layout.metrics_csv} and {other.layout.metrics_csv} differ"
