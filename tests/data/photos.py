"""Photographs of many sizes and modes, drawn so that their colours are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

RED, GREEN, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (255, 255, 255), (0, 0, 0)


def corner_image(size: tuple[int, int] = (40, 24)) -> Image.Image:
    """Red, with the left upper quarter green; size is (width, height)."""
    image = Image.new("RGB", size, RED)
    image.paste(GREEN, (0, 0, size[0] // 2, size[1] // 2))
    return image


def write_photos(root: Path) -> Path:
    """Two classes whose files differ in size and mode."""
    cats, dogs = root / "cats", root / "dogs"
    (cats / "by_phone").mkdir(parents=True)
    dogs.mkdir()
    image = corner_image()
    image.save(cats / "rgb.png")
    image.convert("L").resize((31, 17)).save(cats / "gray.jpg")
    image.quantize(4).save(cats / "palette.gif")
    image.convert("CMYK").resize((64, 64)).save(cats / "cmyk.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(cats / "by_phone" / "turned.JPG", exif=exif, quality=95)
    rgba = image.convert("RGBA")
    rgba.putalpha(128)
    rgba.save(dogs / "rgba.png")
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([*RED, *GREEN])
    palette.save(dogs / "transparent.png", transparency=0)
    Image.new("1", (9, 9), 1).save(dogs / "bits.png")
    Image.new("LA", (12, 10), (0, 0)).save(dogs / "gray_alpha.png")
    Image.fromarray(np.full((20, 30), 65535, np.uint16)).save(dogs / "deep.png")
    return root
