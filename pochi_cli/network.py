"""What every download observes. Standard library only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

NETWORK_TIMEOUT_S = 30.0


@contextmanager
def network_timeout() -> Iterator[None]:
    """Give up on a silent server: torch's and torchvision's downloaders set no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
