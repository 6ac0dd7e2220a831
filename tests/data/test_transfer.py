"""Copies to a device: who waits for whom."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pochi_cli.data.transfer import to_device


class Values:
    """Notes what is done with it."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.done: list[Any] = []

    def pin_memory(self) -> Values:
        self.done.append("pinned")
        return self

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Values:
        self.done.append((device.type, non_blocking))
        return self


@pytest.mark.parametrize(
    ("source", "device", "expected"),
    [
        ("cpu", "cuda", ["pinned", ("cuda", True)]),
        ("cuda", "cuda", [("cuda", False)]),
        # What lies in memory that can be paged out must not be freed before it is copied.
        ("cpu", "mps", [("mps", False)]),
        ("cpu", "cpu", [("cpu", False)]),
    ],
)
def test_only_page_locked_memory_is_not_waited_for(source: str, device: str, expected: list[Any]) -> None:
    values = Values(source)
    to_device(values, torch.device(device))  # type: ignore[arg-type]
    assert values.done == expected


def test_what_is_there_is_not_copied() -> None:
    values = torch.arange(3)
    assert to_device(values, torch.device("cpu")) is values
    assert to_device(values, torch.device("meta")).device.type == "meta"
