"""The names of colormaps are matplotlib's."""

from __future__ import annotations

import matplotlib as mpl
import pytest

from pochi_cli.config.colormaps import COLORMAPS
from pochi_cli.errors import ConfigError
from tests.engine.tiny import tiny_config


def test_matplotlib_has_every_one_and_its_reverse() -> None:
    assert not {name for base in COLORMAPS for name in (base, f"{base}_r")} - set(mpl.colormaps)
    assert len(COLORMAPS) > 80


@pytest.mark.parametrize("name", ["Blues", "viridis_r", "tab20c"])
def test_a_known_one_is_taken(name: str) -> None:
    assert tiny_config(confusion_matrix_config={"cmap": name}).confusion_matrix_config.cmap == name


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("blues", 'did you mean "Blues"?'), ("virids_r", 'did you mean "viridis"?'), ("", 'use "Blues"')],
)
def test_an_unknown_one_is_refused_with_the_one_that_is_meant(name: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as error:
        tiny_config(confusion_matrix_config={"cmap": name})
    assert [diagnostic.code for diagnostic in error.value.diagnostics] == ["out-of-range"]
    assert f'"{name}" is no colormap of matplotlib' in str(error.value)
    assert remedy in str(error.value)
