"""The network that is inspected: that of a run, of a checkpoint, or a new one of a config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pochi_cli.config.catalogue import CATALOGUE
from pochi_cli.config.image_sizes import misfit
from pochi_cli.config.named_datasets import NAMED_DATASETS
from pochi_cli.config.root import ClassificationConfig, Config, EmbeddingConfig
from pochi_cli.config.steps.nested import final_size
from pochi_cli.config.values import show_bytes
from pochi_cli.data.prepare import find_folders
from pochi_cli.data.vector_demands import open_train_vectors
from pochi_cli.engine.memory import available_memory
from pochi_cli.engine.runtime import Runtime, choose_runtime
from pochi_cli.errors import DataError, MemoryExhaustedError, ModelError, first_line
from pochi_cli.inference.encoder import load_encoder
from pochi_cli.inference.model import LoadedModel, is_encoder, load_model
from pochi_cli.inspection.model_probing import byte_size
from pochi_cli.inspection.model_report import Origin
from pochi_cli.models.architectures import build_network, valueless_device
from pochi_cli.models.encoder import Encoder
from pochi_cli.models.factory import check_input, create_model
from pochi_cli.models.freezing import freeze
from pochi_cli.runs.index import Run

Shape = tuple[int, ...]
_COLOURS = 3


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, and how it is used.

    Attributes:
        origin: Where it comes from.
        model: On the runtime's device, frozen as the config says.
        config: The config.
        runtime: Device, precision and layout.
        input_shape: Of one sample, without the batch.
        run: The run that it is of, if there is one.
    """

    origin: Origin
    model: nn.Module
    config: Config
    runtime: Runtime
    input_shape: Shape
    run: Run | None

    def inputs(self) -> Tensor:
        """Make a batch of one sample, float32 from 0 to 1, always the same."""
        numbers = torch.Generator().manual_seed(0)
        sample = torch.rand(1, *self.input_shape, generator=numbers).to(self.runtime.device)
        return sample.to(memory_format=self.runtime.memory_format) if sample.ndim == 4 else sample


def untrained_subject(config: Config, name: str, input_shape: Shape | None) -> Subject:
    """Build the network of a config, with neither weights nor, where the config tells enough, data.

    Args:
        config: The config.
        name: What it is called.
        input_shape: Of a sample; by default as the config makes it.

    Raises:
        DataError: The number of classes or dimensions is neither in the config nor to be had from the data.
        MemoryExhaustedError: The weights for such inputs take more memory than there is.
        ModelError: The network cannot take such inputs.
        DeviceError: The config's device is not there.
    """
    runtime = choose_runtime(config)
    with torch.random.fork_rng(devices=[]):
        if isinstance(config, EmbeddingConfig):
            model, shape, remarks = _new_encoder(config, input_shape)
        else:
            model, shape, remarks = _new_classifier(config, input_shape)
    freeze(model, config.freeze)
    model.to(runtime.device)
    model.to(memory_format=runtime.memory_format)
    origin = Origin(name, config.network, config.task, remarks=remarks)
    return Subject(origin, model, config, runtime, shape, None)


def trained_subject(reference: str, work_dir: Path, input_shape: Shape | None, device: str | None) -> Subject:
    """Load the network of a run or a checkpoint.

    Args:
        reference: As for `api.load_model`.
        work_dir: Where all but a path are looked up.
        input_shape: Of a sample; by default as in training.
        device: Where it is to run; by default where it was trained.

    Raises:
        RunError: There is none, or it is damaged.
        ModelError: The network cannot take such inputs.
        DeviceError: The device asked for is not there.
    """
    if is_encoder(reference, work_dir):
        encoder = load_encoder(reference, work_dir, device)
        if input_shape not in (None, (encoder.dim,)):
            told = _text(input_shape or ())
            raise ModelError(
                f"the encoder takes vectors of {encoder.dim} dimensions, not {told}",
                hint=f"leave out --input, or give {encoder.dim}",
            )
        freeze(encoder.model, encoder.config.freeze)
        origin = _origin(encoder.run, encoder.checkpoint, encoder.config, encoder.epoch, encoder.is_averaged)
        return Subject(origin, encoder.model, encoder.config, encoder.runtime, (encoder.dim,), encoder.run)
    loaded = load_model(reference, work_dir, [] if device is None else [f"device={json.dumps(device)}"])
    shape = (_COLOURS, *loaded.size)
    if input_shape is not None and input_shape != shape:
        shape = (_COLOURS, *_edges(input_shape))
        _check_size(loaded, _edges(shape))
    freeze(loaded.model, loaded.config.freeze)
    origin = _origin(
        loaded.run, loaded.checkpoint, loaded.config, loaded.epoch, loaded.is_averaged, loaded.messages
    )
    return Subject(origin, loaded.model, loaded.config, loaded.runtime, shape, loaded.run)


def _check_size(loaded: LoadedModel, size: tuple[int, int]) -> None:
    """Find out whether a trained network takes images of another size."""
    name = loaded.config.model_name
    trained, given = ("x".join(map(str, edges)) for edges in (loaded.size, size))
    if CATALOGUE[name].patch_size is not None:
        raise ModelError(
            f"this {name} takes only images of the size that it was trained on, {trained}, not {given}",
            hint="leave out --input; or give a config instead of the run, whose network is built for --input",
        )
    try:
        check_input(loaded.model, name, size, 2)
    except ModelError as error:
        hints = [f"leave out --input: it was trained on images of {trained}", error.hint]
        raise ModelError(
            f"this {name} cannot take images of {given} (height x width)",
            hint="; or ".join(filter(None, hints)),
        ) from error


def _check_weights(shapes: nn.Module) -> None:
    """Find out whether a network's weights fit into main memory, where they are made.

    Raises:
        MemoryExhaustedError: They do not.
    """
    needed, available = sum(map(byte_size, shapes.parameters())), available_memory(torch.device("cpu"))
    if available is not None and needed > available:
        raise MemoryExhaustedError(
            f"the weights of the network take {show_bytes(needed)}, but {show_bytes(available)} are free",
            hint="give a smaller --input, or a config of a smaller network",
        )


def _origin(
    run: Run | None,
    checkpoint: Path,
    config: Config,
    epoch: int,
    is_averaged: bool,
    remarks: tuple[str, ...] = (),
) -> Origin:
    name = checkpoint.name if run is None else run.layout.name
    return Origin(name, config.network, config.task, checkpoint, epoch, is_averaged, remarks)


def _new_classifier(
    config: ClassificationConfig, input_shape: Shape | None
) -> tuple[nn.Module, Shape, tuple[str, ...]]:
    remarks: tuple[str, ...] = ()
    if input_shape is not None:
        size = _edges(input_shape)
    else:
        named = NAMED_DATASETS.get(config.dataset)
        found = final_size(config.train_transform, named.image_size if named else None)
        edge = CATALOGUE[config.model_name].input_size
        size = found or (edge, edge)
        if found is None:
            remarks = (
                "the config does not fix the size of the images: it is the one that the network is meant for",
            )
    untrained = config.model_copy(update={"pretrained": False, "weights": None})
    if CATALOGUE[config.model_name].patch_size is not None and misfit(config.model_name, size) is None:
        with valueless_device(config.model_name):  # a position of each patch has weights of its own
            _check_weights(build_network(config.model_name, 1, size[0]))
    model = create_model(untrained, _classes(config), size).model
    check_input(model, config.model_name, size, 2)
    return model, (_COLOURS, *size), remarks


def _classes(config: ClassificationConfig) -> int:
    if config.num_classes is not None:
        return config.num_classes
    if config.dataset in NAMED_DATASETS:
        return len(NAMED_DATASETS[config.dataset].class_names)
    try:
        return len(find_folders(config, config.seed).train.class_names)
    except DataError as error:
        raise DataError(
            f"the number of classes is not known: {first_line(error)}",
            hint="set num_classes in the config, or bring the training data",
        ) from error


def _new_encoder(
    config: EmbeddingConfig, input_shape: Shape | None
) -> tuple[nn.Module, Shape, tuple[str, ...]]:
    if input_shape is None:
        try:
            dim = open_train_vectors(config).dim
        except DataError as error:
            raise DataError(
                f"the dimensions of the vectors are not known: {first_line(error)}",
                hint="give them with --input, or bring the vectors",
            ) from error
    elif len(input_shape) == 1:
        dim = input_shape[0]
    else:
        raise ModelError(
            f"an encoder takes vectors, not inputs of {_text(input_shape)}",
            hint="give one number of dimensions",
        )
    with_projection = config.init == "pca_residual"
    with torch.device("meta"):
        _check_weights(Encoder(dim, config.hidden_dims, config.latent_dim, with_projection=with_projection))
    return Encoder(dim, config.hidden_dims, config.latent_dim, with_projection=with_projection), (dim,), ()


def _edges(shape: Shape) -> tuple[int, int]:
    """Take height and width from the shape of an image."""
    if len(shape) != 1 + 2 or shape[0] != _COLOURS:
        raise ModelError(
            f"the network takes images of {_COLOURS} channels, not inputs of {_text(shape)}",
            hint="give channels, height and width, such as --input 3,224,224",
        )
    return shape[1], shape[2]


def _text(shape: Shape) -> str:
    return " x ".join(map(str, shape))
