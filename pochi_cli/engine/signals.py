"""SIGINT, SIGTERM and SIGHUP end a run in good order: the step is finished and the state saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP comes when the terminal is closed; Windows has none.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class SignalFlag:
    """Remembers the signal that asked to stop.

    Attributes:
        number: The signal, or `None`.
        at_once: Whether SIGINT came a second time. Whatever is raised from then on is its consequence, in
            whichever form the library that it hit passes it on.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.at_once = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: SIGINT came a second time; later ones are ignored.
        """
        if self.number is not None and number == signal.SIGINT and not self.at_once:
            self.at_once = True
            raise KeyboardInterrupt
        self.number = self.number or number


@contextmanager
def noting_signals() -> Iterator[SignalFlag]:
    """Note these signals inside the block instead of obeying them at once.

    A second SIGINT raises KeyboardInterrupt. Only the main thread can handle signals; in another one
    they keep their meaning. So does one that is ignored, as under nohup.
    """
    flag = SignalFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, flag.note) for number in heeded}
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
