from __future__ import annotations

import re
from pathlib import Path

import pytest

from pochi_cli.data.findings import class_findings, folder_findings, in_words, listed, raise_errors
from pochi_cli.data.folder import FolderIndex, index_folder
from pochi_cli.errors import DataError, Diagnostic
from tests.data.test_folder import fill

KEY = ("train_data_root",)
VAL = ("val_data_root",)


@pytest.mark.parametrize(
    ("files", "directories", "code", "message"),
    [
        (["a.png", "b.png"], [], "no-classes", "2 images in .*, in no class directory"),
        ([], [], "no-images", "no class directories and no images"),
        (["readme.txt"], [], "no-images", "no class directories and no images"),
        (["cat/1.png"], [], "one-class", 'only one class, "cat"; a classifier needs two'),
        (["cat/1.txt"], ["dog"], "no-images", "has no images; class directories: cat, dog"),
        (["cat/1.png"], ["dog", "elk"], "empty-class", "class directories without images in .*: dog, elk"),
    ],
)
def test_mistakes(tmp_path: Path, files: list[str], directories: list[str], code: str, message: str) -> None:
    root = fill(tmp_path, *files)
    for name in directories:
        (root / name).mkdir()
    findings = folder_findings(index_folder(root), KEY)
    assert [(finding.code, finding.severity, finding.key) for finding in findings] == [(code, "error", KEY)]
    assert re.search(message, findings[0].message)
    assert str(root) in findings[0].message
    with pytest.raises(DataError, match=f"^train_data_root: .*{message}") as caught:
        raise_errors(findings)
    assert caught.value.hint == findings[0].help


def test_silence_on_a_healthy_folder(digits: Path) -> None:
    train, val = index_folder(digits / "train"), index_folder(digits / "val")
    findings = folder_findings(train, KEY) + folder_findings(val, VAL, min_classes=1)
    assert findings + class_findings(train, val, VAL) == []
    raise_errors([])


def test_one_class_is_enough_for_validation(tmp_path: Path) -> None:
    assert folder_findings(index_folder(fill(tmp_path, "cat/1.png")), VAL, min_classes=1) == []


def test_directories_that_cannot_be_read_are_mistakes() -> None:
    index = FolderIndex(Path("d"), ("a", "b"), ("a/1.png", "b/2.png"), (0, 1), (1, 1))
    index = FolderIndex(**{**vars(index), "unreadable": (("a/\x1bin", "Permission denied"),)})
    (finding,) = folder_findings(index, KEY)
    assert (finding.code, finding.severity) == ("unreadable-directory", "error")
    assert finding.message == "d/a/\\x1bin cannot be read: Permission denied"


def test_doubts(tmp_path: Path) -> None:
    root = fill(tmp_path, "Train/1.png", "val/2.png", "loose.png", "too.jpg", "README.md")
    loose, high = folder_findings(index_folder(root), ())
    assert (loose.code, high.code) == ("loose-images", "splits-as-classes")
    assert loose.severity == high.severity == "warning"
    assert loose.message.startswith("2 images in")
    assert high.message.endswith("named Train, val: is it one directory too high?")
    raise_errors([loose, high])


def test_classes_are_compared_by_name(tmp_path: Path) -> None:
    train = index_folder(fill(tmp_path / "train", "ant/1.png", "Honeybee/2.png", "newt/3.png", "owl/4.png"))
    val = index_folder(fill(tmp_path / "val", "ant/1.png", "HONEYBEE/4.png", "newts/5.png", "zebra/6.png"))
    extra, missing = class_findings(train, val, VAL)
    assert (extra.code, extra.severity) == ("class-mismatch", "error")
    assert extra.message == (
        f"{val.root} has classes that {train.root} does not have: "
        "HONEYBEE (did you mean Honeybee, which differs in case?), newts (did you mean newt?), zebra"
    )
    # Honeybee and newt lack images only because of the names that resemble theirs.
    assert (missing.code, missing.severity) == ("class-mismatch", "warning")
    assert missing.message == f"no images in {val.root} for: owl; their accuracy stays unknown"
    assert class_findings(train, train, VAL) == []


def test_many_names_are_shortened(tmp_path: Path) -> None:
    train = index_folder(fill(tmp_path / "train", *(f"{i:03}/1.png" for i in range(50))))
    val = index_folder(fill(tmp_path / "val", *(f"x{'y' * i}z/1.png" for i in range(30))))
    extra, missing = class_findings(train, val, VAL)
    assert extra.message.endswith("and 20 more")
    assert missing.message.endswith("008, 009 and 40 more; their accuracy stays unknown")
    assert listed(["a", "b"]) == "a, b"


def test_a_folder_without_classes_is_told_once(tmp_path: Path) -> None:
    train, val = index_folder(fill(tmp_path / "a", "cat/1.png", "dog/1.png")), fill(tmp_path / "b", "x.txt")
    assert class_findings(train, index_folder(val), VAL) == []


def test_in_words() -> None:
    assert in_words(Diagnostic("c", "too large", ("batch_size",))) == "batch_size: too large"
    assert in_words(Diagnostic("c", "batch_size is 3", ("batch_size",))) == "batch_size is 3"
    assert in_words(Diagnostic("c", "too large")) == "too large"
