"""What of a training is about classifying images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.data.balance import balanced_weights
from pochi_cli.data.prepare import Data, prepare_data
from pochi_cli.data.published import Tell
from pochi_cli.data.shares import least_portion, portion_of
from pochi_cli.engine.averaging import ExponentialAverage, NoAverage
from pochi_cli.engine.batch_size import decide_batch_size, explaining_memory
from pochi_cli.engine.board import NoBoard
from pochi_cli.engine.image_parts import ImageParts
from pochi_cli.engine.objectives import Parts
from pochi_cli.engine.resolving import resolve
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.state import ModelSpec, TrainingState
from pochi_cli.models.factory import check_input, create_model, create_shell
from pochi_cli.models.freezing import freeze

if TYPE_CHECKING:
    from pochi_cli.engine.image_board import ImageBoard


@dataclass(frozen=True)
class ClassificationTask:
    """A training of a classifier: its config and its data.

    Attributes:
        config: The config; once `resolved`, without open choices.
        data: The images.
    """

    config: ClassificationConfig
    data: Data

    @classmethod
    def prepare(cls, config: ClassificationConfig, tell: Tell) -> ClassificationTask:
        """Find, split and match the images.

        Raises:
            DataError, StorageError: As `prepare_data`.
        """
        return cls(config, prepare_data(config, config.seed, tell=tell))

    @property
    def syncs_batch_norm(self) -> bool:
        """Whether several processes normalise by the images of all of them."""
        return self.config.sync_batch_norm

    @property
    def batch_size(self) -> int:
        """Samples of a batch."""
        return self.config.images_per_batch

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""
        return self.data.class_names

    @property
    def fingerprint(self) -> str:
        """Tells the data apart."""
        return self.data.fingerprint

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about the data."""
        return self.data.warnings

    @property
    def samples(self) -> dict[str, int]:
        """How many images there are, by the names that a run's settings have for it."""
        return {
            "train_images": len(self.data.train),
            "val_images": len(self.data.val) if self.data.val else 0,
        }

    def settings(self, runtime: Runtime) -> dict[str, Any]:
        """List what a run records of its data and how they are loaded."""
        return {
            "channels_last": runtime.channels_last,
            "image_size": list(self.data.size),
            **self.samples,
        }

    @property
    def baselines(self) -> None:
        """There are none."""

    def resolved(self, runtime: Runtime) -> ClassificationTask:
        """Fill in what the config leaves open, so that training the result again repeats the run.

        Raises:
            ConfigError: num_classes or class_weights do not agree with the data.
        """
        return replace(self, config=resolve(self.config, self.data, runtime))

    def build_model(self, runtime: Runtime, *, from_scratch: bool) -> tuple[nn.Module, tuple[str, ...]]:
        """Build the model on its device, frozen as the config says, and tell what happened.

        Args:
            runtime: Device and layout.
            from_scratch: Whether the weights that the config names are loaded; else others will be.

        Raises:
            ModelError: It cannot be built.
        """
        config, data = self.config, self.data
        messages: tuple[str, ...] = ()
        if from_scratch:
            built = create_model(config, len(data.class_names), data.size)
            model, messages = built.model, built.messages
        else:
            model = create_shell(config, len(data.class_names), data.size)
        frozen = freeze(model, config.freeze)
        model.to(runtime.device)
        model.to(memory_format=runtime.memory_format)
        if frozen.names:
            messages += (frozen.summary,)
        return model, messages

    def check_model(self, model: nn.Module, processes: int) -> int:
        """Find out whether a model can be trained on these data, without computing anything.

        Args:
            model: As `build_model` gives it.
            processes: Those that train together.

        Returns:
            Multiply-adds of an image's forward pass.

        Raises:
            ModelError: It cannot.
        """
        config, data = self.config, self.data
        smallest = _smallest_batch(len(data.train), config.batch_size, processes)
        work = check_input(model, config.model_name, data.size, smallest)
        if data.val_size is not None and data.val_size != data.size:
            check_input(model, config.model_name, data.val_size, 2)
        return work

    def decided(self, runtime: Runtime, state: TrainingState) -> tuple[ClassificationTask, tuple[str, ...]]:
        """Decide the size of the batches, where that is left open, and tell what was decided."""
        config, messages = decide_batch_size(self.config, self.data, runtime, state)
        return replace(self, config=config), messages

    def parts(
        self,
        runtime: Runtime,
        trained: nn.Module | None = None,
        tell: Tell = lambda _: None,
        before: Mapping[str, Any] | None = None,
    ) -> Parts:
        """Create the loaders, and the loss with the class weights that config and data give.

        Args:
            runtime: Device, precision and layout.
            trained: The model that will be trained with them, if one will: of a frozen backbone the
                features may take the place of the images.
            tell: Told what takes a while.
            before: The settings with which a run began that goes on.
        """
        parts = ImageParts(self.config, self.data, self.class_weights, runtime)
        if trained is None:
            return parts.images(epochs=1)
        return parts.features(trained, tell, before) or parts.images(self.config.epochs, before)

    @property
    def class_weights(self) -> tuple[float, ...] | None:
        """The weights of the classes in the loss; `None` for equal ones."""
        match self.config.class_weights:
            case "none":
                return None
            case "balanced":
                return tuple(balanced_weights(self.data.train.class_counts))
            case given:
                return tuple(given)

    def board(
        self,
        model: nn.Module,
        average: ExponentialAverage | NoAverage,
        runtime: Runtime,
    ) -> ImageBoard | NoBoard:
        """Build what writes for TensorBoard; the package itself is imported only where it is wanted."""
        if not self.config.enable_tensorboard:
            return NoBoard()
        from pochi_cli.engine.image_board import ImageBoard

        return ImageBoard(self.config, model, average, runtime, self.class_names)

    def introduction(self, experiment_id: str) -> tuple[str, ...]:  # noqa: ARG002
        """Nothing is told beforehand."""
        return ()

    def spec(self, values: dict[str, Any]) -> ModelSpec:
        """Say what the model's answers depend on besides its weights.

        Args:
            values: The resolved config as plain values.
        """
        return ModelSpec(
            values,
            {
                "class_names": list(self.class_names),
                "image_size": list(self.data.size),
                "class_weights": None if self.class_weights is None else list(self.class_weights),
            },
        )

    def explaining_memory(self, runtime: Runtime, state: TrainingState) -> AbstractContextManager[None]:
        """Tell of a lack of memory inside the block with numbers."""
        return explaining_memory(self.config, self.data, runtime, state)


def _smallest_batch(images: int, batch_size: int | Literal["auto"], processes: int) -> int:
    """Images of the smallest portion of a batch, given that a last single one joins the batch before."""
    if batch_size == "auto":
        return min(images, 2)
    rest = images % batch_size
    totals = [images] if images <= batch_size else [batch_size, *([rest] if rest > 1 else [])]
    least = least_portion(batch_size, processes)
    portions = [portion_of(total, processes - 1, processes, least) for total in totals]
    return min(portion.stop - portion.start for portion in portions)
