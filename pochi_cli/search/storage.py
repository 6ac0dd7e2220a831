"""Where studies are kept."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from pochi_cli.errors import InstallationError, StorageError, first_line

_JOURNAL = "journal:///"
_SQLITE = "sqlite:///"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_MAKING_S = 10.0
_PATIENCE_S = 60
"""How long a process waits while another writes into the same SQLite file."""


def open_storage(url: str | None) -> BaseStorage:
    """Open a storage; make its file or its tables where they are missing.

    Args:
        url: As Optuna takes them, or `journal:///` and the path of a file; `None` for memory.

    Raises:
        StorageError: It cannot be opened.
        InstallationError: The driver of its database is missing.
    """
    if url is None:
        return InMemoryStorage()
    shown = without_password(url)
    for scheme in (_JOURNAL, _SQLITE):
        if url.startswith(scheme) and not (parent := Path(url.removeprefix(scheme)).parent).is_dir():
            raise StorageError(f"cannot open {shown}: there is no directory {parent}", "make it first")
    try:
        if url.startswith(_JOURNAL):
            journal = JournalStorage(JournalFileBackend(url.removeprefix(_JOURNAL)))
            journal.get_all_studies()
            return journal
        return _open_database(url)
    except ImportError as error:
        missing = error.__cause__ or error  # Optuna says so in words of its own
        name = str(getattr(missing, "name", None))
        raise InstallationError(
            f"cannot open {shown}: its driver is missing ({first_line(missing)})",
            hint=f"pip install {_PACKAGES.get(name, name)}",
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise StorageError(
            f"cannot open {shown}: {first_line(error)}",
            "such as sqlite:///study.db, postgresql://user@host/db, mysql://user@host/db or journal:///study.log",
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise StorageError(f"cannot open {shown}: the file is no journal of Optuna's") from error
    except (SQLAlchemyError, OSError, RuntimeError) as error:
        raise StorageError(f"cannot open {shown}: {first_line(error)}") from error
    except ValueError as error:  # a port that is no number
        raise StorageError(f"cannot open {shown}: it is no valid URL") from error


def require_stored(url: str) -> None:
    """Make sure that the file of a storage is there, if it is one.

    Raises:
        StorageError: It is not; to open it would make it.
    """
    for scheme in (_JOURNAL, _SQLITE):
        if url.startswith(scheme) and not (path := Path(url.removeprefix(scheme))).is_file():
            raise StorageError(f"there is no storage {path}", "pochi optimize makes one")


def _open_database(url: str) -> RDBStorage:
    """Open a database; where another process is just making its tables, wait until they are there.

    Raises:
        SQLAlchemyError: It cannot be opened.
    """
    deadline = time.monotonic() + _MAKING_S
    while True:
        try:
            return _open_sqlite(url) if url.startswith("sqlite:") else RDBStorage(url)
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            is_being_made = any(word in str(error) for word in ("UNIQUE", "already exists", "duplicate key"))
            if not is_being_made or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _open_sqlite(url: str) -> RDBStorage:
    """Open a SQLite file so that what a transaction has read is still true when it writes.

    Python's driver lets a transaction begin with its first change: of two processes that take a trial, both
    may have read that it waits.
    """
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _PATIENCE_S}})

    def on_connect(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "connect", on_connect)
    event.listen(storage.engine, "begin", on_begin)
    storage.engine.dispose()  # connections that were made before
    return storage


_PACKAGES = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""What to install for a driver."""


def without_password(url: str) -> str:
    """Write a storage's URL as it may be shown and recorded."""
    if url.startswith(_JOURNAL):
        return url
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return f"{url.partition(':')[0]}:..."
    parsed = parsed.set(query=dict.fromkeys(parsed.query, "hidden"))
    return parsed.render_as_string(hide_password=True)


@contextmanager
def storage_errors(url: str | None) -> Iterator[None]:
    """Tell of a storage that fails while it is used.

    Raises:
        StorageError: It did.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        shown = "the study" if url is None else without_password(url)
        raise StorageError(
            f"{shown} cannot be read or written: {first_line(error.__cause__ or error)}",
            "mend it; the same command then goes on with the study",
        ) from error
    except OSError as error:  # a journal, which is written as a file
        if url is None or error.errno not in _DISK_ERRORS:
            raise
        raise StorageError(f"{without_password(url)} cannot be written: {error.strerror}") from error
