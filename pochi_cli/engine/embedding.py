"""What of a training is about encoding vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pochi_cli.config.embedding import DIGITS
from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.config.values import show
from pochi_cli.data.batches import Loaders
from pochi_cli.data.published import Tell
from pochi_cli.data.sampling import derive_seed
from pochi_cli.data.vector_demands import check_demands, open_train_vectors
from pochi_cli.data.vector_loaders import VectorLoader
from pochi_cli.data.vectors import Vectors, check_rows, read_rows, split_rows
from pochi_cli.engine.averaging import ExponentialAverage, NoAverage
from pochi_cli.engine.board import NoBoard
from pochi_cli.engine.distance_objective import DistanceObjective, create_loss
from pochi_cli.engine.memory import is_out_of_memory
from pochi_cli.engine.neighborhoods import Neighborhoods
from pochi_cli.engine.objectives import Parts
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.state import ModelSpec, TrainingState
from pochi_cli.errors import ConfigError, MemoryExhaustedError, first_line
from pochi_cli.models.encoder import Encoder
from pochi_cli.models.freezing import freeze
from pochi_cli.models.projections import Projection, pca

if TYPE_CHECKING:
    from pochi_cli.engine.vector_board import VectorBoard

_CHUNK = 8192
"""Rows that are read at a time."""
_JUDGED = 512
"""Rows on which a loss is judged before anything is learnt."""
_SWAMPED = 0.01
"""Share of the pair-distance term below which the rank term is as good as absent."""
_SAMPLE, _JUDGE = 1, 2
"""Tell the random choices of rows apart."""


@dataclass(frozen=True)
class EmbeddingTask:
    """A training of an encoder: its config and its data.

    Attributes:
        config: The config; once `resolved`, without open choices.
        vectors: All vectors.
        train, held: Rows that are trained on and held out, rising.
        fingerprint: Tells the data apart.
    """

    config: EmbeddingConfig
    vectors: Vectors
    train: NDArray[np.int64]
    held: NDArray[np.int64]
    fingerprint: str

    @classmethod
    def prepare(cls, config: EmbeddingConfig, tell: Tell) -> EmbeddingTask:
        """Open, check and split the vectors.

        Raises:
            DataError: They cannot be used.
            ConfigError: The config asks for more than they have.
        """
        vectors = open_train_vectors(config)
        fingerprint = check_rows(vectors, needs_norm=config.metric == "cosine")
        train, held = split_rows(vectors.rows, config.holdout, config.seed)
        tell(
            f"{vectors.rows:,} vectors of {vectors.dim:,} dimensions: {len(train):,} to train on, "
            f"{len(held):,} held out"
        )
        if mistakes := check_demands(config, len(train), len(held), vectors.dim):
            raise ConfigError(mistakes)
        return cls(config, vectors, train, held, fingerprint)

    @property
    def syncs_batch_norm(self) -> bool:
        """There is nothing to normalise."""
        return False

    @property
    def batch_size(self) -> int:
        """Samples of a batch."""
        return self.config.batch_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """There are none."""
        return ()

    @property
    def samples(self) -> dict[str, int]:
        """How many rows there are, by the names that a run's settings have for it."""
        return {"train_rows": len(self.train), "val_rows": len(self.held)}

    def settings(self, runtime: Runtime) -> dict[str, Any]:  # noqa: ARG002
        """List what a run records of its data."""
        queries = 0 if self.neighborhoods is None else len(self.neighborhoods.rows)
        pool = {"n_query": queries, "n_pool": queries, "metric": self.config.metric} if queries else {}
        return {"dim": self.vectors.dim, **self.samples, "judged_by": self.config.judged_recall, **pool}

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about the vectors and the loss, measured on a sample."""
        found = list(self._doubts_about_loss())
        if 0 < len(self.held) < self.config.batch_size:
            found.append(
                f"{len(self.held):,} rows are held out, fewer than batch_size: the loss depends on the size "
                "of a batch, so theirs does not compare with that of training"
            )
        return tuple(found)

    def _doubts_about_loss(self) -> tuple[str, ...]:
        config = self.config
        if not config.has_soft_ranks:
            return (
                f"the hard ranks of {config.loss_function} have no gradient: only the pair distances are "
                "learnt, the rank loss is watched",
            )
        if config.lambda_rank == 0:
            return ()
        return tuple(self._doubts_about_ranks())

    def _doubts_about_ranks(self) -> Iterator[str]:
        config = self.config
        x = self._sampled(self.train, _JUDGED, _JUDGE)
        distances = torch.cdist(x, x)
        spread = float(distances.std(1, unbiased=False).mean())
        if not distances.any():
            yield "all vectors of a sample are the same: there is nothing to tell apart"
            return
        if config.tau_mode == "absolute" and spread and config.tau > 2 * spread:
            yield (
                f"tau is {config.tau:g}, {config.tau / spread:.1f} times the spread of the distances "
                f"({spread:.3g}): the soft ranks hardly tell them apart; set tau_mode = "
                '"relative", with tau from 0.1 to 0.5'
            )
        # What it would be for the best linear encoder: the learnt one is to do what that cannot.
        if (projection := self.principal) is None or config.lambda_pairdist == 0:
            return
        losses = create_loss(config)(x, projection(x))
        rank, pair = config.lambda_rank * losses.rank, config.lambda_pairdist * losses.pairdist
        if rank < _SWAMPED * pair:
            yield (
                f"the rank term is {100 * float(rank / pair):.2g} % of the pair-distance term on a sample: "
                "it is hardly learnt; lower lambda_pairdist"
                + ("" if config.tau_mode == "relative" else ', or set tau_mode = "relative"')
            )

    @cached_property
    def neighborhoods(self) -> Neighborhoods | None:
        """The sample of the held-out rows whose neighbours are compared; `None` without such rows."""
        if not len(self.held):
            return None
        rows = self._sampled(self.held, self.config.recall_samples, _SAMPLE)
        return Neighborhoods(rows, self.config.measured_ks, self.config.metric)

    @cached_property
    def principal(self) -> Projection | None:
        """The principal components of the rows that are trained on; `None` where there are too few."""
        if self.config.latent_dim > self.vectors.dim:
            return None
        starts = range(0, len(self.train), _CHUNK)
        chunks = (self._read(self.train[start : start + _CHUNK]) for start in starts)
        return pca(chunks, self.config.latent_dim)

    @property
    def baselines(self) -> dict[str, dict[str, float]] | None:
        """Recalls of encodings that are not learnt, on the same rows and of as many dimensions."""
        if self.neighborhoods is None:
            return None
        return self.neighborhoods.baselines(self.principal, self.config.latent_dim, self.config.seed)

    def resolved(self, runtime: Runtime) -> EmbeddingTask:
        """Fill in what the config leaves open, so that training the result again repeats the run."""
        config = self.config
        changes: dict[str, Any] = {
            "device": runtime.shared_device,
            "precision": runtime.precision,
            "threads": config.threads or runtime.shared_threads,
            "work_dir": str(Path(config.work_dir).absolute()),
            "optuna": None,  # no part of what is trained
        }
        if config.train_vectors != DIGITS:
            changes["train_vectors"] = str(Path(config.train_vectors).absolute())
        return replace(self, config=config.model_copy(update=changes))

    def build_model(self, runtime: Runtime, *, from_scratch: bool) -> tuple[nn.Module, tuple[str, ...]]:
        """Build the encoder on its device, frozen as the config says, and tell what happened.

        Args:
            runtime: The device.
            from_scratch: Whether its start is worked out; else weights will be loaded.

        Raises:
            ModelError: Nothing is left to train.
        """
        config = self.config
        has_projection = config.init == "pca_residual"
        model = Encoder(
            self.vectors.dim, config.hidden_dims, config.latent_dim, with_projection=has_projection
        )
        messages: list[str] = []
        if has_projection and from_scratch:
            assert self.principal is not None
            model.start_as(self.principal)
            messages.append(f"the encoder starts as the first {config.latent_dim} principal components")
        frozen = freeze(model, config.freeze)
        if frozen.names:
            messages.append(frozen.summary)
        model.to(runtime.device)
        return model, tuple(messages)

    def decided(
        self,
        runtime: Runtime,  # noqa: ARG002
        state: TrainingState,  # noqa: ARG002
    ) -> tuple[EmbeddingTask, tuple[str, ...]]:
        """Nothing is left open."""
        return self, ()

    def parts(
        self,
        runtime: Runtime,
        trained: nn.Module | None = None,  # noqa: ARG002
        tell: Tell = lambda _: None,  # noqa: ARG002
        before: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Parts:
        """Create the loaders, the loss and what judges the encoder."""
        config = self.config
        place = {"rank": runtime.team.rank, "size": runtime.team.size}
        train = VectorLoader(self.vectors, self.train, config.batch_size, config.seed, **place)
        held = VectorLoader(self.vectors, self.held, config.batch_size, **place) if len(self.held) else None
        return Parts(Loaders(train, held), DistanceObjective(config, runtime, held, self.neighborhoods))

    def board(
        self, model: nn.Module, average: ExponentialAverage | NoAverage, runtime: Runtime
    ) -> VectorBoard | NoBoard:
        """Build what writes for TensorBoard; the package itself is imported only where it is wanted."""
        if not self.config.enable_tensorboard:
            return NoBoard()
        from pochi_cli.engine.vector_board import VectorBoard

        return VectorBoard(self.config, model, average, runtime)

    def introduction(self, experiment_id: str) -> tuple[str, ...]:
        """Tell what is minimised, and what the experiment is found by."""
        config = self.config
        told = [f"{key} = {show(value)}" for key, value in config.loss_arguments().items()]
        return (f"experiment {experiment_id}", ", ".join([f"loss {config.loss_function}", *told]))

    def spec(self, values: dict[str, Any]) -> ModelSpec:
        """Say what the encoder's answers depend on besides its weights.

        Args:
            values: The resolved config as plain values.
        """
        return ModelSpec(values, {"class_names": [], "dim": self.vectors.dim})

    @contextmanager
    def explaining_memory(self, runtime: Runtime, state: TrainingState) -> Iterator[None]:  # noqa: ARG002
        """Tell of a lack of memory inside the block with what takes it.

        Raises:
            MemoryExhaustedError: Memory ran out.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            size = self.config.batch_size
            raise MemoryExhaustedError(
                f"out of memory with batch_size {size}, whose {size:,} x {size:,} distances are compared: "
                f"{first_line(error)}",
                hint=f"set a smaller one, such as batch_size = {max(2, size // 2)}, or free memory",
            ) from error

    def _read(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(read_rows(self.vectors, rows))

    def _sampled(self, rows: NDArray[np.int64], most: int, purpose: int) -> Tensor:
        """Read some rows, chosen by the seed and the purpose alone, in the order of the file."""
        if len(rows) > most:
            generator = torch.Generator().manual_seed(derive_seed(self.config.seed, purpose))
            rows = rows[np.sort(torch.randperm(len(rows), generator=generator)[:most].numpy())]
        return self._read(rows)
