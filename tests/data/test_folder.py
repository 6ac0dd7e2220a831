from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pochi_cli.data.folder import FolderIndex, index_folder, match_labels
from pochi_cli.data.holdout import hold_out, split
from pochi_cli.errors import DataError

KEY = "train_data_root"


def fill(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return root


def test_index(tmp_path: Path) -> None:
    root = fill(tmp_path, "dog/b.png", "dog/a.JPG", "cat/deep/er/c.png", "cat/z.bmp", "cat/notes.txt",
                "dog/.hidden.png", ".git/x.png", "dog/.cache/y.png", "README.md", "loose.png")  # fmt: skip
    index = index_folder(root, KEY)
    assert index.class_names == ("cat", "dog")
    assert index.paths == ("cat/deep/er/c.png", "cat/z.bmp", "dog/a.JPG", "dog/b.png")
    assert index.labels == (0, 0, 1, 1)
    assert index.class_counts == (2, 2)
    assert index.file_bytes == tuple(len(path) for path in index.paths)
    assert (index.ignored, index.loose_images) == (3, 1)
    assert index.file(0).read_bytes() == b"cat/deep/er/c.png"
    assert len(index) == 4


def test_same_classes_as_torchvision(digits: Path) -> None:
    from torchvision.datasets import ImageFolder

    theirs, ours = ImageFolder(digits / "train"), index_folder(digits / "train", KEY)
    assert [(str(ours.file(i)), label) for i, label in enumerate(ours.labels)] == theirs.samples
    assert list(ours.class_names) == theirs.classes


def test_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    first = index_folder(fill(tmp_path / "a", "x/1.png", "y/2.png"), KEY)
    second = index_folder(fill(tmp_path / "b", "x/1.png", "y/2.png"), KEY)
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 64
    (tmp_path / "b/x/1.png").write_bytes(b"longer content")
    assert index_folder(tmp_path / "b", KEY).fingerprint != first.fingerprint
    renamed = index_folder(fill(tmp_path / "c", "x/3.png", "y/2.png"), KEY)
    assert renamed.fingerprint != first.fingerprint


def test_links_are_followed_once(tmp_path: Path) -> None:
    root = fill(tmp_path / "data", "cat/1.png", "dog/2.png")
    elsewhere = fill(tmp_path / "elsewhere", "3.png")
    (root / "cat" / "loop").symlink_to(root / "cat")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "more").symlink_to(elsewhere)
    (root / "cat" / "again").symlink_to(elsewhere)
    (root / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "dog" / "self.png").symlink_to(root / "dog" / "self.png")
    (root / "linked").symlink_to(elsewhere)
    index = index_folder(root, KEY)
    assert sum("3.png" in path and path.startswith("cat") for path in index.paths) == 1
    assert index.class_names == ("cat", "dog", "linked")
    # A link to nowhere is listed: whoever opens it tells.
    assert index.file_bytes[index.paths.index("dog/gone.png")] == -1
    assert "dog/self.png" in index.paths


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_no_images(tmp_path: Path) -> None:
    root = fill(tmp_path, "cat/1.png", "dog/2.png")
    os.mkfifo(root / "cat" / "pipe.png")
    assert index_folder(root, KEY).paths == ("cat/1.png", "dog/2.png")


def test_missing_file_and_near_name(tmp_path: Path) -> None:
    fill(tmp_path, "train/cat/1.png")
    with pytest.raises(DataError, match=f"{KEY}: .*trian does not exist") as caught:
        index_folder(tmp_path / "trian", KEY)
    assert caught.value.hint == f"did you mean {tmp_path / 'train'}?"
    with pytest.raises(DataError, match="is not a directory"):
        index_folder(tmp_path / "train/cat/1.png", KEY)


def test_relative_path_names_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        index_folder(Path("data/train"), KEY)
    assert str(tmp_path) in str(caught.value.hint)


def test_unreadable_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(tmp_path, "cat/1.png", "dog/in/2.png")
    scandir = os.scandir

    def refusing(path: str) -> object:  # a stand-in for permissions, which do not bind every user
        if str(path).endswith("in"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    index = index_folder(root, KEY)
    assert index.unreadable == (("dog/in", "Permission denied"),)
    assert index.class_counts == (1, 0)


def test_root_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(_: str) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=f"^{KEY}: {tmp_path} cannot be read: Permission denied"):
        index_folder(tmp_path, KEY)
    with pytest.raises(DataError, match=f"^{tmp_path} cannot be read"):
        index_folder(tmp_path)


def test_empty_and_missing_classes_are_facts(tmp_path: Path) -> None:
    root = fill(tmp_path, "cat/1.png", "loose.png")
    (root / "dog").mkdir()
    index = index_folder(root)
    assert (index.class_names, index.class_counts) == (("cat", "dog"), (1, 0))
    assert index_folder(root / "dog") == FolderIndex(root / "dog", (), (), (), ())


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    root = fill(tmp_path, "cat/1.png", "dog/2.png")
    try:
        Path(os.fsdecode(os.fsencode(root / "cat") + b"/\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    index = index_folder(root, KEY)
    assert len(index) == 3
    assert len(index.fingerprint) == 64
    assert sum(map(len, split(index, 0.5, 0))) == 3


def test_indexing_needs_no_torch() -> None:
    code = "import sys, pochi_cli.data.folder, pochi_cli.data.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def made_index(counts: list[int]) -> FolderIndex:
    names = tuple(f"class{label}" for label in range(len(counts)))
    files = [(f"{names[label]}/{i}.png", label) for label, count in enumerate(counts) for i in range(count)]
    paths, labels = zip(*files, strict=True)
    return FolderIndex(Path("data"), names, paths, labels, tuple(range(len(files))))


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=6),
    st.floats(0.001, 0.999),
    st.integers(0, 2**63),
)
def test_split_is_a_stratified_partition(counts: list[int], fraction: float, seed: int) -> None:
    index = made_index(counts)
    train, val = split(index, fraction, seed)
    assert sorted(train.paths + val.paths) == sorted(index.paths)
    assert train.class_names == val.class_names == index.class_names
    for part in (train, val):
        assert all(
            index.labels[index.paths.index(p)] == label
            for p, label in zip(part.paths, part.labels, strict=True)
        )
        assert [index.file_bytes[index.paths.index(p)] for p in part.paths] == list(part.file_bytes)
    for count, held_out in zip(counts, val.class_counts, strict=True):
        assert held_out == (0 if count == 1 else min(max(round(count * fraction), 1), count - 1))
    assert split(index, fraction, seed) == (train, val)


def test_split_depends_on_the_seed_and_hardly_on_other_images() -> None:
    index = made_index([100, 100])
    first, other = split(index, 0.2, 0)[1], split(index, 0.2, 1)[1]
    assert set(first.paths) != set(other.paths)
    larger = split(made_index([101, 100]), 0.2, 0)[1]
    assert len(set(first.paths) - set(larger.paths)) <= 1


def test_hold_out_chooses_evenly() -> None:
    names = [str(i) for i in range(2000)]
    chosen = [int(name) for name in hold_out(names, 0.5, 7)]
    assert len(chosen) == 1000
    assert 900 < sum(chosen) / 1000 < 1100


def test_labels_are_matched_by_name(tmp_path: Path) -> None:
    train = index_folder(fill(tmp_path / "train", "ant/1.png", "bee/2.png", "cat/3.png"), KEY)
    val = index_folder(fill(tmp_path / "val", "bee/4.png", "cat/5.png"), "val_data_root")
    assert val.labels == (0, 1)
    matched = match_labels(train, val)
    assert matched.class_names == train.class_names
    assert matched.labels == (1, 2)
    assert matched.class_counts == (0, 1, 1)
    assert match_labels(train, train) == train


def test_moved_folder_is_the_same(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(digits / "val", tmp_path / "copy")
    moved, original = index_folder(tmp_path / "copy", KEY), index_folder(digits / "val", KEY)
    assert (moved.paths, moved.labels, moved.fingerprint) == (
        original.paths,
        original.labels,
        original.fingerprint,
    )
