"""Pages that stand alone: one file, no request, no script but the page's own, no markup from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pochi_cli.characters import visible_lines

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = (), **values: Any) -> str:
    """Fill a template of this room; the policy of the page allows its own parts and embedded pictures only.

    Args:
        template: Name of the file.
        styles: Names of files that add to the style of all pages.
        scripts: Names of the files, in their order, that are the page's script; none by default.
        values: What it shows. Texts are escaped, and control characters in them made visible.
    """
    environment = _environment()
    css = _joined("style.css", *styles)
    script = _joined(*scripts)
    own_script = f"script-src '{_digest(script)}'; " if scripts else ""
    policy = (
        f"default-src 'none'; img-src data:; {own_script}style-src '{_digest(css)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = environment.get_template(template)
    return page.render(css=css, script=script, policy=policy, **values) + "\n"


def _joined(*names: str) -> str:
    environment = _environment()
    return "\n".join(environment.loader.get_source(environment, name)[0] for name in names)  # type: ignore[union-attr]


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pochi_cli.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible_lines(value) if type(value) is str else value,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    return environment
