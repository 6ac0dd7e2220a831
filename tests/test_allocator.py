"""Memory that is freed: kept for what comes next, and given back when asked."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import Mock

import pytest

from pochi_cli import allocator

LIBRARY, VERSION = platform.libc_ver()
pytestmark = [
    pytest.mark.skipif(LIBRARY != "glibc", reason="another C library is left alone"),
    pytest.mark.skipif(
        LIBRARY == "glibc" and tuple(map(int, VERSION.split("."))) < (2, 35),
        reason="it keeps no blocks as large as here",
    ),
]

BLOCKS = """
import resource, sys
from pathlib import Path
from pochi_cli.allocator import keep_freed_memory, keep_little, return_freed_memory

if sys.argv[1] != "leave":
    keep_freed_memory()
if sys.argv[1] == "load":
    keep_little()
PAGE = resource.getpagesize()
SIZE = int(sys.argv[2]) * 2**20

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE

before = faults()
for _ in range(4):
    block = b"x" * SIZE
    taken = resident()
    del block
made = faults() - before
kept = resident()
return_freed_memory()
print(made, (taken - kept) / SIZE, (taken - resident()) / SIZE)
"""


def measure(mode: str, environment: Mapping[str, str] | None = None, *, size: int = 64) -> list[float]:
    """Measure with blocks of so many MiB."""
    command = [sys.executable, "-c", BLOCKS, mode, str(size)]
    variables = {**os.environ, **(environment or {})}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    return [float(number) for number in result.stdout.split()]


LOADED = """
from unittest.mock import patch
with patch("pochi_cli.installation.keep_freed_memory") as kept:
    from pochi_cli.installation import load_torch
    load_torch()
print(kept.call_count)
"""


def test_a_process_of_ours_keeps_it() -> None:
    result = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert result.stdout == "1\n"


def test_pages_of_freed_blocks_are_used_again_and_go_back_when_asked() -> None:
    made, gone, gone_when_asked = measure("keep")
    made_by_itself, gone_by_itself, _ = measure("leave")
    assert made_by_itself / made == pytest.approx(4, rel=0.1)  # a page may be 4 KiB or 2 MiB
    assert gone == pytest.approx(0, abs=0.1)
    assert [gone_by_itself, gone_when_asked] == pytest.approx([1, 1], abs=0.1)


@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_MMAP_THRESHOLD_": str(2**20)},
        {"MALLOC_TRIM_THRESHOLD_": str(2**20)},
        {"MALLOC_MMAP_MAX_": "100000"},
        {"GLIBC_TUNABLES": f"glibc.malloc.arena_max=2:glibc.malloc.trim_threshold={2**20}"},
    ],
)
def test_what_the_user_chose_stays(environment: dict[str, str]) -> None:
    _, gone, _ = measure("keep", environment)
    assert gone == pytest.approx(1, abs=0.1)


def test_other_settings_of_the_allocator_do_not_matter() -> None:
    _, gone, _ = measure("keep", {"MALLOC_ARENA_MAX": "2"})
    assert gone == pytest.approx(0, abs=0.1)


def test_a_process_that_loads_keeps_little() -> None:
    # Of 17 MiB, as Pillow's of 16, none stays; what is smaller does.
    _, gone, _ = measure("load", size=17)
    assert gone == pytest.approx(1, abs=0.1)
    _, gone, _ = measure("load", size=8)
    assert gone == pytest.approx(0, abs=0.1)


def test_a_process_that_loads_keeps_what_the_user_chose() -> None:
    chosen = str(2**28)
    _, gone, _ = measure("load", {"MALLOC_MMAP_THRESHOLD_": chosen, "MALLOC_TRIM_THRESHOLD_": chosen})
    assert gone == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("overcommit", "keeps"), [("2\n", False), ("0\n", True), (None, True)])
def test_where_all_that_is_asked_for_counts_nothing_is_kept(
    overcommit: str | None, keeps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocator, "_OVERCOMMIT", tmp_path / "overcommit_memory")
    monkeypatch.setattr(allocator, "_glibc", libc := Mock())
    monkeypatch.setattr(allocator, "_keeps", False)
    if overcommit is not None:
        (tmp_path / "overcommit_memory").write_text(overcommit)
    allocator.keep_freed_memory()
    assert libc().mallopt.called is keeps
    assert allocator.keeps_freed_memory() is keeps


@pytest.mark.parametrize("limit", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_where_the_address_space_is_limited_nothing_is_kept(limit: int) -> None:
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (2**46, before[1]))
    try:
        _, gone, _ = measure("keep")
    finally:
        resource.setrlimit(limit, before)
    assert gone == pytest.approx(1, abs=0.1)
