"""The keys of the hyper-parameter search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pochi_cli.config.base import Items, PositiveFloat, PositiveInt, StrictModel

SamplerName = Literal["TPESampler", "RandomSampler", "CmaEsSampler", "GridSampler"]
PrunerName = Literal[
    "MedianPruner", "PercentilePruner", "SuccessiveHalvingPruner", "HyperbandPruner", "NopPruner", "none"
]
Direction = Literal["maximize", "minimize"]


class FloatRange(StrictModel):
    """Numbers between two bounds, which belong to them."""

    type: Literal["float"] = Field(description="What is drawn.")
    low: float = Field(description="Smallest value.")
    high: float = Field(description="Largest value.")
    log: bool = Field(False, description="Draw on a logarithmic scale: every power of ten equally often.")
    step: PositiveFloat | None = Field(None, description="Distance of the values, from `low` on.")


class IntRange(StrictModel):
    """Whole numbers between two bounds, which belong to them."""

    type: Literal["int"] = Field(description="What is drawn.")
    low: int = Field(description="Smallest value.")
    high: int = Field(description="Largest value.")
    log: bool = Field(False, description="Draw on a logarithmic scale.")
    step: PositiveInt = Field(1, description="Distance of the values from `low` on.")


class Choices(StrictModel):
    """One of some values of any kind."""

    type: Literal["categorical"] = Field(description="What is drawn.")
    choices: Annotated[Items[Any], Field(min_length=1)] = Field(
        description="The values, each one that the key takes."
    )


SPACES: dict[str, type[FloatRange | IntRange | Choices]] = {
    "float": FloatRange,
    "int": IntRange,
    "categorical": Choices,
}
"""What a parameter may be drawn from, by its `type`."""

Space = Annotated[FloatRange | IntRange | Choices, Field(discriminator="type")]


class OptunaConfig(StrictModel):
    """What `pochi optimize` searches, how, and for how long."""

    study_name: Annotated[str, Field(min_length=1)] = Field(
        "pochitrain_optimization", description="Name of the study in its storage."
    )
    direction: Direction = Field(
        "maximize",
        description="`maximize`: validation accuracy; `minimize`: validation loss. A trial counts with its "
        "best epoch.",
    )
    n_trials: PositiveInt = Field(20, description="Trials of the whole study, with those of earlier calls.")
    n_jobs: PositiveInt = Field(
        1,
        description="Trials that run at a time, each in a process of its own with its share of the cores; on "
        "CUDA one device after the other.",
    )
    optuna_epochs: PositiveInt = Field(10, description="Epochs of each trial, instead of `epochs`.")
    timeout_s: PositiveFloat | None = Field(
        None, description="Seconds after which no further trial begins; unlimited when omitted."
    )
    sampler: SamplerName = Field("TPESampler", description="What chooses the parameters of a trial.")
    pruner: PrunerName = Field(
        "MedianPruner",
        description="What ends hopeless trials early; `none` and `NopPruner` end none.",
    )
    storage: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Where the study is kept, so that the same command goes on with it: a URL such as "
        '`"sqlite:///optuna_study.db"`, `"postgresql://user@host/db"` or `"journal:///study.log"`. In memory '
        "when omitted.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="Seed of what is drawn.")
    search_space: Annotated[dict[str, Space], Field(min_length=1)] = Field(
        description="What is searched: key = values. A key inside a table or an array is written in quotes, "
        'as `"optimizer_params.weight_decay"` or `"train_transform[1].degrees"`; `scheduler_gamma` and '
        "`optimizer_momentum` are short for those of `scheduler_params` and `optimizer_params`."
    )
