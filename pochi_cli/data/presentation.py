"""A report on data in the forms that people and programs read. Free of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pochi_cli.characters import printable, unicode_text
from pochi_cli.config.diagnostics import to_record
from pochi_cli.config.steps.arguments import Size
from pochi_cli.data.check import DataReport
from pochi_cli.data.description import Sizes, SplitReport
from pochi_cli.data.findings import counted

_MOST_CLASSES = 24
_SHOWN_OF_MANY = 8
_MODE_NAMES = {"1": "1-bit"}


@dataclass(frozen=True)
class TextTable:
    """A table to show.

    Attributes:
        title: Its heading.
        header: Names of the columns.
        rows: As many cells each.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def data_tables(report: DataReport) -> tuple[TextTable, ...]:
    """Make the tables of a report: what the parts are like, and their classes where there are any."""
    tables = (split_table(report), class_table(report))
    return tuple(table for table in tables if table.rows)


def split_table(report: DataReport) -> TextTable:
    """One column for each part of the data: how many images, and what they are like."""
    columns = [_describe(split) for split in report.splits]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return TextTable(
        "Images",
        ("", *(printable(split.name) for split in report.splits)),
        tuple(row for row in rows if row[0] in ("images", "classes") or set(row[1:]) - {"0", "-"}),
    )


def _describe(split: SplitReport) -> dict[str, str]:
    """Names of facts, and the facts in words: `-` where they do not apply."""
    modes = {_MODE_NAMES.get(mode, mode): count for mode, count in split.modes.items()}
    return {
        "images": f"{split.images:,}",
        "classes": f"{len(split.classes):,}",
        "cannot be decoded": f"{len(split.bad):,}",
        "turned by EXIF": f"{split.turned:,}",
        "images in no class": f"{split.loose_images:,}",
        "other files": f"{split.ignored - split.loose_images:,}",
        "size of the files": _file_size(split.total_bytes),
        "format": _shares(split.formats),
        "mode": _shares(modes),
        **_describe_sizes(split.sizes),
    }


def _describe_sizes(sizes: Sizes | None) -> dict[str, str]:
    one = sizes is not None and sizes.distinct == 1
    told = {"height x width": f"{_size(sizes.commonest)} (all)" if sizes and one else "-"}
    names = ("different sizes", "commonest, height x width", "smallest", "median", "largest")
    if sizes is None or one:
        return told | dict.fromkeys(names, "-")
    cells = (
        f"{sizes.distinct:,}",
        f"{_size(sizes.commonest)} ({counted(sizes.commonest_count, 'image')})",
        *(_size(size) for size in (sizes.smallest, sizes.median, sizes.largest)),
    )
    return told | dict(zip(names, cells, strict=True))


def class_table(report: DataReport) -> TextTable:
    """One row for each class: its images in each part and its balanced weight; of many only the extremes."""
    weights = dict(zip(report.class_names, report.class_weights, strict=bool(report.class_weights)))
    rows = [
        (
            printable(name),
            *("-" if count is None else f"{count:,}" for count in counts),
            *([f"{weights[name]:.4g}" if name in weights else "-"] if weights else []),
        )
        for name, counts in report.class_counts
    ]
    title = f"Classes ({len(rows):,})"
    if report.imbalance is not None and report.imbalance > 1:
        title += f", the largest {report.imbalance:.3g} times the smallest"
    if len(rows) > _MOST_CLASSES:
        by_size = sorted(range(len(rows)), key=lambda row: -(report.class_counts[row][1][0] or 0))
        between = (f"({len(rows) - 2 * _SHOWN_OF_MANY:,} classes between)", *("" for _ in rows[0][1:]))
        largest, smallest = by_size[:_SHOWN_OF_MANY], by_size[-_SHOWN_OF_MANY:]
        rows = [*(rows[row] for row in largest), between, *(rows[row] for row in smallest)]
    # Training, too, weighs the classes by their files: which are bad it only learns later.
    weight = "balanced weight" + (" (bad images count)" if report.splits[0].bad else "")
    header = (
        "class",
        *(printable(split.name) for split in report.splits),
        *([weight] if weights else []),
    )
    return TextTable(title, header, tuple(rows))


def report_values(report: DataReport) -> dict[str, Any]:
    """Write the whole report as values that JSON knows; sizes are height and width in pixels."""
    values = {
        # Classes are listed below, once for all parts.
        "splits": [{k: v for k, v in asdict(split).items() if k != "classes"} for split in report.splits],
        "classes": [
            {
                "name": name,
                "images": dict(zip((split.name for split in report.splits), counts, strict=True)),
            }
            for name, counts in report.class_counts
        ],
        "class_weights": list(report.class_weights) or None,
        "imbalance": report.imbalance,
        "duplicates": [[asdict(copy) for copy in copies] for copies in report.duplicates],
        "train_size": report.train_size,
        "val_size": report.val_size,
        "diagnostics": [to_record(finding) for finding in report.findings],
    }
    plain: dict[str, Any] = _in_unicode(values)
    return plain


def _in_unicode(value: Any) -> Any:
    """Replace what is no Unicode in paths and names: JSON could not carry it."""
    match value:
        case str():
            return unicode_text(value)
        case dict():
            return {_in_unicode(key): _in_unicode(item) for key, item in value.items()}
        case list() | tuple():
            return [_in_unicode(item) for item in value]
        case _:
            return value


def _size(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _shares(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return "\n".join(f"{name} {count:,}" for name, count in counts.items()) or "-"


def _file_size(total_bytes: int) -> str:
    size, unit = float(total_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"
