"""Checkpoints: tensors and plain values only, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pochi_cli.errors import RunError, first_line
from pochi_cli.runs.atomic import atomic_writer

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
        with atomic_writer(path) as file:
            temporary = Path(file.name)
            temporary.unlink()
            try:
                os.link(first, temporary)
            except OSError:
                shutil.copyfile(first, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it is ever executed.

    Raises:
        RunError: It is missing, damaged, of a newer format, or holds more than tensors and plain values.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunError(f"there is no checkpoint {path}") from None
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{path} is refused: it holds more than tensors and plain values",
            hint="only checkpoints that Pochi wrote can be resumed; for other weights use the key `weights`",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise RunError(f"{path} is damaged: {first_line(error)}") from error
    if not isinstance(content, dict) or "format_version" not in content:
        raise RunError(f"{path} is not a checkpoint of Pochi")
    if content["format_version"] > FORMAT_VERSION:
        raise RunError(
            f"{path} has format {content['format_version']}, this version reads up to {FORMAT_VERSION}",
            hint="update Pochi",
        )
    return content
