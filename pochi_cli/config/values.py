"""Values as the file writes them, for messages."""

from __future__ import annotations

import json
from typing import Any


def show(value: Any) -> str:
    """Write a value as TOML does, on one line, shortened."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = json.dumps(value[:61], ensure_ascii=False)
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(show(item) for item in value[:61]) + "]"
    elif isinstance(value, dict):
        text = (
            "{ " + ", ".join(f"{key} = {show(item)}" for key, item in value.items()) + " }" if value else "{}"
        )
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def show_bytes(size: float) -> str:
    """Write a number of bytes in MiB, or in GiB where they are many."""
    if size < 10 * 2**20:
        return f"{size / 2**20:.1f} MiB"
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
