"""Stored vectors: every format is read back equal, every fault is told with its row."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyarrow import parquet

from pochi_cli.data import vector_tables
from pochi_cli.data.vectors import Vectors, check_rows, open_vectors, read_rows, split_rows
from pochi_cli.errors import DataError

ROWS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def save_npy(path: Path, rows: Any) -> Path:
    np.save(path, rows)
    return path


def save_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def save_parquet(path: Path, rows: Any, kind: pa.DataType, column: str = "embedding") -> Path:
    lists = pa.array([None if row is None else list(row) for row in rows], kind)
    parquet.write_table(pa.table({"id": pa.array(range(len(lists))), column: lists}), path, row_group_size=8)
    return path


def save_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def save_jsonl(path: Path, rows: Any, field: str | None = "embedding") -> Path:
    return save_lines(path, *(json.dumps(row if field is None else {"id": "ä", field: row}) for row in rows))


def refusal(path: Path, column: str | None = None) -> DataError:
    with pytest.raises(DataError) as caught:
        open_vectors(path, column)
    assert caught.value.message.startswith(str(path))
    caught.value.message = caught.value.message.removeprefix(str(path))
    return caught.value


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8", "<i8", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_read_in_place(tmp_path: Path, dtype: str, order: Any) -> None:
    rows = np.asarray(np.arange(60).reshape(20, 3), dtype=dtype, order=order)
    path = save_npy(tmp_path / "a.npy", rows).rename(tmp_path / "a.NPY")
    vectors = open_vectors(path, None)
    assert isinstance(vectors.array, np.memmap)
    assert vectors.array.dtype == np.dtype(dtype)
    assert not vectors.array.flags.writeable
    assert (vectors.rows, vectors.dim, vectors.column) == (20, 3, None)
    np.testing.assert_array_equal(vectors.array, rows)
    np.testing.assert_array_equal(read_rows(vectors, range(20)), rows.astype(np.float32))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no sparse files here")
def test_a_file_larger_than_memory_opens_at_once(tmp_path: Path) -> None:
    path = tmp_path / "big.npy"
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 28, 1 << 10)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + (1 << 40))  # a hole: it takes no place on the disk
    vectors = open_vectors(path, None)
    assert not read_rows(vectors, [0, (1 << 28) - 1]).any()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: Callable[..., None]) -> None:
    path = tmp_path / "a.npz"
    save(path, anything=ROWS)
    vectors = open_vectors(path, None)
    assert vectors.column == "anything"
    np.testing.assert_array_equal(vectors.array, ROWS)
    save(path, embedding=ROWS, other=-ROWS, names=np.array(["a"], dtype=object))
    np.testing.assert_array_equal(open_vectors(path, None).array, ROWS)
    np.testing.assert_array_equal(open_vectors(path, "other").array, -ROWS)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 3),
        pa.list_(pa.float64(), 3),
    ],
    ids=str,
)
def test_parquet(tmp_path: Path, kind: pa.DataType, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_parquet(tmp_path / "a.parquet", ROWS, kind)
    for batch_rows in (1, 7, 8192):
        monkeypatch.setattr(vector_tables, "_BATCH_ROWS", batch_rows)
        vectors = open_vectors(path, None)
        assert vectors.array.dtype == np.float32
        assert vectors.column == "embedding"
        np.testing.assert_array_equal(vectors.array, ROWS)


def test_parquet_of_integers_and_of_other_names(tmp_path: Path) -> None:
    rows = np.arange(12).reshape(4, 3)
    path = save_parquet(tmp_path / "a.parquet", rows, pa.list_(pa.int64()), "my.vectors")
    np.testing.assert_array_equal(open_vectors(path, "my.vectors").array, rows)


def test_jsonl(tmp_path: Path) -> None:
    rows = ROWS.tolist()
    vectors = open_vectors(save_jsonl(tmp_path / "a.jsonl", rows), None)
    assert vectors.column == "embedding"
    assert vectors.array.dtype == np.float32
    np.testing.assert_array_equal(vectors.array, ROWS)
    assert read_rows(vectors, [0]).flags.writeable
    named = open_vectors(save_jsonl(tmp_path / "b.jsonl", rows, "vec"), "vec")
    assert named.column == "vec"
    np.testing.assert_array_equal(named.array, ROWS)
    bare = open_vectors(save_jsonl(tmp_path / "c.jsonl", rows, None), None)
    assert bare.column is None
    np.testing.assert_array_equal(bare.array, ROWS)
    mixed = open_vectors(save_lines(tmp_path / "d.jsonl", "", "[1, -2.5]", "  ", "[3e2, 4]", ""), None)
    np.testing.assert_array_equal(mixed.array, np.array([[1, -2.5], [300, 4]]))


def test_missing_file_and_near_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_npy(tmp_path / "embeddings.npy", ROWS)
    error = refusal(tmp_path / "embedings.npy")
    assert error.message == " does not exist"
    assert error.hint == f"did you mean {tmp_path / 'embeddings.npy'}?"
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in str(refusal(Path("no/where.npy")).hint)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.npy").mkdir()
    assert refusal(tmp_path / "a.npy").message == " is a directory, not a file of vectors"
    for name in ("a.csv", "a", "a.npy.gz"):
        (tmp_path / name).write_bytes(b"1,2") if name != "a" else (tmp_path / name).touch()
        error = refusal(tmp_path / name)
        assert error.message == " is no file of vectors by its name"
        assert error.hint == "vectors are read from .npy, .npz, .parquet and .jsonl"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.npy")  # opening it would wait for ever
        assert refusal(tmp_path / "pipe.npy").message == " is not a regular file"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet", ".jsonl"])
def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    def refusing(*_: Any, **__: Any) -> None:  # a stand-in for permissions, which do not bind every user
        raise PermissionError(13, "Permission denied")

    (tmp_path / f"a{suffix}").touch()
    monkeypatch.setattr(Path, "open", refusing)
    assert refusal(tmp_path / f"a{suffix}").message == " cannot be read: Permission denied"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PAR1", b"PK\x03\x04", b"\x80\x04]\x94.", b"[1, 2]"])
def test_not_a_file_of_its_kind(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    assert re.search(r" is not a (valid|readable) \.", refusal(tmp_path / f"a{suffix}").message)


def test_empty_jsonl(tmp_path: Path) -> None:
    assert refusal(save_lines(tmp_path / "a.jsonl")).message == " has no rows"
    assert refusal(save_lines(tmp_path / "a.jsonl", "", "  ")).message == " has no rows"


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.parquet"])
def test_damage_is_told_wherever_it_is(tmp_path: Path, name: str) -> None:
    """Cut at any length, or with any byte changed: read, or refused."""
    path = tmp_path / name
    if name == "a.npy":
        save_npy(path, ROWS)
    elif name == "a.npz":
        save_npz(path, embedding=ROWS)
    else:
        save_parquet(path, ROWS, pa.list_(pa.float32()))
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 100):
        path.write_bytes(whole[:length])
        refusal(path)
    for place in range(0, len(whole), len(whole) // 150):
        for changed in (0, 0x2F, 0xFF):
            path.write_bytes(whole[:place] + bytes([changed]) + whole[place + 1 :])
            try:
                assert open_vectors(path, None).array.ndim == 2
            except DataError as error:
                assert error.message.startswith(str(path))


def test_cut_short(tmp_path: Path) -> None:
    path = save_npy(tmp_path / "a.npy", ROWS)
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path).message == " is cut short: its shape is (20, 3) of float32, but 239 bytes follow"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros(5), r" has the shape \(5,\), which is not two-dimensional"),
        (np.zeros((2, 3, 4)), r" has the shape \(2, 3, 4\), which is not two-dimensional"),
        (np.float32(1), r" has the shape \(\), which is not two-dimensional"),
        (np.zeros((0, 4)), r" has no rows: its shape is \(0, 4\)"),
        (np.zeros((4, 0)), r" has rows without numbers: its shape is \(4, 0\)"),
        (np.array([[1], [2, 3]], dtype=object), " holds pickled Python objects, which are not read"),
        (np.zeros((2, 2), bool), " holds bool, not numbers"),
        (np.zeros((2, 2), complex), " holds complex128, not numbers"),
        (np.zeros((2, 2), "U3"), " holds <U3, not numbers"),
        (np.zeros((2, 2), "M8[s]"), r" holds datetime64\[s\], not numbers"),
        (np.zeros((2, 2), [("a", "f4")]), r" holds \[\('a', '<f4'\)\], not numbers"),
        (np.zeros((2, 2), [("日", "f4")]), " (holds|is not a valid .npy file)"),
        (np.zeros((2, 2), np.longdouble), " holds float(96|128), not numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
def test_arrays_that_are_no_vectors(tmp_path: Path, rows: Any, message: str) -> None:
    assert re.match(message, refusal(save_npy(tmp_path / "a.npy", rows)).message)
    inner = refusal(save_npz(tmp_path / "a.npz", x=rows)).message
    assert re.match(message, inner.removeprefix(", array `x`"))


def test_npz_without_the_array(tmp_path: Path) -> None:
    error = refusal(save_npz(tmp_path / "a.npz", x=ROWS, y=ROWS))
    assert (error.message, error.hint) == (" has no array `embedding`", "it has `x`, `y`")
    assert refusal(save_npz(tmp_path / "a.npz", x=ROWS, y=ROWS), "z").message == " has no array `z`"
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    assert refusal(tmp_path / "b.npz").message == " holds no array"


GOOD = [1.0, 2.0]


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([GOOD] * 17 + [None], pa.list_(pa.float32()), ": row 17 (counted from 0) is null"),
        ([GOOD] * 17 + [None], pa.list_(pa.float32(), 2), ": row 17 (counted from 0) is null"),
        ([GOOD] * 17 + [[1.0, None]], pa.list_(pa.float32()), ": row 17 (counted from 0) holds a null"),
        ([GOOD] * 17 + [[1.0, None]], pa.list_(pa.float32(), 2), ": row 17 (counted from 0) holds a null"),
        ([GOOD] * 17 + [[1.0]], pa.list_(pa.float32()),
         ": row 17 (counted from 0) has 1 numbers, row 0 has 2"),
        ([GOOD] * 17 + [[]], pa.list_(pa.float32()), ": row 17 (counted from 0) has 0 numbers, row 0 has 2"),
        ([GOOD] * 17 + [[1e39, 0]], pa.list_(pa.float64()),
         ": row 17 (counted from 0) holds a number too large for float32"),
        ([[]], pa.list_(pa.float32()), ": row 0 (counted from 0) has no numbers"),
        ([], pa.list_(pa.float32()), " has no rows"),
        ([], pa.list_(pa.float32(), 4), " has no rows"),
        (["a"], pa.list_(pa.string()), " holds list<element: string>, not lists of numbers"),
        ([[True]], pa.list_(pa.bool_()), " holds list<element: bool>, not lists of numbers"),
        ([[GOOD]], pa.list_(pa.list_(pa.float32())),
         " holds list<element: list<element: float>>, not lists of numbers"),
    ],
)  # fmt: skip
def test_rows_of_parquet(
    tmp_path: Path, rows: Any, kind: pa.DataType, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_parquet(tmp_path / "a.parquet", rows, kind)
    for batch_rows in (1, 5, 8192):
        monkeypatch.setattr(vector_tables, "_BATCH_ROWS", batch_rows)
        assert refusal(path).message == f", column `embedding`{message}"


def test_columns_of_parquet(tmp_path: Path) -> None:
    path = save_parquet(tmp_path / "a.parquet", ROWS, pa.list_(pa.float32()))
    error = refusal(path, "vector")
    assert (error.message, error.hint) == (" has no column `vector`", "it has `id`, `embedding`")
    assert refusal(path, "id").message == ", column `id` holds int64, not lists of numbers"
    lists = pa.array([[1.0]])
    parquet.write_table(pa.Table.from_arrays([lists, lists], names=["x", "x"]), path)
    assert refusal(path, "x").message == " has several columns `x`"


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_parquet(tmp_path / "a.parquet", ROWS, pa.list_(pa.float32()))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = refusal(path)
    assert error.message == ": reading .parquet needs pyarrow, not installed here"
    assert error.hint == 'pip install "pochi[parquet]"'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", r" is not JSON: .*"),
        ("[" * 100_000, r" is not JSON: .*"),
        ("\udcff", r" is not JSON: .*"),
        ('{"vec": [1, 2]}', " has no field `embedding`"),
        ("5", " is not a list of numbers"),
        ('{"embedding": null}', ", field `embedding` is not a list of numbers"),
        ('{"embedding": "1 2"}', ", field `embedding` is not a list of numbers"),
        ("[]", " has no numbers"),
        ("[1]", " has 1 numbers, row 0 has 2"),
        ("[1, 2, 3]", " has 3 numbers, row 0 has 2"),
        ("[1, null]", " holds null at position 1, not a number"),
        ("[true, 1]", " holds true at position 0, not a number"),
        ('[1, "2"]', ' holds "2" at position 1, not a number'),
        ("[[1, 2], 3]", r" holds \[1, 2\] at position 0, not a number"),
        ("[1, NaN]", " holds nan at position 1, which is not finite"),
        ("[-Infinity, 1]", " holds -inf at position 0, which is not finite"),
        ("[1, 1e999]", " holds inf at position 1, which is not finite"),
        ("[1, 1e39]", " holds a number too large for float32"),
        ("[1, 1" + "0" * 400 + "]", " holds a number too large for float32"),
    ],
)
def test_lines_of_jsonl(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    text = '{"embedding": [1, 2]}\n\n[3, 4]\n' + line + "\n"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert re.fullmatch(rf", line 4: row 2 \(counted from 0\){message}", refusal(path).message)


def test_lines_of_jsonl_with_a_named_field(tmp_path: Path) -> None:
    path = save_lines(tmp_path / "a.jsonl", '{"vec": [1, 2], "id": 3}', "[1, 2]")
    error = refusal(path)
    assert error.message == ", line 1: row 0 (counted from 0) has no field `embedding`"
    assert error.hint == "it has `vec`, `id`"
    assert refusal(path, "vec").message == ", line 2: row 1 (counted from 0) is no object with a field `vec`"


def vectors_of(rows: NDArray[Any]) -> Vectors:
    return Vectors(Path("v.npy"), rows)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("chunk_bytes", [1, 100, 1 << 20])
def test_rows_that_are_not_finite(dtype: Any, chunk_bytes: int) -> None:
    rows = np.ones((40, 3), dtype)
    rows[4, 0], rows[17, 2], rows[39] = np.nan, np.inf, -np.inf
    with pytest.raises(DataError) as caught:
        check_rows(vectors_of(rows), needs_norm=False, chunk_bytes=chunk_bytes)
    assert caught.value.message == "v.npy: 3 rows hold NaN or infinity: 4, 17, 39 (counted from 0)"
    rows[:] = np.nan
    with pytest.raises(DataError, match="40 rows hold NaN or infinity: 0, 1, 2, 3, 4 and 35 more"):
        check_rows(vectors_of(rows), needs_norm=True, chunk_bytes=chunk_bytes)


def test_all_faults_are_told_at_once() -> None:
    rows = np.ones((10, 2))
    rows[1], rows[2], rows[3], rows[5] = np.nan, 3.5e38, 0, (0, -1e-60)
    check_rows(vectors_of(rows[6:]), needs_norm=True)
    with pytest.raises(DataError) as caught:
        check_rows(vectors_of(rows), needs_norm=True)
    assert caught.value.message == (
        "v.npy: row 1 holds NaN or infinity; row 2 holds numbers too large for float32; "
        "2 rows are all zeros, without a direction: 3, 5 (counted from 0)"
    )
    with pytest.raises(DataError, match="row 2 holds numbers too large for float32 "):
        check_rows(vectors_of(rows[2:3].repeat(3, 0) * [[0], [0], [1]]), needs_norm=False)
    check_rows(vectors_of(rows[3:]), needs_norm=False)
    with pytest.raises(DataError) as caught:
        check_rows(vectors_of(rows[3:]), needs_norm=True)
    assert str(caught.value.hint).endswith('or choose a metric other than "cosine"')


def test_fingerprint_is_of_content() -> None:
    def fingerprint(rows: NDArray[Any], chunk_bytes: int = 1 << 20) -> str:
        return check_rows(vectors_of(rows), needs_norm=False, chunk_bytes=chunk_bytes)

    known = fingerprint(ROWS)
    assert re.fullmatch("[0-9a-f]{64}", known)
    assert {fingerprint(ROWS, size) for size in (1, 12, 13, 50, 10_000)} == {known}
    assert fingerprint(np.asfortranarray(ROWS)) == fingerprint(ROWS.copy()) == known
    changed = ROWS.copy()
    changed[7, 1] = np.nextafter(changed[7, 1], 1, dtype=np.float32)
    others = [changed, ROWS[::-1], ROWS[:-1], ROWS.astype("<f8"), ROWS.reshape(10, 6), ROWS.view("<i4")]
    assert len({known, *map(fingerprint, others)}) == 1 + len(others)


def test_same_fingerprint_in_place_and_in_memory(tmp_path: Path) -> None:
    files = [save_npy(tmp_path / "a.npy", ROWS), save_npz(tmp_path / "a.npz", x=ROWS),
             save_jsonl(tmp_path / "a.jsonl", ROWS.tolist())]  # fmt: skip
    assert len({check_rows(open_vectors(file, None), needs_norm=True) for file in files}) == 1


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    check_rows(
        vectors_of(ROWS),
        needs_norm=False,
        tell=lambda done, total: told.append((done, total)),
        chunk_bytes=100,
    )
    assert told == [(8, 20), (16, 20), (20, 20)]


@given(st.lists(st.integers(0, 19)), st.sampled_from(["<f4", ">f4", "<f8", "<f2"]), st.sampled_from("CF"))
def test_read_rows(rows: list[int], dtype: str, order: Any) -> None:
    stored = np.asarray(ROWS, dtype=dtype, order=order)
    values = read_rows(vectors_of(stored), rows)
    assert values.dtype == np.float32
    assert values.shape == (len(rows), 3)
    assert values.flags.c_contiguous
    assert values.flags.writeable
    assert not np.shares_memory(values, stored)
    np.testing.assert_array_equal(values, stored.astype(np.float32)[np.array(rows, np.int64)])


def test_read_rows_in_a_stretch_and_out_of_range() -> None:
    vectors = vectors_of(ROWS)
    for stored in (ROWS, np.asfortranarray(ROWS)):
        values = read_rows(vectors_of(stored), np.arange(5, 15))
        assert values.flags.c_contiguous
        assert not np.shares_memory(values, stored)
        np.testing.assert_array_equal(values, ROWS[5:15])
    for rows in ([20], [18, 19, 20], [0, 40]):
        with pytest.raises(IndexError):
            read_rows(vectors, rows)


@given(st.integers(0, 300), st.floats(0, 0.999), st.integers(-5, 2**64))
def test_split_is_a_partition(count: int, holdout: float, seed: int) -> None:
    train, held = split_rows(count, holdout, seed)
    assert train.dtype == held.dtype == np.int64
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()
    assert sorted([*train, *held]) == list(range(count))
    expected = 0 if holdout == 0 or count < 2 else min(max(round(holdout * count), 1), count - 1)
    assert len(held) == expected


def test_split_depends_on_the_seed_alone() -> None:
    np.random.seed(1)
    first = split_rows(1000, 0.1, 7)[1]
    np.random.seed(2)
    assert (split_rows(1000, 0.1, 7)[1] == first).all()
    assert len(set(first) & set(split_rows(1000, 0.1, 8)[1])) < 40
    assert len(set(first) - set(split_rows(1001, 0.1, 7)[1])) <= 1
    assert split_rows(20, 0.25, 0)[1].tolist() == split_rows(20, 0.25, 0)[1].tolist()


def test_split_is_the_same_for_ever() -> None:
    """A resumed run must not train on what an earlier version held out."""
    assert split_rows(20, 0.25, 0)[1].tolist() == [1, 11, 13, 17, 18]


def test_split_is_even() -> None:
    held = split_rows(100_000, 0.1, 3)[1]
    tenths = np.bincount(held // 10_000, minlength=10)
    assert tenths.min() > 900
    assert tenths.max() < 1100
    assert 4_700 < (held % 2).sum() < 5_300


def test_no_torch() -> None:
    code = "import sys, pochi_cli.data.vectors; sys.exit(bool({'torch', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
