"""How torch comes into a process."""

from __future__ import annotations

import gc
import subprocess
import sys

from pochi_cli.installation import load_torch

FRESH = """
import gc
from pochi_cli.installation import load_torch
load_torch()
import sys
print("torchvision" in sys.modules, gc.isenabled(), gc.get_freeze_count() > 100_000)
"""


def test_a_process_of_ours_looks_for_no_garbage_in_torch() -> None:
    result = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "True", "True"]


def test_objects_of_a_process_that_had_torch_before_stay_garbage_when_they_are() -> None:
    before = gc.get_freeze_count()
    load_torch()
    assert gc.get_freeze_count() == before
