"""Fonts for names in any script.

The usual one, then those of the system for Chinese, Japanese and Korean, then that of `pochi[cjk]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from logging import LogRecord, getLogger
from pathlib import Path
from unicodedata import east_asian_width

# What the files of such fonts are called, on Linux, macOS and Windows; the first that is found comes first.
_FILES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"NotoSans(CJK|JP|KR|SC|TC|HK)\b.*(Regular|Bold|VF|wght)",
        r"SourceHanSans.*(Regular|Bold)",
        r"Hiragino|ヒラギノ角ゴシック W[36]|YuGoth[RB]|meiryo|msgothic",
        r"AppleSDGothicNeo|malgun|NanumGothic\.",
        r"PingFang|msyh|simhei|wqy-(zenhei|microhei)",
        r"ipaexg|ipag\b|TakaoGothic|VL-Gothic-Regular",
        r"DroidSansFallback|unifont",
    )
)
_PACKAGE = "matplotlib_fontja"
_MAX_SHOWN = 8
"""Characters without a glyph that are told."""


@cache
def has_glyph(character: str) -> bool:
    """Whether a character can be drawn; where the usual font lacks it, the others are added."""
    from matplotlib.font_manager import FontProperties

    usual = FontProperties().get_family()
    return _has_glyph(usual, character) or _has_glyph(list(add_fallbacks()), character)


@cache
def add_fallbacks() -> tuple[str, ...]:
    """Let text be drawn, glyph by glyph, in the first family that has it.

    This is a setting of matplotlib as a whole, since tick labels are made when a figure is drawn. It adds to
    the user's own: what could be drawn before looks as before. The files are looked up, not matplotlib's
    list of them: that is kept from run to run and knows no new fonts. A family without a bold weight is no
    news: in a bold title it is drawn as it is.

    Returns:
        The families, the usual ones first.
    """
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager, get_font

    found = FontProperties().get_family()
    files = sorted(findSystemFonts())
    of_system = [[file for file in files if pattern.search(Path(file).name)] for pattern in _FILES]
    for matching in (*of_system, _packaged_files()):
        for path in matching:  # of all weights
            fontManager.addfont(path)
        found += [get_font(matching[0]).family_name] if matching else []
    families = tuple(dict.fromkeys(found))
    rcParams["font.family"] = list(families)
    getLogger("matplotlib.font_manager").addFilter(_is_news)
    return families


def _is_news(record: LogRecord) -> bool:
    return "Failed to find font weight" not in str(record.msg)


def _packaged_files() -> list[str]:
    """Find the font of the optional package; to import it would change matplotlib's settings."""
    spec = find_spec(_PACKAGE)
    directories = (spec and spec.submodule_search_locations) or ()
    return sorted(str(path) for directory in directories for path in Path(directory).rglob("*.ttf"))


def font_advice(texts: Iterable[str]) -> str | None:
    """Say which characters no font has and what to install; `None` where all can be drawn."""
    printable = (character for text in texts for character in text if character.isprintable())
    missing = [character for character in dict.fromkeys(printable) if not has_glyph(character)]
    if not missing:
        return None
    shown = "".join(missing[:_MAX_SHOWN]) + (" ..." if len(missing) > _MAX_SHOWN else "")
    return f"no font was found with glyphs for {shown}: they are drawn as escapes{_remedy(missing)}"


def _remedy(missing: Sequence[str]) -> str:
    if any(map(_is_east_asian, missing)):
        return '; install a font such as Debian\'s fonts-noto-cjk, or pip install "pochi[cjk]" for Japanese'
    # Unifont has Unicode's first plane; for what lies beyond, such as pictograms, no font is looked for.
    return "; install a font such as Debian's fonts-unifont" if min(missing) < "\U00010000" else ""


def _is_east_asian(character: str) -> bool:
    """Whether it belongs to Chinese, Japanese or Korean; pictograms, which are as wide, do not."""
    return east_asian_width(character) in "WFH" and character.isalpha()


def _has_glyph(families: list[str], character: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = (findfont(FontProperties(family=[family])) for family in families)
    return any(get_font(file).get_char_index(ord(character)) for file in files)
