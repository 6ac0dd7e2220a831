"""A report on image folders: what they hold, and all that is wrong with them at once. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pochi_cli.characters import printable
from pochi_cli.config.data import DataConfig
from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.nested import Pipeline, final_size
from pochi_cli.data.balance import balanced_weights
from pochi_cli.data.decoding import DecodedSplit, Progress, decode_splits
from pochi_cli.data.description import SplitReport, describe_split
from pochi_cli.data.duplicates import Duplicate, duplicate_findings, find_duplicates
from pochi_cli.data.findings import counted
from pochi_cli.data.prepare import find_folders
from pochi_cli.data.published import Tell
from pochi_cli.data.sizes import SizeTally, common_size
from pochi_cli.data.splits import Split, find_splits
from pochi_cli.errors import DataError, Diagnostic, Note

_MOST_NOTES = 5


@dataclass(frozen=True)
class DataReport:
    """What some data hold, and what is wrong with them.

    Attributes:
        splits: The parts; the first is the one that is trained on.
        class_weights: What `class_weights = "balanced"` gives for each of `class_names`; empty where a class
            has no images.
        imbalance: Images of the largest class for one of the smallest, in the first part; `None` likewise.
        duplicates: Groups of identical files.
        train_size, val_size: Height and width of what the transforms give, where there is a config and it is
            one size for all images.
        findings: Mistakes and doubts.
    """

    splits: tuple[SplitReport, ...]
    class_weights: tuple[float, ...]
    imbalance: float | None
    duplicates: tuple[Duplicate, ...]
    train_size: Size | None
    val_size: Size | None
    findings: tuple[Diagnostic, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that are trained on, in the order of their labels."""
        return tuple(self.splits[0].classes)

    @property
    def class_counts(self) -> tuple[tuple[str, tuple[int | None, ...]], ...]:
        """Every class's name and its number of images in each part; `None` where a part does not have it."""
        names = dict.fromkeys(name for split in self.splits for name in split.classes)
        return tuple((name, tuple(split.classes.get(name) for split in self.splits)) for name in names)

    @property
    def has_errors(self) -> bool:
        """Whether anything would stop a training."""
        return any(finding.severity == "error" for finding in self.findings)


def check_directory(
    root: Path, progress: Progress = lambda _done, _total: None, threads: int | None = None
) -> DataReport:
    """Report on a directory that holds class directories, or directories of splits such as train and val.

    Args:
        root: The directory.
        progress: As for `decode_splits`.
        threads: As for `decode_splits`.

    Raises:
        DataError: If it is missing or cannot be read.
    """
    splits, findings = find_splits(root)
    decoded = decode_splits(splits, progress, threads)
    return _report(decoded, findings, on_bad_image="error")


def check_config_data(
    config: DataConfig,
    seed: int,
    progress: Progress = lambda _done, _total: None,
    cache_root: Path | None = None,
    tell: Tell = lambda _: None,
) -> DataReport:
    """Report on the data that a config would train on.

    Args:
        config: The data's part of the config.
        seed: Decides the split.
        progress: As for `decode_splits`.
        cache_root: As for `prepare_data`.
        tell: As for `prepare_data`.

    Raises:
        DataError: If a folder is not named, missing, or cannot be read, or a published data set is
            not to be had.
        StorageError: If the digits cannot be written to the cache.
    """
    found = find_folders(config, seed, cache_root, tell)
    splits = [Split("train", found.train, found.train_key)]
    if found.val is not None:
        splits.append(Split("val", found.val, found.val_key))
    decoded = decode_splits(splits, progress)
    report = _report(decoded, found.findings, config.on_bad_image)
    train_size, mixed = _output_size(decoded[0], config.train_transform, "train_transform")
    val_size = None
    if found.val is not None and config.val_transform is not None:
        val_size, val_mixed = _output_size(decoded[1], config.val_transform, "val_transform")
        mixed += val_mixed
    return replace(report, train_size=train_size, val_size=val_size, findings=(*report.findings, *mixed))


def _report(decoded: Sequence[DecodedSplit], findings: Iterable[Diagnostic], on_bad_image: str) -> DataReport:
    splits = [part.split for part in decoded]
    counts = splits[0].index.class_counts
    has_all = bool(counts) and min(counts) > 0
    duplicates = find_duplicates(decoded)
    return DataReport(
        splits=tuple(describe_split(part) for part in decoded),
        class_weights=tuple(balanced_weights(counts)) if has_all else (),
        imbalance=max(counts) / min(counts) if has_all else None,
        duplicates=duplicates,
        train_size=None,
        val_size=None,
        findings=(
            *findings,
            *(finding for part in decoded for finding in _bad_images(part, on_bad_image)),
            *duplicate_findings(splits, duplicates),
        ),
    )


def _bad_images(part: DecodedSplit, on_bad_image: str) -> list[Diagnostic]:
    index = part.split.index
    bad = list(part.bad)
    if not bad:
        return []
    notes = [Note(f"{printable(index.file(i))}: {reason}") for i, reason in bad[:_MOST_NOTES]]
    if len(bad) > _MOST_NOTES:
        notes.append(Note(f"and {len(bad) - _MOST_NOTES:,} more"))
    of_them = f"{len(bad):,} of the {counted(len(index), 'image')}"
    told = f"{of_them} in {printable(part.split.name)} cannot be decoded"
    if on_bad_image == "skip":
        remedy = 'they are left out of the training: on_bad_image is "skip"'
        return [Diagnostic("bad-image", told, part.split.key, "warning", remedy, tuple(notes))]
    remedy = "remove or replace them" + (', or set on_bad_image = "skip"' if part.split.key else "")
    return [Diagnostic("bad-image", told, part.split.key, "error", remedy, tuple(notes))]


def _output_size(part: DecodedSplit, steps: Pipeline, key: str) -> tuple[Size | None, list[Diagnostic]]:
    index = part.split.index
    tally = SizeTally((index.file(i), facts.size) for i, facts in part.good)
    findings = tally.find_refusals(steps, key, len(index))
    if (fixed := final_size(steps)) is not None:
        return fixed, findings
    try:
        return common_size(tally.different, steps, key), findings
    except DataError as error:
        return None, [*findings, Diagnostic("mixed-sizes", error.message, (key,), help=error.hint)]
