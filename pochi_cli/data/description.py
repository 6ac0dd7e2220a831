"""What a part of the data holds, in numbers. Free of torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pochi_cli.config.steps.arguments import Size
from pochi_cli.data.decoding import DecodedSplit


@dataclass(frozen=True)
class Sizes:
    """Heights and widths, upright, of the images of a split; ordered by their area.

    Attributes:
        smallest, median, largest: Sizes of real images; of an even number the lower median.
        commonest: The size of the most images.
        commonest_count: How many have it.
        distinct: Number of different sizes.
    """

    smallest: Size
    median: Size
    largest: Size
    commonest: Size
    commonest_count: int
    distinct: int


@dataclass(frozen=True)
class BadFile:
    """An image that cannot be decoded.

    Attributes:
        path: The file.
        reason: Why, in words.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class SplitReport:
    """What one part of the data holds.

    Attributes:
        name: What it is called.
        root: Its directory.
        images: Number of images, with the bad ones.
        classes: Number of images of each class, with the bad ones, as training counts them.
        sizes: Their sizes; `None` where none can be decoded.
        modes: Number of images of each of Pillow's modes before they become RGB, most frequent first.
        formats: Number of images of each file format, most frequent first.
        turned: How many are turned or mirrored because their EXIF orientation says so.
        total_bytes: Size of all image files.
        ignored: Files that are not images or lie in no class directory.
        loose_images: How many of those are images.
        bad: The images that cannot be decoded.
    """

    name: str
    root: str
    images: int
    classes: dict[str, int]
    sizes: Sizes | None
    modes: dict[str, int]
    formats: dict[str, int]
    turned: int
    total_bytes: int
    ignored: int
    loose_images: int
    bad: tuple[BadFile, ...]


def describe_split(part: DecodedSplit) -> SplitReport:
    """Count what the images of a part are like."""
    index = part.split.index
    good = [facts for _, facts in part.good]
    return SplitReport(
        name=part.split.name,
        root=str(index.root),
        images=len(index),
        classes=dict(zip(index.class_names, index.class_counts, strict=True)),
        sizes=_sizes([facts.size for facts in good]),
        modes=dict(Counter(facts.mode for facts in good).most_common()),
        formats=dict(Counter(facts.format for facts in good).most_common()),
        turned=sum(facts.turned for facts in good),
        total_bytes=sum(size for size in index.file_bytes if size > 0),
        ignored=index.ignored,
        loose_images=index.loose_images,
        bad=tuple(BadFile(str(index.file(i)), reason) for i, reason in part.bad),
    )


def _sizes(sizes: Sequence[Size]) -> Sizes | None:
    if not sizes:
        return None
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    counts = Counter(ordered)
    ((commonest, count),) = counts.most_common(1)
    median = ordered[(len(ordered) - 1) // 2]
    return Sizes(ordered[0], median, ordered[-1], commonest, count, len(counts))
