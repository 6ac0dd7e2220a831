"""Attention of a network to one input, and where its tokens lie. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]

CLASS_NAME = "class"
"""What the token is called that a Vision Transformer classifies by."""


@dataclass(frozen=True)
class PatchGrid:
    """How the tokens of a layer lie on an image: row by row, perhaps in windows.

    Windows are those of Swin (Liu et al., arXiv:2103.14030).

    Attributes:
        rows, columns: Patches of the layer over the whole image, those that only fill up windows left out.
        prefix: Tokens before the patches, such as the class token; 0 with windows.
        window: Height and width of a window in patches; `None` where the tokens are those of the whole image.
        shift: By how many patches the image is rolled up and to the left before it is cut into windows.
    """

    rows: int
    columns: int
    prefix: int = 0
    window: tuple[int, int] | None = None
    shift: tuple[int, int] = (0, 0)

    @property
    def windows(self) -> tuple[int, int]:
        """Rows and columns of windows; (1, 1) without."""
        if self.window is None:
            return 1, 1
        return -(-self.rows // self.window[0]), -(-self.columns // self.window[1])

    @property
    def tokens(self) -> int:
        """Tokens of a window."""
        if self.window is None:
            return self.prefix + self.rows * self.columns
        return self.window[0] * self.window[1]

    def patches(self, window: int = 0) -> Indices:
        """Find the patch of each token.

        Args:
            window: Which window, row by row.

        Returns:
            (tokens,): row * columns + column of the token's patch; -1 for a token that is none.
        """
        if self.window is None:
            return np.concatenate([np.full(self.prefix, -1), np.arange(self.rows * self.columns)])
        (height, width), (down, across) = self.window, self.windows
        top, left = divmod(window, across)
        rows = (top * height + np.arange(height) + self.shift[0]) % (down * height)
        columns = (left * width + np.arange(width) + self.shift[1]) % (across * width)
        at = rows[:, None] * self.columns + columns
        is_there = (rows < self.rows)[:, None] & (columns < self.columns)
        return np.where(is_there, at, -1).ravel()

    def names(self, window: int = 0) -> tuple[str, ...]:
        """Name the tokens: `class`, then `row,column` from 1 on; what only fills up a window is `padding`."""
        patches = self.patches(window)
        names = [
            f"{at // self.columns + 1},{at % self.columns + 1}" if at >= 0 else "padding" for at in patches
        ]
        extra = [CLASS_NAME, *(f"extra {number}" for number in range(1, self.prefix))][: self.prefix]
        return (*extra, *names[self.prefix :])


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """The attention of one layer.

    Attributes:
        name: Dotted name of the module; a second call in the same pass has `#2` behind it, and so on.
        weights: float32 (windows, heads, queries, keys), at least 0; a row sums to 1, or is NaN where every
            key is masked. There is one window unless `grid` says otherwise.
        query_names, key_names: What the tokens are called, for windows those of the first.
        grid: Where the tokens lie on the image; `None` for text.
        is_crossing: Whether the keys are other tokens than the queries, whatever their names.
    """

    name: str
    weights: Weights
    query_names: tuple[str, ...]
    key_names: tuple[str, ...]
    grid: PatchGrid | None = None
    is_crossing: bool = False

    @property
    def heads(self) -> int:
        """How many there are."""
        return int(self.weights.shape[1])

    @property
    def is_self_attention(self) -> bool:
        """Whether the queries are the keys."""
        return not self.is_crossing and self.query_names == self.key_names

    def names(self, window: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Name the queries and the keys of a window."""
        if self.grid is None:
            return self.query_names, self.key_names
        names = self.grid.names(window)
        return names, names


@dataclass(frozen=True, eq=False)
class AttendedInput:
    """One input, and the attention of each layer to it.

    Attributes:
        name: What it is called, such as the name of its file, or the sentence.
        layers: From the input to the output, at least one.
        image: What the network saw of an image, uint8 (height, width, 3); `None` for text.
        prediction: What the network made of it, in words; `None` where nothing is said.
    """

    name: str
    layers: tuple[AttentionLayer, ...]
    image: Pixels | None = None
    prediction: str | None = None


@dataclass(frozen=True)
class Faithfulness:
    """Whether what a map calls important is so for the network (Petsiuk et al., arXiv:1806.07421).

    Deletion: the probability of the class while the most important cells are taken away first, averaged over
    their share; the lower the better. Insertion: while they are put in first; the higher the better.

    Attributes:
        deletion, insertion: Of the map, 0 to 1.
        random_deletion, random_insertion: The same of maps that order the cells at random, one each.
    """

    deletion: float
    insertion: float
    random_deletion: tuple[float, ...]
    random_insertion: tuple[float, ...]

    @property
    def score(self) -> float:
        """Insertion less deletion, -1 to 1."""
        return self.insertion - self.deletion

    @property
    def random_scores(self) -> tuple[float, ...]:
        """The same of the random maps."""
        pairs = zip(self.random_insertion, self.random_deletion, strict=True)
        return tuple(insertion - deletion for insertion, deletion in pairs)

    @property
    def beaten(self) -> float:
        """Share of the random maps with a lower score, 0 to 1."""
        return sum(score < self.score for score in self.random_scores) / len(self.random_scores)


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """How important the parts of an image are.

    Attributes:
        method: `class-token attention`, `attention rollout`, `Grad-CAM` or `LayerCAM`.
        layer: The module that it is of; empty where it is of several.
        values: float64 (rows, columns), at least 0, the larger the more important.
        faithfulness: Whether the network agrees; `None` where that was not tried.
    """

    method: str
    layer: str
    values: NDArray[np.float64]
    faithfulness: Faithfulness | None = None
