"""Checkpoints: tensors and plain values only, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pochi_cli.errors import RunError, first_line
from pochi_cli.runs.atomic import atomic_writer, temporary_beside
from pochi_cli.runs.records import require_file

FORMAT_VERSION = 1


def save_checkpoint(content: dict[str, Any], paths: Sequence[Path]) -> None:
    """Write one checkpoint under one or more names, in this order.

    It is written once; further names are hard links to it where the file system has them. Files that had
    these names are replaced, never changed.

    Raises:
        StorageError: Writing failed; what was there before is unchanged.
    """
    first, *others = paths
    with atomic_writer(first) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch's writer hides the reason, such as a full disk, behind an error of its own.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
    for path in others:
        copy_checkpoint(first, path)


def copy_checkpoint(source: Path, path: Path) -> None:
    """Give a checkpoint one more name: a hard link, or a copy where the file system has none.

    Raises:
        StorageError: Writing failed.
    """
    temporary = temporary_beside(path)
    try:
        os.link(source, temporary)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):  # then the writer says what is wrong
            temporary.unlink(missing_ok=True)
        with atomic_writer(path) as file, source.open("rb") as whole:
            shutil.copyfileobj(whole, file)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it is ever executed.

    Raises:
        RunError: It is missing, damaged, of a newer format, or holds more than tensors and plain values.
    """
    check_whole(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{path} is refused: it holds more than tensors and plain values",
            hint="only checkpoints that Pochi wrote can be resumed; for other weights use the key `weights`",
        ) from error
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        raise RunError(f"{path} is damaged: {first_line(error)}") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise RunError(f"{path} is not a checkpoint of Pochi")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path} has format {version}, this version reads up to {FORMAT_VERSION}", hint="update Pochi"
        )
    checkpoint: dict[str, Any] = content
    return checkpoint


def load_weights(model: nn.Module, checkpoint: dict[str, Any], path: Path) -> bool:
    """Load the weights that count: the averaged ones, where an average was kept.

    Args:
        model: Built as the checkpoint's config says.
        checkpoint: As `load_checkpoint` gives it.
        path: Where it lies, for the message.

    Returns:
        Whether they are averaged.

    Raises:
        RunError: They do not fit the model, or there are none.
    """
    try:
        average = checkpoint["ema_state_dict"]
        model.load_state_dict(checkpoint["model_state_dict"] if average is None else average["model"])
    except KeyError as error:
        raise RunError(f"{path} is incomplete: it has no {error}") from error
    except (RuntimeError, TypeError, AttributeError) as error:
        raise RunError(f"{path} does not fit the run's own config: {first_line(error)}") from error
    return average is not None


def check_whole(path: Path) -> None:
    """Compare the check sums inside a checkpoint, which torch itself does not.

    Raises:
        RunError: It is missing or damaged.
    """
    if not os.path.lexists(path):
        raise RunError(f"there is no checkpoint {path}")
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise RunError(f"{path} is refused: parts of it are compressed, as torch.save makes none")
            damaged = archive.testzip()
    except PermissionError as error:
        raise RunError(f"cannot read {path}: {error.strerror}", hint="mend its permissions") from error
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
        raise RunError(f"{path} is damaged, or no checkpoint: {first_line(error)}") from error
    if damaged is not None:
        raise RunError(f"{path} is damaged: the check sum of its part {damaged} is wrong")
