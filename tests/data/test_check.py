"""The report on image folders: its numbers against naive loops, and a planted fault for every finding."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.utils.class_weight import compute_class_weight

from pochi_cli.data.check import DataReport, check_config_data, check_directory
from pochi_cli.data.decoding import decode_splits
from pochi_cli.data.findings import in_words
from pochi_cli.data.folder import index_folder
from pochi_cli.data.prepare import prepare_data
from pochi_cli.data.splits import Split
from pochi_cli.errors import DataError, Diagnostic
from tests.data.photos import corner_image, write_photos
from tests.data.test_prepare import TO_TENSOR, config, folder


def noise(path: Path, seed: int, size: tuple[int, int] = (8, 8)) -> Path:
    """Write an image that no other seed gives; size is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def plain(root: Path, *names: str) -> Path:
    """Write different images of one size."""
    for name in names:
        noise(root / name, int.from_bytes(hashlib.sha256(os.fsencode(root / name)).digest()[:4], "big"))
    return root


def codes(report: DataReport) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in report.findings]


def only(report: DataReport) -> Diagnostic:
    (finding,) = report.findings
    return finding


def test_silence_on_healthy_data(digits: Path) -> None:
    report = check_directory(digits)
    assert report.findings == ()
    assert not report.has_errors
    assert report.duplicates == ()
    assert [(split.name, split.images) for split in report.splits] == [("train", 1438), ("val", 359)]
    assert report.class_names == tuple("0123456789")


def test_weights_are_scikit_learns(few_digits: Path) -> None:
    report = check_directory(few_digits)
    labels = np.repeat(list("0123"), (25, 20, 15, 5))
    expected = compute_class_weight("balanced", classes=np.array(list("0123")), y=labels)
    assert report.class_weights == pytest.approx(tuple(expected))
    assert report.imbalance == 5
    assert report.class_counts[3] == ("3", (5, 5))


def test_numbers_are_those_of_a_naive_loop(tmp_path: Path) -> None:
    root = write_photos(tmp_path)
    noise(root / "dogs" / "wide.png", 0, (2, 500))
    (split,) = check_directory(root).splits
    sizes, modes, formats, total, turned = [], Counter[str](), Counter[str | None](), 0, 0
    for file in sorted(root.rglob("*.*")):
        with Image.open(file) as image:
            modes[image.mode] += 1
            formats[image.format] += 1
            turned += image.getexif().get(0x0112, 1) != 1
            upright = ImageOps.exif_transpose(image)
            assert upright is not None
            sizes.append((upright.height, upright.width))
        total += file.stat().st_size
    sizes.sort(key=lambda size: (size[0] * size[1], size))
    assert split.images == len(sizes) == 11
    assert (split.modes, split.formats) == (modes, formats)
    assert (split.total_bytes, split.turned) == (total, turned)
    assert split.sizes is not None
    assert (split.sizes.smallest, split.sizes.median, split.sizes.largest) == (sizes[0], sizes[5], sizes[-1])
    assert split.sizes.distinct == len(set(sizes))
    assert (split.sizes.commonest, split.sizes.commonest_count) == Counter(sizes).most_common(1)[0]


def test_every_bad_file_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = plain(tmp_path, "cat/1.png", "dog/2.png")
    whole = noise(root / "cat" / "half.jpg", 5, (64, 64))
    whole.write_bytes(whole.read_bytes()[:1000])
    (root / "cat" / "empty.png").touch()
    (root / "dog" / "page.png").write_text("<html>not found</html>")
    (root / "dog" / "nowhere.png").symlink_to(root / "nothing.png")
    os.mkfifo(root / "dog" / "pipe.png")
    noise(root / "dog" / "bomb.png", 6, (200, 200))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    report = check_directory(root)
    (split,) = report.splits
    assert {Path(bad.path).name: bad.reason.partition(" (")[0] for bad in split.bad} == {
        "empty.png": "the file is empty",
        "half.jpg": "image file is truncated",
        "bomb.png": "Image size",
        "nowhere.png": "no such file or directory",
        "page.png": "not an image, or of a format that Pillow does not read",
    }
    assert split.ignored == 1  # the pipe
    finding = only(report)
    assert (finding.code, finding.severity, finding.key) == ("bad-image", "error", ())
    assert finding.message == f"5 of the 7 images in {root.name} cannot be decoded"
    assert finding.help == "remove or replace them"
    assert finding.notes[0].message == f"{root}/cat/empty.png: the file is empty"
    assert report.has_errors
    assert split.modes == {"RGB": 2}


def test_many_bad_files_are_named_in_part(tmp_path: Path) -> None:
    root = plain(tmp_path, "cat/1.png", "dog/2.png")
    for i in range(8):
        (root / "cat" / f"bad\x1b{i}.png").write_bytes(b"x")
    notes = [note.message for note in only(check_directory(root)).notes]
    assert len(notes) == 6
    assert notes[0].startswith(f"{root}/cat/bad\\x1b0.png: not an image")
    assert notes[-1] == "and 3 more"


def test_files_that_vanish_or_are_forbidden(tmp_path: Path) -> None:
    root = plain(tmp_path, "cat/1.png", "cat/2.png", "dog/3.png")
    index = index_folder(root)
    (root / "cat" / "1.png").unlink()
    (root / "dog" / "3.png").chmod(0)
    (decoded,) = decode_splits([Split("all", index)])
    assert (0, "no such file or directory") in decoded.bad
    if os.access(root / "dog" / "3.png", os.R_OK):
        pytest.skip("this user may read everything")
    assert dict(decoded.bad)[2] == "permission denied"


def test_duplicates(tmp_path: Path) -> None:
    root = plain(tmp_path, *(f"train/{name}.png" for name in ("cat/1", "cat/2", "cat/3", "dog/4", "dog/5")))
    plain(root, "val/cat/6.png", "val/dog/7.png")
    for source, target in (
        ("train/cat/1", "train/cat/again"),
        ("train/cat/1", "train/cat/and_again"),
        ("train/cat/2", "train/dog/wrong"),
        ("train/cat/3", "val/cat/seen"),
        ("train/dog/4", "train/dog/twin"),
        ("train/dog/4", "val/cat/seen_wrong"),
    ):
        shutil.copy(root / f"{source}.png", root / f"{target}.png")
    # Files that cannot be decoded are never trained on.
    (root / "train" / "cat" / "bad.png").touch()
    (root / "val" / "cat" / "bad.png").touch()
    report = check_directory(root)

    by_content = defaultdict(set)
    for file in root.rglob("*.png"):
        by_content[hashlib.sha256(file.read_bytes()).hexdigest()].add(str(file))
    expected = {frozenset(files) for files in by_content.values() if len(files) > 1}
    expected -= {frozenset(files for files in group if "bad" in files) for group in expected}
    assert {frozenset(copy.path for copy in copies) for copies in report.duplicates} == expected
    assert len(report.duplicates) == 4

    leak, train, repeated, val = report.findings[2:]
    assert [finding.code for finding in report.findings[:2]] == ["bad-image", "bad-image"]
    assert {finding.severity for finding in (leak, train, repeated, val)} == {"warning"}
    assert (leak.code, leak.message) == (
        "duplicate-images",
        "2 of the 5 images in val are also in train",
    )
    assert leak.notes[0].message == f"{root}/val/cat/seen.png = {root}/train/cat/3.png"
    assert (train.code, train.message) == ("contradicting-labels", "1 image lies under more than one class")
    assert train.notes[0].message == f"{root}/train/cat/2.png = {root}/train/dog/wrong.png"
    assert (repeated.code, repeated.message) == (
        "duplicate-images",
        "3 of the 10 images in train are copies of others in the same class",
    )
    assert [note.message for note in repeated.notes] == [
        f"{root}/train/{one}.png = {root}/train/{other}.png"
        for one, other in (("cat/again", "cat/1"), ("cat/and_again", "cat/1"), ("dog/twin", "dog/4"))
    ]
    assert val.code == "contradicting-labels"
    assert val.notes[0].message == f"{root}/train/dog/4.png = {root}/val/cat/seen_wrong.png"


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    root = plain(
        tmp_path, *(f"{name}.png" for name in ("train/cat/1", "train/dog/2", "train/elk/3", "val/Cat/4"))
    )
    plain(root, "val/dog/5.png", "annotations/x/6.png", "train/loose.png")
    (root / "train" / "empty").mkdir()
    (root / "val" / "dog" / "bad.png").touch()
    report = check_directory(root)
    assert codes(report) == [
        ("ignored-directory", "warning"),
        ("loose-images", "warning"),
        ("empty-class", "error"),
        ("class-mismatch", "error"),
        ("class-mismatch", "warning"),
        ("bad-image", "error"),
    ]
    assert "Cat (did you mean cat, which differs in case?)" in report.findings[3].message
    assert "for: elk;" in report.findings[4].message
    assert report.class_counts == (
        ("cat", (1, None)), ("dog", (1, 2)), ("elk", (1, None)), ("empty", (0, None)), ("Cat", (None, 1)),
    )  # fmt: skip
    assert report.class_weights == ()
    assert report.imbalance is None


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["train/a/1", "train/b/2", "valid/a/3", "TEST/b/4"], ["train", "valid", "TEST"]),
        (["test/a/1", "test/b/2", "Training/a/3", "Training/b/4"], ["Training", "test"]),
        (["train/a/1", "train/b/2"], ["train"]),
        (["train/a/1", "train/b/2", "val/a/3", "notes/x/4"], ["train", "val"]),
        (["train/1", "bus/2"], None),  # a class of trains
        (["train/old/1", "bus/2"], None),
        (["a/1", "b/2"], None),
    ],
)
def test_split_directories(tmp_path: Path, files: list[str], splits: list[str] | None) -> None:
    report = check_directory(plain(tmp_path, *(f"{file}.png" for file in files)))
    assert [split.name for split in report.splits] == (splits or [tmp_path.name])
    assert not report.has_errors


def test_splits_without_classes_are_told(tmp_path: Path) -> None:
    root = plain(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "test/4.png")
    assert ("no-classes", "warning") in codes(check_directory(root))
    (root / "val" / "a" / "3.png").rename(root / "val" / "3.png")
    assert codes(check_directory(root))[:2] == [("loose-images", "warning"), ("no-images", "error")]
    (root / "val" / "a").rmdir()
    assert codes(check_directory(root)) == [("no-classes", "error"), ("no-classes", "warning")]


def test_empty_directory_and_missing_directory(tmp_path: Path) -> None:
    report = check_directory(tmp_path)
    assert codes(report) == [("no-images", "error")]
    assert report.splits[0].sizes is None
    with pytest.raises(DataError, match=r"^.*nowhere does not exist"):
        check_directory(tmp_path / "nowhere")


@pytest.mark.parametrize("keys", [{"val_split": 0.25}, {"val": True}, {}])
def test_same_images_as_training(few_digits: Path, keys: dict[str, Any]) -> None:
    keys = {"val_data_root": str(few_digits / "val")} if "val" in keys else keys
    chosen = config(train_data_root=str(few_digits / "train"), batch_size=100, **keys)
    data, report = prepare_data(chosen, 3), check_config_data(chosen, 3)
    parts = [data.train] if data.val is None else [data.train, data.val]
    assert [split.name for split in report.splits] == ["train", "val"][: len(parts)]
    for split, part in zip(report.splits, parts, strict=True):
        assert split.classes == dict(zip(part.class_names, part.class_counts, strict=True))
    assert report.class_names == data.class_names
    assert (report.train_size, report.val_size) == (data.size, data.val_size)
    assert tuple(map(in_words, report.findings)) == data.warnings
    assert len(data.warnings) == 1


def test_config_of_the_digits(tmp_path: Path) -> None:
    report = check_config_data(config(dataset="digits"), 0, cache_root=tmp_path)
    assert [split.images for split in report.splits] == [1438, 359]
    assert report.findings == ()


@pytest.mark.parametrize("part", ["train", "val"])
def test_mixed_sizes_are_told_as_training_tells_them(tmp_path: Path, part: str) -> None:
    same = folder(tmp_path / "same", {"a/1.png": (8, 8), "b/2.png": (8, 8)})
    mixed = folder(tmp_path / "mixed", {"a/1.png": (6, 6), "b/2.png": (6, 6), "b/3.png": (9, 7)})
    roots = (mixed, same) if part == "train" else (same, mixed)
    chosen = config(
        train_data_root=roots[0], val_data_root=roots[1], train_transform=[TO_TENSOR], batch_size=2
    )
    with pytest.raises(DataError) as caught:
        prepare_data(chosen, 0)
    report = check_config_data(chosen, 0)
    (finding,) = (finding for finding in report.findings if finding.code == "mixed-sizes")
    assert (finding.severity, finding.key) == ("error", (f"{part}_transform",))
    assert (finding.message, finding.help) == (caught.value.message, caught.value.hint)
    assert (report.train_size, report.val_size) == ((None, (8, 8)) if part == "train" else ((8, 8), None))


CROP = {"name": "RandomCrop", "size": 7}


def test_images_that_a_step_cannot_take(tmp_path: Path) -> None:
    sizes = {"a/1.png": (8, 8), "a/2.png": (9, 5), "b/3.png": (9, 5), "b/4.png": (6, 6), "b/5.png": (7, 7)}
    for seed, (name, size) in enumerate(sizes.items()):
        noise(tmp_path / name, seed, size)
    blur = {"name": "GaussianBlur", "kernel_size": 13}
    steps = [{"name": "RandomApply", "transforms": [blur]}, CROP, blur, TO_TENSOR]
    chosen = config(train_data_root=str(tmp_path), train_transform=steps, batch_size=2)
    report = check_config_data(chosen, 0)
    first, second = report.findings
    assert (first.code, first.severity) == ("image-too-small", "error")
    assert (first.key, second.key) == (("train_transform", 0), ("train_transform", 1))
    assert first.message == (
        "GaussianBlur in train_transform needs images of at least 7 x 7 px, but gets 9 x 5 px"
    )
    (note,) = first.notes
    assert note.message == (
        f"3 of the 5 images cannot be taken, such as this: {tmp_path}/a/2.png is 9 x 5 px"
    )
    assert report.train_size == (7, 7)


@pytest.mark.parametrize(
    ("steps", "position"),
    [
        ([CROP, TO_TENSOR], 0),  # one size whatever the images: one of them is looked at
        ([{"name": "GaussianBlur", "kernel_size": 11}, TO_TENSOR], 0),
        ([TO_TENSOR, {"name": "Pad", "padding": 5, "padding_mode": "reflect"}], 1),
    ],
)
def test_training_refuses_them_too(tmp_path: Path, steps: list[dict[str, Any]], position: int) -> None:
    root = folder(tmp_path, {"a/1.png": (5, 5), "b/2.png": (5, 5)})
    keys = {"train_data_root": root, "val_data_root": root, "batch_size": 2}
    chosen = config(**keys, train_transform=steps, val_transform=steps)
    with pytest.raises(DataError) as caught:
        prepare_data(chosen, 0)
    found = [(finding.code, finding.key) for finding in caught.value.diagnostics]
    assert found == [("image-too-small", (f"{part}_transform", position)) for part in ("train", "val")]


@pytest.mark.parametrize(("choice", "severity"), [("error", "error"), ("skip", "warning")])
def test_bad_image_and_leak_name_their_key(tmp_path: Path, choice: str, severity: str) -> None:
    plain(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png")
    (tmp_path / "train" / "a" / "bad.png").touch()
    shutil.copy(tmp_path / "train" / "a" / "1.png", tmp_path / "val" / "a" / "leak.png")
    roots = {"train_data_root": str(tmp_path / "train"), "val_data_root": str(tmp_path / "val")}
    bad, leak = check_config_data(config(**roots, on_bad_image=choice, batch_size=2), 0).findings
    assert (bad.code, bad.severity, bad.key) == ("bad-image", severity, ("train_data_root",))
    assert "on_bad_image" in str(bad.help)
    assert (leak.code, leak.severity, leak.key) == ("duplicate-images", "warning", ("val_data_root",))
    assert leak.message == "1 of the 3 images in val is also in train"


@pytest.mark.parametrize(("earlier", "use"), [("train", "trained on"), ("val", "used to choose the model")])
def test_a_leak_into_the_test_images(tmp_path: Path, earlier: str, use: str) -> None:
    plain(tmp_path, *(f"{part}/{name}.png" for part in ("train", "val", "test") for name in ("a/1", "b/2")))
    shutil.copy(tmp_path / earlier / "a" / "1.png", tmp_path / "test" / "a" / "leak.png")
    finding = only(check_directory(tmp_path))
    assert finding.message == f"1 of the 3 images in test is also in {earlier}"
    assert str(finding.help).endswith(f"images that were {use} flatter the model")


def test_same_directory_twice(tmp_path: Path) -> None:
    root = plain(tmp_path / "data", "a/1.png", "b/2.png")
    (tmp_path / "link").symlink_to(root)
    roots = {"train_data_root": str(root), "val_data_root": str(tmp_path / "link")}
    finding = only(check_config_data(config(**roots, batch_size=2), 0))
    assert finding.message == "2 of the 2 images in val are also in train"
    assert finding.help == "both are the same directory"


def test_threads_change_nothing(tmp_path: Path) -> None:
    root = write_photos(tmp_path)
    (root / "cats" / "bad.png").touch()
    shutil.copy(root / "cats" / "rgb.png", root / "dogs")
    first = check_directory(root, threads=1)
    assert all(check_directory(root, threads=threads) == first for threads in (2, 3, 16))


@pytest.mark.parametrize("threads", [1, 4])
def test_progress(digits: Path, threads: int) -> None:
    told: list[tuple[int, int]] = []
    check_directory(digits, lambda done, total: told.append((done, total)), threads)
    assert told[0] == (0, 1797)
    assert told[-1] == (1797, 1797)
    assert told == sorted(told)


@pytest.mark.parametrize("threads", [1, 4])
def test_interruption(tmp_path: Path, threads: int) -> None:
    large = noise(tmp_path / "a" / "0.png", 0, (1000, 1000))
    for i in range(1, 30):
        (tmp_path / "a" / f"{i}.png").hardlink_to(large)
    filters, before = list(warnings.filters), threading.active_count()

    def interrupt(done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_directory(tmp_path, interrupt, threads)
    assert threading.active_count() == before
    assert warnings.filters == filters


def test_pillows_warnings_stay_silent_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 800
    )  # 960 pixels are more than that, and less than twice that
    for i in range(40):
        (tmp_path / f"{i % 2}").mkdir(exist_ok=True)
        corner_image().save(tmp_path / f"{i % 2}" / f"{i}.png")
    (split,) = check_directory(tmp_path, threads=4).splits
    assert split.bad == ()
