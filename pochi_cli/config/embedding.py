"""The keys of the embedding task: the vectors, the encoder, its loss and how it is judged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pochi_cli.config.base import (
    Items,
    NonNegative,
    PathText,
    PositiveFloat,
    PositiveInt,
    StrictModel,
)
from pochi_cli.config.optim import LearningRate, OptimConfig, OptimizerName, StoppingConfig

DIGITS = "digits"
"""What `train_vectors` is for the embedded digits: no file."""

LossName = Literal["DPLossV1", "DPLossV1Norm", "DPLossV2", "DPLossV2Norm"]
Metric = Literal["l2", "cosine", "ip"]


class EncoderConfig(StrictModel):
    """Which encoder, and how it starts."""

    latent_dim: PositiveInt = Field(512, description="Dimensions of the encoded vectors.")
    hidden_dims: Items[PositiveInt] = Field(
        (768,), description="Width of each hidden layer; [] for a linear encoder."
    )
    init: Literal["pca_residual", "random"] = Field(
        "pca_residual",
        description="`pca_residual`: a projection that starts as the principal components, plus the layers, "
        "of which the last starts at zero; needs `latent_dim` of at most the vectors' dimensions. `random`: "
        "the layers alone.",
    )


class VectorDataConfig(StrictModel):
    """Where the vectors are, and how they are split and batched."""

    train_vectors: PathText = Field(
        description="File of the vectors, one a row: .npy (memory-mapped), .npz, .parquet or .jsonl; or "
        "`digits`: the pixels of the embedded handwritten digits, 1,797 vectors of 64 dimensions."
    )
    vector_column: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Column of a .parquet, field of a .jsonl, array of a .npz with several; `embedding` when "
        "omitted.",
    )
    holdout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="Share of the rows that are never trained on; recall is measured on them."
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        512, description="Vectors per batch; the loss compares all pairs of a batch."
    )


class DistanceLossConfig(StrictModel):
    """What the loss is made of."""

    loss_function: LossName = Field(
        "DPLossV2",
        description="`DPLossV2`: soft ranks, which have a gradient; `DPLossV1`: hard ranks, which have none "
        "and are only watched. With `Norm` ranks are divided by their number.",
    )
    tau: PositiveFloat = Field(
        1.0,
        description="Temperature of the soft ranks of the V2 losses: 0.1 to 0.5 gives sharper ranks, 2 to 5 "
        "smoother ones.",
    )
    tau_mode: Literal["absolute", "relative"] = Field(
        "absolute",
        description="`relative`: `tau` times the standard deviation of each row's distances, which suits "
        "vectors of any length.",
    )
    lambda_rank: NonNegative = Field(1.0, description="Weight of the rank term.")
    lambda_pairdist: NonNegative = Field(0.3, description="Weight of the squared differences of distances.")
    pair_norm: bool = Field(
        False, description="Divide the squared differences by the mean squared distance of the inputs."
    )
    exclude_self: bool = Field(
        False, description="Leave each vector's distance to itself out of ranks and means."
    )
    k: PositiveInt = Field(
        5, description="Neighbours that matter: divisor of the V1 rank terms, and the recall that is watched."
    )

    @property
    def has_soft_ranks(self) -> bool:
        """Whether its ranks have a temperature, and a gradient."""
        return self.loss_function.startswith("DPLossV2")

    def loss_arguments(self) -> dict[str, Any]:
        """List what the loss is made of, beside its name: the temperature, and what is not as by default."""
        values = self.model_dump(
            mode="json", include=set(DistanceLossConfig.model_fields) - {"loss_function"}
        )
        defaults = DistanceLossConfig().model_dump(mode="json")
        told = {key: value for key, value in values.items() if value != defaults[key] or key == "tau"}
        return told if self.has_soft_ranks else {key: told[key] for key in told if not key.startswith("tau")}


class RecallConfig(StrictModel):
    """How an encoder is judged: which share of the nearest neighbours stays."""

    recall_ks: Annotated[Items[PositiveInt], Field(min_length=1)] = Field(
        (1, 5, 10, 50), description="Numbers of neighbours of which the recall is measured, besides `k`."
    )
    recall_every_epochs: PositiveInt | None = Field(
        None,
        description="Epochs from one with a recall to the next; the last always has one. `save_interval` "
        "when omitted.",
    )
    recall_samples: Annotated[int, Field(ge=2)] = Field(
        3000, description="Held-out rows that are both queries and pool; all, if there are fewer."
    )
    metric: Metric = Field("l2", description="What neighbours are near by: `l2`, `cosine`, `ip`.")


class EmbeddingStoppingConfig(StoppingConfig):
    """When to stop before the last epoch, and which metric chooses the best encoder."""

    min_delta: NonNegative = Field(
        0.0, description="Smallest change that counts as improvement, in the monitored metric's own unit."
    )
    monitor: Annotated[str, Field(pattern=r"^(val_total_loss|recall_at_[1-9][0-9]{0,5})$")] | None = Field(
        None,
        description="Metric that is watched, and chooses the best encoder: `recall_at_<k>` or "
        "`val_total_loss`. The recall of the config's `k` when omitted.",
    )


class EmbeddingOptimConfig(OptimConfig):
    """How the encoder is learnt: as any model, with other defaults."""

    epochs: PositiveInt = Field(100, description="Passes over the training data.")
    learning_rate: LearningRate = Field(0.001, description="Learning rate, before the scheduler changes it.")
    optimizer: OptimizerName = Field("Adam", description="Algorithm that updates the weights.")
    early_stopping: EmbeddingStoppingConfig = Field(
        EmbeddingStoppingConfig(),
        description="When to stop before the last epoch, and which metric chooses the best encoder.",
    )
