"""The strict model that every part of the config is made of, and the types that they share."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Strict, Tag

T = TypeVar("T")


class StrictModel(BaseModel):
    """A part of the config: unknown keys are errors, nothing is coerced, nothing is changed later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# TOML has arrays, frozen models hold tuples: the container alone may be converted, its items may not.
Items = Annotated[tuple[T, ...], Strict(False)]
Pair = Annotated[tuple[T, T], Strict(False)]

Triple = Annotated[tuple[float, float, float], Strict(False)]

PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
PositiveTriple = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], Strict(False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _without_controls(path: str) -> str:
    """Refuse what no path holds on purpose: `"data\\new"` in double quotes has a line end in it."""
    if control := next((character for character in path if character < " "), None):
        raise ValueError(
            f"holds a control character (U+{ord(control):04X}); in double quotes a backslash begins an "
            "escape: put the path in single quotes, or write /"
        )
    return path


PathText = Annotated[str, Field(min_length=1), AfterValidator(_without_controls)]


def shape_of(value: Any) -> str:
    """Tell the branches of a union apart by the form of the value, so that only one of them complains.

    Returns:
        `word` for a string, `list` for an array, `number` for anything else.
    """
    if isinstance(value, str):
        return "word"
    if isinstance(value, list | tuple):
        return "list"
    return "number"


ByShape = Discriminator(shape_of)
Word = Tag("word")
List = Tag("list")
Number = Tag("number")
