from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pochi_cli.data.images import BadImageError, is_image, read_rgb, read_size
from tests.data.photos import BLACK, GREEN, RED, WHITE, corner_image, write_photos


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def near(a: tuple[int, ...], b: tuple[int, ...], tolerance: int = 6) -> bool:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= tolerance


@pytest.mark.parametrize(
    ("name", "left_upper", "right_lower"),
    [
        ("cats/rgb.png", GREEN, RED),
        ("cats/gray.jpg", (150, 150, 150), (76, 76, 76)),
        ("cats/palette.gif", GREEN, RED),
        ("cats/cmyk.jpg", GREEN, RED),
        ("cats/by_phone/turned.JPG", RED, RED),
        ("dogs/rgba.png", (127, 255, 127), (255, 127, 127)),
        ("dogs/transparent.png", WHITE, WHITE),
        ("dogs/bits.png", WHITE, WHITE),
        ("dogs/gray_alpha.png", WHITE, WHITE),
        ("dogs/deep.png", WHITE, WHITE),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, name: str, left_upper: tuple[int, ...], right_lower: tuple[int, ...]
) -> None:
    path = write_photos(tmp_path) / name
    image = read_rgb(path)
    assert image.mode == "RGB"
    assert near(pixel(image, 1, 1), left_upper)
    assert near(pixel(image, image.width - 2, image.height - 2), right_lower)
    assert read_size(path) == (image.height, image.width)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    corner_image((40, 24)).save(path, exif=exif)
    with Image.open(path) as raw:
        raw.load()
        expected = ImageOps.exif_transpose(raw)
        assert expected is not None
        wanted = np.asarray(expected.convert("RGB"))
    image = read_rgb(path)
    np.testing.assert_array_equal(np.asarray(image), wanted)
    assert read_size(path) == wanted.shape[:2] == ((24, 40) if orientation < 5 else (40, 24))


def test_rotated_image_has_its_corner_elsewhere(tmp_path: Path) -> None:
    path = write_photos(tmp_path) / "cats" / "by_phone" / "turned.JPG"
    image = read_rgb(path)
    assert image.size == (24, 40)
    assert near(pixel(image, 22, 1), GREEN)  # 6: the camera's left upper corner is the right upper one


WORD_FOR_ORIENTATION = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x03\0\0\0up\0\0\0\0\0\0"


@pytest.mark.parametrize("orientation", [b"Exif\0\0nonsense", WORD_FOR_ORIENTATION, 9])
def test_damaged_exif_leaves_the_picture_as_it_lies(tmp_path: Path, orientation: bytes | int) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    corner_image().save(path, exif=orientation if isinstance(orientation, bytes) else exif)
    assert read_rgb(path).size == (40, 24)
    assert read_size(path) == (24, 40)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 128, 129], [257, 32768, 65535]], np.uint16), [[0, 0, 1], [1, 128, 255]]),
        (np.array([[0, 65535, 257]], np.int32), [[0, 255, 1]]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [[0, 128, 255]]),
    ],
)
def test_deep_values_are_scaled(tmp_path: Path, values: np.ndarray, expected: list[list[int]]) -> None:
    path = tmp_path / "deep.tiff"
    Image.fromarray(values).save(path)
    channels = np.asarray(read_rgb(path))
    for channel in range(3):
        np.testing.assert_array_equal(channels[..., channel], expected)


def test_big_endian_16_bit(tmp_path: Path) -> None:
    path = tmp_path / "deep.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + bytes((0xFF, 0xFF, 0x01, 0x01)))
    assert [pixel(read_rgb(path), x, 0) for x in (0, 1)] == [WHITE, (1, 1, 1)]


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0.0, 255.0]], np.float32),
        np.array([[0.0, np.nan]], np.float32),
        np.array([[-1, 5]], np.int32),
        np.array([[0, 70000]], np.int32),
    ],
)
def test_values_without_meaning_as_colours(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "map.tiff"
    Image.fromarray(values).save(path)
    with pytest.raises(
        BadImageError, match=r"map.tiff: its .* values reach from .*; only 0 to .* can be scaled"
    ):
        read_rgb(path)


@pytest.mark.parametrize("color", [(0, 255, 0), (12, 200, 99)])
def test_transparent_colour_of_rgb(tmp_path: Path, color: tuple[int, int, int]) -> None:
    image = corner_image()
    image.paste(color, (0, 0, 5, 5))
    image.save(tmp_path / "a.png", transparency=color)
    assert pixel(read_rgb(tmp_path / "a.png"), 0, 0) == WHITE
    assert pixel(read_rgb(tmp_path / "a.png"), 39, 23) == RED


def test_transparent_value_of_16_bit_gray(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1000]], np.uint16)).save(tmp_path / "a.png", transparency=0)
    image = read_rgb(tmp_path / "a.png")
    assert [pixel(image, x, 0) for x in (0, 1)] == [WHITE, (4, 4, 4)]


def test_half_transparent_palette(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([*BLACK, *RED])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=b"\x80\xff")
    rgb = read_rgb(tmp_path / "a.png")
    assert [pixel(rgb, x, 0) for x in (0, 1)] == [(127, 127, 127), RED]


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "CMYK"])
def test_other_colour_spaces(tmp_path: Path, mode: str) -> None:
    color = {"LAB": (136, 208, 195), "YCbCr": (76, 85, 255), "CMYK": (0, 255, 255, 0)}[mode]
    Image.new(mode, (4, 4), color).save(tmp_path / "a.tiff")
    assert near(pixel(read_rgb(tmp_path / "a.tiff"), 1, 1), RED, 12)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 5), color) for color in (GREEN, RED)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixel(read_rgb(tmp_path / "a.gif"), 2, 2) == GREEN


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"half.{suffix}"
    truncated(path)
    with pytest.raises(BadImageError) as caught:
        read_rgb(path)
    assert str(path) in caught.value.message
    assert caught.value.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "not an image, or of a format"),
        (None, "no such file"),
    ],
)
def test_not_an_image(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    for read in (read_rgb, read_size):
        with pytest.raises(BadImageError, match=reason):
            read(path)


def test_directory_and_forbidden_file(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=r"is a directory|permission denied"):
        read_rgb(tmp_path)
    path = tmp_path / "a.png"
    corner_image().save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(BadImageError, match="permission denied"):
        read_rgb(path)


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corner_image((64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImageError, match="decompression bomb"):
        read_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("seed", range(60))
def test_damaged_bytes_raise_nothing_else(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    suffix = ("png", "jpg", "gif", "bmp", "tiff", "webp")[seed % 6]
    path = tmp_path / f"a.{suffix}"
    corner_image().save(path)
    data = bytearray(path.read_bytes())
    for position in random.integers(0, len(data), 12):
        data[position] = random.integers(256)
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for read in (read_rgb, read_size):
            try:
                read(path)
            except BadImageError as error:
                assert error.reason


def test_no_file_stays_open(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("counts open files in /proc")
    good, bad = tmp_path / "good.tiff", tmp_path / "bad.png"
    corner_image().save(good)
    truncated(bad)
    gc.collect()
    before = len(list(descriptors.iterdir()))
    kept = [read_rgb(good) for _ in range(5)]
    for _ in range(5):
        read_size(good)
        with pytest.raises(BadImageError):
            read_rgb(bad)
    assert len(list(descriptors.iterdir())) == before
    assert pixel(kept[0], 0, 0) == GREEN


def test_suffixes() -> None:
    assert all(map(is_image, ("a.JPG", "b.jpeg", "c.Webp", "d.e.png", "x.jfif", "y.pbm")))
    assert not any(map(is_image, ("a.txt", "jpg", "png.", "a.png.part", "notes")))
