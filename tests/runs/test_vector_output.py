"""Vectors are written row by row, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from pochi_cli.data.vectors import open_vectors
from pochi_cli.errors import DataError, StorageError
from pochi_cli.runs import vector_output
from pochi_cli.runs.vector_output import OUTPUT_SUFFIXES, writing_vectors

ROWS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)

each_format = pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)


def write(path: Path, chunks: list[NDArray[Any]], rows: int = 20, column: str = "embedding") -> None:
    with writing_vectors(path, rows, 3, column) as writer:
        for chunk in chunks:
            writer.write(chunk)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@each_format
@pytest.mark.parametrize("cuts", [[], [1], [0, 0, 7, 7, 20], [6, 12, 18], list(range(20))])
@pytest.mark.parametrize("group_bytes", [1, 48, 1 << 20])
def test_chunks_are_read_back_equal(
    tmp_path: Path, suffix: str, cuts: list[int], group_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_output, "_ROW_GROUP_BYTES", group_bytes)
    path = tmp_path / f"out{suffix}"
    write(path, np.split(ROWS, cuts))
    vectors = open_vectors(path, None)
    assert vectors.array.dtype == np.float32
    np.testing.assert_array_equal(vectors.array, ROWS)
    assert names(tmp_path) == [path.name]


def test_npy_is_what_numpy_writes(tmp_path: Path) -> None:
    write(tmp_path / "ours.npy", [ROWS[:9], ROWS[9:]])
    np.save(tmp_path / "theirs.npy", ROWS)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()
    assert isinstance(np.load(tmp_path / "ours.npy", mmap_mode="r"), np.memmap)


def test_parquet_has_fixed_lists_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_output, "_ROW_GROUP_BYTES", 8 * 3 * 4)
    write(tmp_path / "out.parquet", np.split(ROWS, 10), column="latent")
    file = parquet.ParquetFile(tmp_path / "out.parquet")
    assert file.schema_arrow.field("latent").type == pa.list_(pa.float32(), 3)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [8, 8, 4]
    np.testing.assert_array_equal(np.stack(file.read()["latent"].to_numpy()), ROWS)


@each_format
def test_other_numbers_are_converted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    columns_first = np.asfortranarray(ROWS[:10].astype(np.float64))
    write(path, [columns_first, ROWS[10:].astype(">f4")])
    np.testing.assert_array_equal(open_vectors(path, None).array, ROWS)


@each_format
def test_no_rows_at_all(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"out{suffix}", [ROWS[:0]], rows=0)
    with pytest.raises(DataError, match="has no rows"):
        open_vectors(tmp_path / f"out{suffix}", None)


@each_format
@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([ROWS[:19]], "19 rows for a file of 20"),
        ([], "0 rows for a file of 20"),
        ([ROWS, ROWS[:1]], "21 rows for a file of 20"),
        ([ROWS[:, :2]], r"a chunk has the shape \(20, 2\), not \(n, 3\)"),
        ([ROWS[0]], r"a chunk has the shape \(3,\), not \(n, 3\)"),
    ],
)
@pytest.mark.parametrize("has_old", [False, True])
def test_other_rows_than_announced(
    tmp_path: Path, suffix: str, chunks: list[NDArray[Any]], message: str, has_old: bool
) -> None:
    path = tmp_path / f"out{suffix}"
    if has_old:
        path.write_text("old")
    with pytest.raises(ValueError, match=message):
        write(path, chunks)
    assert [file.read_text() for file in tmp_path.iterdir()] == (["old"] if has_old else [])


@each_format
def test_what_fails_in_between_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), writing_vectors(path, 20, 3) as writer:
        writer.write(ROWS[:5])
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert names(tmp_path) == [path.name]


@each_format
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("old")
    code = f"""
import gc, resource, signal
from pathlib import Path
import numpy as np
from pochi_cli.errors import StorageError
from pochi_cli.runs import vector_output
vector_output._ROW_GROUP_BYTES = 1 << 16
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
rows = np.random.default_rng(0).normal(size=(100, 100))
try:
    with vector_output.writing_vectors(Path({str(path)!r}), 10_000, 100) as writer:
        for _ in range(100):
            writer.write(rows)
except StorageError as error:
    print(error.message)
del writer
gc.collect()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == (f"cannot write {path}: File too large\n", "")
    assert path.read_text() == "old"
    assert names(tmp_path) == [path.name]


@each_format
def test_places_that_cannot_be_written(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*No such file or directory"):
        write(tmp_path / "missing" / f"out{suffix}", [ROWS])
    (tmp_path / f"out{suffix}").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*: it is a directory"):
        write(tmp_path / f"out{suffix}", [ROWS])
    assert names(tmp_path) == [f"out{suffix}"]


def test_a_link_leads_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "link.npy").symlink_to(tmp_path / "there.npy")
    write(tmp_path / "link.npy", [ROWS])
    assert (tmp_path / "link.npy").is_symlink()
    np.testing.assert_array_equal(np.load(tmp_path / "there.npy"), ROWS)


@pytest.mark.parametrize("name", ["out.npz", "out.csv", "out"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name} is no file that vectors are written to") as caught:
        write(tmp_path / name, [ROWS])
    assert caught.value.hint == "vectors are written to .npy and .parquet"
    assert names(tmp_path) == []


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"writing \.parquet needs pyarrow") as caught:
        write(tmp_path / "out.parquet", [ROWS])
    assert caught.value.hint == 'pip install "pochi[parquet]"'
    assert names(tmp_path) == []


@each_format
def test_memory_is_bounded(tmp_path: Path, suffix: str) -> None:
    code = f"""
import resource
from pathlib import Path
import numpy as np
import pyarrow.parquet
from pochi_cli.runs.vector_output import writing_vectors
chunk = np.random.default_rng(0).normal(size=(1000, 256)).astype(np.float32)
def write(count):
    with writing_vectors(Path({str(tmp_path / ("out" + suffix))!r}), count * 1000, 256) as writer:
        for _ in range(count):
            writer.write(chunk)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write(40)
print(-write(80) + write(300))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 60 * 1024  # of 215 MB more
