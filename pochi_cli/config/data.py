"""The keys that choose the data and how they are loaded."""

from __future__ import annotations

from typing import Annotated, Literal

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
from pochi_cli.config.named_datasets import PublishedName
from pochi_cli.config.steps.nested import Pipeline

DatasetName = Literal["folder", "digits", PublishedName]

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
        description="`folder`: one directory per class; `digits`: the embedded handwritten digits; "
        "the others: published data sets, downloaded when they are missing.",
    )
    train_data_root: PathText | None = Field(
        None,
        description="Directory of the training images, one per class inside; of a published data set the "
        "directory that holds its files or is to hold them. Required but for `digits`.",
    )
    val_data_root: PathText | None = Field(
        None, description="Directory of the validation images, for `folder`."
    )
    val_split: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Share of the training data that is split off for validation, class by class."
    )
    batch_size: BatchSize = Field(
        DEFAULT_BATCH_SIZE,
        description="Images per batch, of all processes. `auto`: a step takes as many as with the default, "
        f"{DEFAULT_BATCH_SIZE} for each of `accumulate_steps`, in as few equal batches as fit into memory; "
        "the run's own config holds both numbers that were found.",
    )
    num_workers: Workers = Field(
        "auto",
        description="Processes that decode and transform images, in all on a machine; `auto`: if the first "
        "batches of a run show that they gain something.",
    )
    cache: Literal["auto", "none", "ram", "disk"] = Field(
        "auto",
        description="Where decoded images are kept, the first steps applied that are the same each time. "
        "`ram`: in memory, as many as fit; `disk`: in a file that later runs find; `auto`: in memory, if "
        "they take at most a quarter of what is free.",
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
