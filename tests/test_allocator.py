"""Memory that is freed: kept for what comes next, and given back when asked."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left alone")

BLOCKS = """
import resource, sys
from pathlib import Path
from pochi_cli.allocator import keep_freed_memory, return_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
PAGE = resource.getpagesize()
SIZE = 64 * 2**20

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


def measure(mode: str, **environment: str) -> list[float]:
    command = [sys.executable, "-c", BLOCKS, mode]
    variables = {**os.environ, **environment}
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
        {"GLIBC_TUNABLES": f"glibc.malloc.arena_max=2:glibc.malloc.trim_threshold={2**20}"},
    ],
)
def test_what_the_user_chose_stays(environment: dict[str, str]) -> None:
    _, gone, _ = measure("keep", **environment)
    assert gone == pytest.approx(1, abs=0.1)


def test_other_settings_of_the_allocator_do_not_matter() -> None:
    _, gone, _ = measure("keep", MALLOC_ARENA_MAX="2")
    assert gone == pytest.approx(0, abs=0.1)
