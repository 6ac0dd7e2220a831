"""The names of matplotlib's colormaps, without matplotlib."""

from __future__ import annotations

import difflib

COLORMAPS = frozenset({
    "magma", "inferno", "plasma", "viridis", "cividis", "twilight", "twilight_shifted", "turbo", "Blues",
    "BrBG", "BuGn", "BuPu", "CMRmap", "GnBu", "Greens", "Greys", "OrRd", "Oranges", "PRGn", "PiYG", "PuBu",
    "PuBuGn", "PuOr", "PuRd", "Purples", "RdBu", "RdGy", "RdPu", "RdYlBu", "RdYlGn", "Reds", "Spectral",
    "Wistia", "YlGn", "YlGnBu", "YlOrBr", "YlOrRd", "afmhot", "autumn", "binary", "bone", "brg", "bwr",
    "cool", "coolwarm", "copper", "cubehelix", "flag", "gist_earth", "gist_gray", "gist_grey", "gist_heat",
    "gist_ncar", "gist_rainbow", "gist_stern", "gist_yarg", "gist_yerg", "gnuplot", "gnuplot2", "gray",
    "grey", "hot", "hsv", "jet", "nipy_spectral", "ocean", "pink", "prism", "rainbow", "seismic", "spring",
    "summer", "terrain", "winter", "Accent", "Dark2", "Paired", "Pastel1", "Pastel2", "Set1", "Set2",
    "Set3", "tab10", "tab20", "tab20b", "tab20c",
})  # fmt: skip
"""Those of every version that may be installed; each has a reverse, whose name ends in `_r`."""


def known_colormap(name: str) -> str:
    """Refuse a name that matplotlib does not know.

    Raises:
        ValueError: It does not.
    """
    if name.removesuffix("_r") not in COLORMAPS:
        by_folded = {known.casefold(): known for known in sorted(COLORMAPS)}
        close = difflib.get_close_matches(name.removesuffix("_r").casefold(), by_folded, n=1)
        remedy = f'did you mean "{by_folded[close[0]]}"?' if close else 'use "Blues", "viridis", "Greys", ...'
        raise ValueError(f'"{name}" is no colormap of matplotlib\'s; {remedy}')
    return name
