from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pochi_cli.config.data import DataConfig
from pochi_cli.data.prepare import prepare_data
from pochi_cli.errors import DataError
from tests.data.photos import write_photos

TO_TENSOR = {"name": "ToTensor"}
CROP = {"name": "RandomResizedCrop", "size": 16}


def config(**keys: Any) -> DataConfig:
    keys = {"train_transform": [CROP, TO_TENSOR], "val_transform": [TO_TENSOR], **keys}
    return DataConfig.model_validate(keys)


def folder(root: Path, sizes: dict[str, tuple[int, int]]) -> str:
    """Write plain images; sizes are (width, height)."""
    for name, size in sizes.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "gray").save(root / name)
    return str(root)


def test_folder_with_validation_folder(digits: Path) -> None:
    data = prepare_data(config(train_data_root=str(digits / "train"), val_data_root=str(digits / "val")), 0)
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (1438, 359)
    assert data.class_names == tuple("0123456789")
    assert (data.size, data.val_size) == ((16, 16), (8, 8))
    assert data.warnings == ()
    assert len(data.fingerprint) == 64


def test_without_validation(digits: Path) -> None:
    data = prepare_data(config(train_data_root=str(digits / "train"), val_transform=None), 0)
    assert data.val is None
    assert data.val_size is None
    assert len(data.train) == 1438


def test_split_is_seeded(digits: Path) -> None:
    split = config(train_data_root=str(digits / "train"), val_split=0.25)
    first, again, other = (prepare_data(split, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.fingerprint != other.fingerprint
    assert first.val is not None
    assert len(first.train) + len(first.val) == 1438
    assert abs(len(first.val) - 359.5) < 10


def test_digits_bring_their_own_split(tmp_path: Path) -> None:
    data = prepare_data(config(dataset="digits"), 0, tmp_path)
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (1438, 359)
    assert data.train.root == tmp_path / "digits" / "train"
    split = prepare_data(config(dataset="digits", val_split=0.5), 0, tmp_path)
    assert split.val is not None
    assert split.val.root == tmp_path / "digits" / "train"
    assert len(split.train) + len(split.val) == 1438


def test_same_sizes_without_a_crop(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a/1.png": (12, 9), "b/2.png": (12, 9)})
    steps = [{"name": "Resize", "size": 18}, TO_TENSOR]
    data = prepare_data(config(train_data_root=root, train_transform=steps), 0)
    assert data.size == (18, 24)


def test_sizes_that_become_equal(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a/1.png": (12, 12), "b/2.png": (20, 20)})
    steps = [{"name": "Resize", "size": 8}, TO_TENSOR]
    assert prepare_data(config(train_data_root=root, train_transform=steps), 0).size == (8, 8)


@pytest.mark.parametrize("part", ["train", "val"])
def test_different_sizes(tmp_path: Path, part: str) -> None:
    same = folder(tmp_path / "same", {"a/1.png": (8, 8), "b/2.png": (8, 8)})
    mixed = folder(tmp_path / "mixed", {"a/1.png": (8, 8), "b/2.png": (9, 7), "b/3.png": (8, 8)})
    roots = (mixed, same) if part == "train" else (same, mixed)
    keys = {"train_data_root": roots[0], "val_data_root": roots[1], "train_transform": [TO_TENSOR]}
    with pytest.raises(DataError) as caught:
        prepare_data(config(**keys), 0)
    assert f"{part}_transform gives tensors of different sizes" in caught.value.message
    assert f"{mixed}/a/1.png (8 x 8) and {mixed}/b/2.png (7 x 9)" in caught.value.message
    assert "Letterbox" in str(caught.value.hint)


def test_orientation_counts(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a/1.jpg": (12, 9), "b/2.jpg": (9, 12)})
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (9, 12)).save(tmp_path / "b" / "2.jpg", exif=exif)
    assert prepare_data(config(train_data_root=root, train_transform=[TO_TENSOR]), 0).size == (9, 12)


@pytest.mark.parametrize("part", ["train", "val"])
def test_fingerprint_covers_both_parts(tmp_path: Path, part: str) -> None:
    files = {"train/a/1.png": (8, 8), "train/b/2.png": (8, 8), "val/a/3.png": (8, 8), "val/b/4.png": (8, 8)}
    folder(tmp_path, files)
    keys = {"train_data_root": str(tmp_path / "train"), "val_data_root": str(tmp_path / "val")}
    before = prepare_data(config(**keys), 0).fingerprint
    folder(tmp_path, {f"{part}/a/new.png": (8, 8)})
    assert prepare_data(config(**keys), 0).fingerprint != before


def test_a_size_that_is_drawn(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a/1.png": (8, 8), "b/2.png": (8, 8)})
    steps = [{"name": "RandomRotation", "degrees": 45.0, "expand": True}, TO_TENSOR]
    with pytest.raises(DataError, match="train_transform gives tensors of varying size"):
        prepare_data(config(train_data_root=root, train_transform=steps), 0)


def test_bad_files_wait_until_they_are_decoded(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a/2.png": (8, 8), "b/2.png": (8, 8)})
    (tmp_path / "a" / "1.png").write_bytes(b"broken")
    assert prepare_data(config(train_data_root=root, train_transform=[TO_TENSOR]), 0).size == (8, 8)
    for file in ("a/2.png", "b/2.png"):
        (tmp_path / file).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"no image in .* could be read"):
        prepare_data(config(train_data_root=root, train_transform=[TO_TENSOR]), 0)


def test_mixed_photos_need_a_crop(tmp_path: Path) -> None:
    root = str(write_photos(tmp_path))
    with pytest.raises(DataError, match="different sizes"):
        prepare_data(config(train_data_root=root, train_transform=[TO_TENSOR]), 0)
    assert prepare_data(config(train_data_root=root), 0).size == (16, 16)


def test_warnings(tmp_path: Path) -> None:
    files = {"train/1.png": (8, 8), "test/2.png": (8, 8), "test/3.png": (8, 8), "loose.png": (8, 8)}
    root = folder(tmp_path / "all", files)
    val = folder(tmp_path / "other", {"test/1.png": (8, 8)})
    data = prepare_data(config(train_data_root=root, val_data_root=val), 0)
    loose, high, missing, batch = data.warnings
    assert missing.startswith("val_data_root: no images in")
    assert missing.endswith("for: train; their accuracy stays unknown")
    assert "batch_size 32 is larger than the training data (3 images)" in batch
    assert loose.startswith("train_data_root: 1 image in")
    assert "one directory too high" in high
    split = prepare_data(config(train_data_root=root, val_split=0.5, batch_size=2), 0)
    assert "val_split: no validation images for train" in split.warnings[-1]


def test_split_of_single_images(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a/1.png": (8, 8), "b/2.png": (8, 8)})
    with pytest.raises(DataError, match=r"val_split: every class in .* has one image"):
        prepare_data(config(train_data_root=root, val_split=0.5), 0)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    train = folder(tmp_path / "train", {"a/1.png": (8, 8), "b/2.png": (8, 8)})
    val = folder(tmp_path / "val", {"A/1.png": (8, 8)})
    (tmp_path / "train" / "c").mkdir()
    (tmp_path / "val" / "b").mkdir()
    with pytest.raises(DataError, match=r"^train_data_root: class directories without .*: c") as caught:
        prepare_data(config(train_data_root=train, val_data_root=val), 0)
    _, empty, extra = caught.value.diagnostics
    assert empty.message.startswith("class directories without images")
    assert (empty.key, extra.key) == (("val_data_root",), ("val_data_root",))
    assert extra.message.endswith("A (did you mean a, which differs in case?)")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "train_data_root is missing"),
        ({"dataset": "digits", "val_transform": None}, "val_transform is missing"),
        ({"train_data_root": "nowhere"}, "train_data_root: nowhere does not exist"),
    ],
)
def test_what_is_missing(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare_data(config(**keys), 0, tmp_path)
