"""What the stress scripts have in common: a place to work in, a training, and how they end."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pochi_cli.data.digits import write_digits
from tests.commands.cli import write_toml
from tests.data.few import write_few_digits
from tests.engine.tiny import tiny_raw
from tests.engine.trained import EVERYTHING


def say(text: str = "") -> None:
    """Print a line at once, also into a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parser(module_doc: str | None) -> argparse.ArgumentParser:
    """Make the parser of a script, with the option that all have."""
    options = argparse.ArgumentParser(
        description=module_doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--keep", type=Path, metavar="DIR", help="work in this new directory, and keep it")
    return options


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """Make the directory that a script works in.

    It is removed at the end, unless it is to be kept or an assertion failed: that ends the script with exit
    code 1 and the reason.
    """
    directory = keep or Path(tempfile.mkdtemp(prefix="pochi-stress-"))
    directory.mkdir(parents=True, exist_ok=keep is None)
    try:
        yield directory.resolve()
    except AssertionError as error:
        sys.exit(f"FAILED: {error}\nthe files are in {directory}")
    if keep is None:
        shutil.rmtree(directory)


def write_config(directory: Path, train: tuple[int, ...], val: tuple[int, ...], **changes: Any) -> Path:
    """Write a training on a few digits with all that has a state switched on: data and config.

    Args:
        directory: Where to.
        train: Number of training images of each class.
        val: Number of validation images of each class.
        changes: Keys that are different; `None` removes one.
    """
    if not (directory / "digits").exists():
        write_digits(directory / "digits")
    data = write_few_digits(directory / "digits", directory / "data", train, val)
    settings = {
        **EVERYTHING,
        "class_weights": "balanced",
        "monitor": {"enabled": True},
        "enable_tensorboard": True,
        "threads": 1,
        "num_workers": 0,
    }
    return write_toml(directory / "config.toml", tiny_raw(data, **{**settings, **changes}))
