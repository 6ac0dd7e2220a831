"""What a step of an encoder's training computes, and how the encoder is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from pochi_cli.config.embedding import DistanceLossConfig
from pochi_cli.config.recalls import recall_name
from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.data.shares import Portion
from pochi_cli.data.transfer import to_device
from pochi_cli.data.vector_loaders import VectorBatch, VectorLoader
from pochi_cli.engine.evaluate import evaluate
from pochi_cli.engine.losses import DPLossV1, DPLossV1Norm, DPLossV2, DPLossV2Norm, SampleLosses
from pochi_cli.engine.neighborhoods import Neighborhoods
from pochi_cli.engine.objectives import EpochFacts, Metrics, StepInput, Watch
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.totals import DistanceTotals
from pochi_cli.runs.epochs import EmbeddingEpoch

_COLLAPSED = 1e-4
"""Share of the spread of the vectors that the latents' must keep."""


class DistanceObjective:
    """A distance-preserving loss over all pairs of a batch, judged by recall on held-out rows.

    Args:
        config: Which losses and recalls.
        runtime: Device and precision.
        validation: The held-out rows, if there are any.
        neighborhoods: The sample of them whose neighbours are compared.
    """

    def __init__(
        self,
        config: EmbeddingConfig,
        runtime: Runtime,
        validation: VectorLoader | None,
        neighborhoods: Neighborhoods | None,
    ) -> None:
        self._team = runtime.team
        self._config = config
        self._loss = create_loss(config)
        self._runtime = runtime
        self._validation = validation
        self._neighborhoods = neighborhoods
        self._noticed: list[str] = []

    @property
    def metrics(self) -> Sequence[str]:
        """The losses and the recalls."""
        recalls = map(recall_name, self._config.measured_ks if self._neighborhoods else ())
        return ("total_loss", "rank_loss", "pairdist_loss", "val_total_loss", *recalls)

    def totals(self) -> DistanceTotals:
        """Begin to sum what an epoch gives."""
        return DistanceTotals(self._runtime)

    def prepare(self, batch: VectorBatch, epoch: int, number: int) -> StepInput:  # noqa: ARG002
        """Move a batch to the device; the whole of it is the target."""
        vectors = to_device(batch.vectors, self._runtime.device)
        whole = self._team.merge(vectors, batch.portion)
        weight = torch.full((), float(len(whole)), device=vectors.device)
        # Each process computes the losses of all pairs, and the gradient of its own latents.
        scale = 1.0 if batch.portion.is_whole else float(self._team.size)
        return StepInput(vectors, whole, weight, batch.portion, self._team.is_first, scale)

    def outputs(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Encode a batch."""
        outputs: Tensor = model(inputs)
        return outputs

    def training_losses(self, outputs: Tensor, step: StepInput) -> SampleLosses:
        """Compute the loss of a batch, times its vectors."""
        losses = self._loss(step.targets, self._of_all(outputs, step.portion))
        terms = torch.stack([losses.rank, losses.pairdist])
        return SampleLosses(losses.total * step.weight, step.weight, terms * step.weight)

    def _of_all(self, latents: Tensor, portion: Portion) -> Tensor:
        """Put the latents of a batch together; those of other processes are constants to this one."""
        if portion.is_whole:
            return latents
        others = self._team.merge(latents, portion)
        return torch.cat([others[: portion.start], latents, others[portion.stop :]])

    def validate(self, model: nn.Module, epoch: int, watch: Watch) -> Metrics:
        """Compute the total loss of the held-out rows and, where it is due, the recalls."""
        assert self._validation is not None
        steps = (
            (number, self.prepare(batch, epoch, number))
            for number, batch in self._validation.batches(epoch=0)
        )
        means = evaluate(
            model,
            model,
            self.training_losses,
            steps,
            len(self._validation),
            self.totals(),
            self._runtime,
            watch,
        )
        found: dict[str, float | None] = {"val_total_loss": means["total_loss"]}
        found |= {recall_name(k): None for k in self._config.measured_ks}
        if self._neighborhoods is not None and self._config.has_recall(epoch):
            kept = self._neighborhoods.evaluate(model, self._runtime)
            found |= {recall_name(k): value for k, value in kept.recall.items()}
            if kept.spread < _COLLAPSED:
                self._noticed.append(
                    f"the encoder collapses: after epoch {epoch} its outputs differ by "
                    f"{100 * kept.spread:.2g} % of what the vectors do; lower learning_rate, or raise "
                    "lambda_pairdist"
                )
        return found

    def noticed(self) -> Sequence[str]:
        """List what is doubtful and has not been told yet."""
        noticed, self._noticed = self._noticed, []
        return noticed

    def record(
        self, facts: EpochFacts, means: Mapping[str, float], validation: Metrics | None
    ) -> EmbeddingEpoch:
        """Make the record of an epoch."""
        found = validation or {}
        ks = self._config.measured_ks if validation is not None else ()
        return EmbeddingEpoch(
            **asdict(facts),
            total_loss=means["total_loss"],
            rank_loss=means["rank_loss"],
            pairdist_loss=means["pairdist_loss"],
            val_total_loss=found.get("val_total_loss"),
            recall={k: found[recall_name(k)] for k in ks},
        )


def create_loss(config: DistanceLossConfig) -> DPLossV1 | DPLossV1Norm | DPLossV2 | DPLossV2Norm:
    """Build the loss that the config names."""
    shared: dict[str, Any] = {
        "k": config.k,
        "lambda_rank": config.lambda_rank,
        "lambda_pairdist": config.lambda_pairdist,
        "pair_norm": config.pair_norm,
        "exclude_self": config.exclude_self,
    }
    soft: dict[str, Any] = {**shared, "tau": config.tau, "tau_mode": config.tau_mode}
    match config.loss_function:
        case "DPLossV1":
            return DPLossV1(**shared)
        case "DPLossV1Norm":
            return DPLossV1Norm(**shared)
        case "DPLossV2":
            return DPLossV2(**soft)
        case "DPLossV2Norm":
            return DPLossV2Norm(**soft)
