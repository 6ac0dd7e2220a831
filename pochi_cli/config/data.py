"""The keys that choose the data and how they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from pochi_cli.config.base import (
    ByShape,
    Number,
    PathText,
    PositiveInt,
    PositiveTriple,
    StrictModel,
    Triple,
    Word,
)
from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.nested import Pipeline

DatasetName = Literal["folder", "digits"]


class NamedDataset(NamedTuple):
    """What is known of a named data set without its files.

    Attributes:
        train_images, val_images: Number of images in its own training and validation part.
        image_size: Height and width of each image.
        class_names: Its classes.
    """

    train_images: int
    val_images: int
    image_size: Size
    class_names: tuple[str, ...]


NAMED_DATASETS: Mapping[str, NamedDataset] = {"digits": NamedDataset(1438, 359, (8, 8), tuple("0123456789"))}

Workers = Annotated[Annotated[Literal["auto"], Word] | Annotated[int, Field(ge=0, le=256), Number], ByShape]

BatchSize = Annotated[Annotated[Literal["auto"], Word] | Annotated[PositiveInt, Number], ByShape]

DEFAULT_BATCH_SIZE = 32
"""Also what `auto` makes a step of, for each of accumulate_steps."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class DataConfig(StrictModel):
    """Where the images are, how they are split, batched and transformed."""

    dataset: DatasetName = Field(
        "folder",
        description="`folder`: one directory per class; `digits`: the embedded handwritten digits.",
    )
    train_data_root: PathText | None = Field(
        None,
        description="Directory of the training images, one per class inside; required for `folder`.",
    )
    val_data_root: PathText | None = Field(None, description="Directory of the validation images.")
    val_split: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Share of the training data that is split off for validation, class by class."
    )
    batch_size: BatchSize = Field(
        DEFAULT_BATCH_SIZE,
        description="Images per batch. `auto`: a step takes as many images as with the default, "
        f"{DEFAULT_BATCH_SIZE} for each of `accumulate_steps`, in as few equal batches as fit into memory; "
        "the run's own config holds both numbers that were found.",
    )
    num_workers: Workers = Field(
        "auto", description="Processes that decode and transform images; `auto` fits them to the machine."
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="An image that cannot be decoded stops the run, or is left out and listed."
    )
    mean: Triple = Field(IMAGENET_MEAN, description="Channel means for `Normalize` steps that give none.")
    std: PositiveTriple = Field(
        IMAGENET_STD, description="Channel standard deviations for `Normalize` steps that give none."
    )
    train_transform: Pipeline = Field(
        description="Steps applied to training images; must contain `ToTensor`."
    )
    val_transform: Pipeline | None = Field(
        None, description="Steps applied to validation images; required when there are any."
    )

    @property
    def images_per_batch(self) -> int:
        """`batch_size` as a number, which it is in the config that a run resolves."""
        assert self.batch_size != "auto", "batch_size is not decided yet"
        return self.batch_size

    @property
    def has_validation(self) -> bool:
        """Whether the config names validation data (the named data sets bring their own)."""
        return self.val_data_root is not None or self.val_split is not None or self.dataset != "folder"
