"""`pochi train` that notes when its work began and ended: `python marked_train.py FILE CONFIG [OPTION...]`.

FILE gets three times in seconds since 1970, as JSON: when torch had been loaded, when the first optimizer
step was done, and when the last module's forward pass or optimizer step was.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pochi_cli import installation
from pochi_cli.app import main

MARKS: dict[str, float] = {}


def first_and_last(*_: object) -> None:
    """Note a step."""
    MARKS.setdefault("first", time.time())
    last(*_)


def last(*_: object) -> None:
    """Note that there was work."""
    MARKS["last"] = time.time()


def load_torch() -> None:
    """Load it as the command does, then watch it work."""
    command_load_torch()
    from torch.nn.modules.module import register_module_forward_hook
    from torch.optim.optimizer import register_optimizer_step_post_hook

    MARKS["loaded"] = time.time()
    register_optimizer_step_post_hook(first_and_last)
    register_module_forward_hook(last)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    sys.argv[:] = ["pochi", "train", *sys.argv[2:]]
    command_load_torch = installation.load_torch
    installation.load_torch = load_torch
    try:
        main()
    finally:
        file.write_text(json.dumps(MARKS))
