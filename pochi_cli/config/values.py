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
