"""Which images are taken, and what counts as their class."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pochi_cli.errors import DataError
from pochi_cli.inference.images import find_images, validation_images
from tests.engine.tiny import STEPS, tiny_config

CLASSES = ("bird", "cat", "dog")


def write(root: Path, *names: str) -> Path:
    """Write small images, and text for files that are none."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            Image.new("RGB", (8, 8)).save(path)
        else:
            path.write_text("text")
    return root


def labels(root: Path) -> dict[str, str]:
    """The class of each image."""
    source = find_images(root, CLASSES, unlabelled=False)
    assert source.is_labelled
    assert source.index.class_names == CLASSES
    return {path: CLASSES[label] for path, label in zip(source.index.paths, source.index.labels, strict=True)}


def test_a_subset_of_the_classes_is_matched_by_name(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "cat/1.png", "cat/2.png")
    assert labels(tmp_path) == {"dog/1.png": "dog", "cat/1.png": "cat", "cat/2.png": "cat"}


def test_directories_inside_a_class_belong_to_it(tmp_path: Path) -> None:
    write(tmp_path, "dog/old/brown/1.png", "dog/2.png")
    assert labels(tmp_path) == {"dog/2.png": "dog", "dog/old/brown/1.png": "dog"}


def test_an_empty_directory_is_passed_over_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "notes/readme.txt")
    (tmp_path / "cat").mkdir()
    assert labels(tmp_path) == {"dog/1.png": "dog"}


def test_what_lies_beside_the_classes_is_left_out_with_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "2.png", "dog/notes.txt")
    source = find_images(tmp_path, CLASSES, unlabelled=False)
    assert source.index.paths == ("dog/1.png",)
    assert any("1 image" in warning and "no class directory" in warning for warning in source.warnings)


def test_an_unknown_class_is_refused_with_the_one_that_is_meant(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "Cat/1.png", "horse/1.png")
    with pytest.raises(DataError, match="classes that the model does not have") as error:
        find_images(tmp_path, CLASSES, unlabelled=False)
    assert "Cat (did you mean cat, which differs in case?)" in error.value.message
    assert "horse" in error.value.message


def test_a_folder_without_any_known_class_is_refused_with_a_way_out(tmp_path: Path) -> None:
    write(tmp_path, "2023/1.png", "2024/1.png")
    with pytest.raises(DataError, match="is named like a class: it has 2023, 2024") as error:
        find_images(tmp_path, CLASSES, unlabelled=False)
    assert error.value.hint is not None
    assert "--unlabelled" in error.value.hint


@pytest.mark.parametrize("part", ["val", "test"])
def test_the_parts_of_a_data_set_are_not_taken_for_classes(tmp_path: Path, part: str) -> None:
    write(tmp_path, "train/dog/1.png", f"{part}/dog/1.png")
    with pytest.raises(DataError, match="no directory") as error:
        find_images(tmp_path, CLASSES, unlabelled=False)
    assert error.value.hint == f"did you mean {tmp_path / part}?"


def test_every_image_is_taken_where_labels_are_not_wanted(tmp_path: Path) -> None:
    write(tmp_path, "2023/may/1.png", "dog/2.png", "3.png", "notes.txt", ".hidden/4.png")
    source = find_images(tmp_path, CLASSES, unlabelled=True)
    assert not source.is_labelled
    assert source.index.paths == ("2023/may/1.png", "3.png", "dog/2.png")
    assert [source.index.file(at).is_file() for at in range(3)] == [True] * 3
    assert any("1 other file" in warning for warning in source.warnings)


def test_a_folder_of_images_alone_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path, "2.png", "1.png")
    source = find_images(tmp_path, CLASSES, unlabelled=False)
    assert (source.is_labelled, source.index.paths) == (False, ("1.png", "2.png"))


def test_a_single_image_has_no_label(tmp_path: Path) -> None:
    write(tmp_path, "dog/1.png", "dog/2.png")
    source = find_images(tmp_path / "dog" / "1.png", CLASSES, unlabelled=False)
    assert (source.is_labelled, source.index.file(0)) == (False, tmp_path / "dog" / "1.png")
    assert len(source.index) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("notes.txt", "is no image by its name"),
        ("nowhere", "does not exist"),
        ("nothing", "has no images"),
        ("texts", "has no images"),
    ],
)
@pytest.mark.parametrize("unlabelled", [False, True])
def test_what_holds_no_image_is_refused(tmp_path: Path, name: str, told: str, unlabelled: bool) -> None:
    write(tmp_path, "notes.txt", "texts/dog/a.txt")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=told):
        find_images(tmp_path / name, CLASSES, unlabelled=unlabelled)


def test_validation_data_are_found_without_those_for_training(tmp_path: Path, few_digits: Path) -> None:
    config = tiny_config(few_digits).model_copy(update={"train_data_root": str(tmp_path / "gone")})
    source = validation_images(config, ("0", "1", "2", "3"))
    assert (len(source.index), source.is_labelled, source.is_validation) == (30, True, True)


def test_validation_data_are_labelled_as_the_model_is(few_digits: Path) -> None:
    source = validation_images(tiny_config(few_digits), ("3", "2", "1", "0"))
    names = [source.index.class_names[label] for label in source.index.labels]
    assert names == [path.partition("/")[0] for path in source.index.paths]


def test_the_share_that_was_split_off_is_found_again(few_digits: Path) -> None:
    config = tiny_config(few_digits, val_data_root=None, val_split=0.3)
    source = validation_images(config, ("0", "1", "2", "3"))
    assert source.index.paths == validation_images(config, ("0", "1", "2", "3")).index.paths
    assert 0 < len(source.index) < 30


def test_a_training_without_validation_data_asks_for_images(few_digits: Path) -> None:
    config = tiny_config(few_digits, val_data_root=None, val_transform=STEPS)
    with pytest.raises(DataError, match="without validation data") as error:
        validation_images(config, ("0", "1", "2", "3"))
    assert error.value.hint == "name images: --data DIR_OR_FILE"
