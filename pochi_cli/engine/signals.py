"""SIGINT and SIGTERM end a run in good order: the step is finished and the state saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalFlag:
    """Remembers the signal that asked to stop.

    Attributes:
        number: The signal, or `None`.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: SIGINT came a second time.
        """
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def noting_signals() -> Iterator[SignalFlag]:
    """Note SIGINT and SIGTERM inside the block instead of obeying them at once.

    A second SIGINT raises KeyboardInterrupt. Only the main thread can handle signals; in another one
    they keep their meaning.
    """
    flag = SignalFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = {number: signal.signal(number, flag.note) for number in _SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
