"""What Pochi raises. Standard library only; every room may import it.

PochiError                   an expected failure: told without a traceback, exit code 1
├── ConfigError              the config is wrong; carries every diagnostic
├── DataError                an image folder or one of its images
├── ModelError               a model cannot be built or exported, or its weights cannot be loaded
├── DeviceError              the device or precision asked for is not there
├── RunError                 a run that is missing, damaged or cannot go on
├── StorageError             a file could not be written
├── InstallationError        a package is missing, or PyTorch and torchvision do not work together
└── TrainingError            training itself failed
    ├── NonFiniteLossError   the loss or a weight became NaN or infinite
    ├── MemoryExhaustedError the device has too little memory
    └── PeerLostError        another of the processes that train together ended
Interrupted                  SIGINT or SIGTERM was obeyed: exit code 128 + signal
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

KeyPath = tuple[str | int, ...]
"""Where a value stands in the file, e.g. ("train_transform", 0, "size")."""

Severity = Literal["error", "warning"]


def format_key(path: KeyPath) -> str:
    """Write a key path as TOML does: `train_transform[0].size`, `layer_rates."layer2\\.0"`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
        text += ("." if text else "") + (part if bare else json.dumps(part, ensure_ascii=False))
    return text


def first_line(error: BaseException) -> str:
    """What an error says in its first line, or its kind where it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__


@dataclass(frozen=True)
class Span:
    """A stretch of a text that was read.

    Attributes:
        source: A file's path, or `--set`, whose arguments count as lines.
        line, column: Where it begins, from 1; columns count characters. `None` for the file as a whole.
        end_line, end_column: The first character behind it.
        text: The line that it begins on, without its end.
    """

    source: str
    line: int | None = None
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None
    text: str = ""

    def __str__(self) -> str:
        """Write `source:line:column`."""
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class Note:
    """A second place that a diagnostic speaks of.

    Attributes:
        message: What is there.
        key: Key path of the place; empty for a remark on no place.
        span: The place, where it is known.
    """

    message: str
    key: KeyPath = ()
    span: Span | None = None


@dataclass(frozen=True)
class Diagnostic:
    """One mistake (or doubt) in a config.

    Attributes:
        code: Stable, lower-case with hyphens, such as `unknown-key`.
        message: What is wrong, in the user's terms, with the value.
        key: The key path that it is about; empty when it is about the whole file.
        severity: `error` stops the command, `warning` does not.
        help: The likely fix, or what is allowed.
        notes: Other places involved.
        at: What to point at: the key itself, or its value.
        called_by: For a key that the file lacks: the key that calls for it, which is then pointed at.
        span: The place that `key` has in what was read, where it is known.
    """

    code: str
    message: str
    key: KeyPath = ()
    severity: Severity = "error"
    help: str | None = None
    notes: tuple[Note, ...] = ()
    at: Literal["key", "value"] = "value"
    called_by: KeyPath = ()
    span: Span | None = None

    def __str__(self) -> str:
        """One line: place, severity, code, message, help and notes."""
        place = f"{self.span}: " if self.span else ""
        name = format_key(self.key)
        key = f" at `{name}`" if name and name not in self.message else ""
        remedy = f"; {self.help}" if self.help else ""
        notes = "".join(f" ({note.message}{f' at {note.span}' if note.span else ''})" for note in self.notes)
        return f"{place}{self.severity}[{self.code}]{key}: {self.message}{remedy}{notes}"


class PochiError(Exception):
    """An expected failure.

    Args:
        message: What failed, where, with the value.
        hint: The likely fix, or what is allowed.
    """

    is_told: bool | None = None
    """Whether the user is told by another of the processes that train together; `None` where none asked."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(PochiError):
    """The config cannot be used; `diagnostics` says why, every mistake at once."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(diagnostic) for diagnostic in self.diagnostics))


class DataError(PochiError):
    """An image folder, or an image in it, cannot be used.

    Args:
        message: What failed, where, with the value.
        hint: The likely fix, or what is allowed.
        diagnostics: Every mistake, where several can be told at once.
    """

    def __init__(self, message: str, hint: str | None = None, diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message, hint)
        self.diagnostics = tuple(diagnostics)


class ModelError(PochiError):
    """A model cannot be built or exported or take this input, or its weights cannot be loaded."""


class DeviceError(PochiError):
    """The device or the precision asked for is not there."""


class RunError(PochiError):
    """A run is missing, damaged, or cannot go on."""


class StorageError(PochiError):
    """A file or directory could not be written."""


class InstallationError(PochiError):
    """A package that is needed is missing or of another version, or two do not work together."""


class TrainingError(PochiError):
    """Training failed."""


class NonFiniteLossError(TrainingError):
    """The loss or a weight became NaN or infinite."""


class MemoryExhaustedError(TrainingError):
    """The device has too little memory for this batch."""


class PeerLostError(TrainingError):
    """Another of the processes that train together ended.

    Args:
        reason: What it said, or that it said nothing.
        is_told: Whether it told the user itself.
    """

    def __init__(self, reason: str, *, is_told: bool) -> None:
        super().__init__(reason)
        self.is_told = is_told


class Interrupted(BaseException):
    """SIGINT or SIGTERM was obeyed, after saving. Like KeyboardInterrupt it is no Exception.

    Args:
        signal_number: The signal; the exit code is 128 plus it.
        message: What was saved and how to go on.
    """

    is_told = False
    """As for `PochiError`."""

    def __init__(self, signal_number: int, message: str = "") -> None:
        super().__init__(message or f"interrupted by signal {signal_number}")
        self.signal_number = signal_number
