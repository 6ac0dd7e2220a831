"""A trained model becomes a file that other programs run: only once that was seen to agree with PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pochi_cli.characters import printable
from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.nested import final_size
from pochi_cli.data.loaders import Remedies
from pochi_cli.errors import DataError, ModelError, StorageError
from pochi_cli.inference.contract import ExportFormat, metadata
from pochi_cli.inference.export_formats import (
    OPSET,
    Runner,
    capture,
    onnx_file,
    open_onnx,
    open_torch,
    require_onnx,
    torch_file,
)
from pochi_cli.inference.images import ImageSource
from pochi_cli.inference.model import LoadedModel
from pochi_cli.inference.predict import create_loader
from pochi_cli.runs.atomic import atomic_writer, followed
from pochi_cli.runs.layout import make_part

MOST_IMAGES = 32
"""Images that an exported model is compared on, at most."""
TOLERANCE = 1e-4
"""Largest difference of a logit, absolute, that float32 explains."""

_FACTOR = 10
"""How far two ways of rounding may lie apart, by the error of one of them."""

ON_CPU = ("device=cpu", "precision=fp32", "channels_last=false")
"""How a model that is to be exported is best loaded."""

_REMEDIES = Remedies(
    lost="bring the data back, and begin anew",
    undecodable="compare on other images: --data DIR_OR_FILE; or mend or remove the file",
)


@dataclass(frozen=True)
class Agreement:
    """How an exported model compares with PyTorch, both in float32 on the CPU.

    Attributes:
        images: Images that both were asked about, in one batch and one by one.
        largest_difference: Of a logit, absolute.
        same_class: Images that both put into the same class; where two classes have all but equal logits
            another may win.
    """

    images: int
    largest_difference: float
    same_class: int


@dataclass(frozen=True)
class Export:
    """An exported model.

    Attributes:
        path: Its file.
        format: What that is.
        file_bytes: Its size.
        input_size: Height and width of the images that it takes.
        classes: Logits that it gives for each.
        agreement: How it compares with PyTorch.
        opset: Version of ONNX's operators; `None` for other formats.
        skipped: Images that it could not be compared on, and why.
    """

    path: Path
    format: ExportFormat
    file_bytes: int
    input_size: Size
    classes: int
    agreement: Agreement
    opset: int | None
    skipped: tuple[str, ...]

    def to_record(self) -> dict[str, Any]:
        """Write it as plain values."""
        return {
            "path": str(self.path),
            "format": self.format.value,
            "opset": self.opset,
            "file_bytes": self.file_bytes,
            "input_size": list(self.input_size),
            "classes": self.classes,
            "images": self.agreement.images,
            "largest_difference": self.agreement.largest_difference,
            "same_class": self.agreement.same_class,
            "skipped": list(self.skipped),
        }


def export_model(loaded: LoadedModel, form: ExportFormat, path: Path, source: ImageSource) -> Export:
    """Write a model in a form that other programs run, if it then agrees with PyTorch.

    The file takes `images`, float32 (N, 3, height, width) with any N, to `logits`, float32 (N, K), in float32
    whatever precision the training had. It replaces an older one only when it was run and compared.

    Args:
        loaded: The model; it stays as it is.
        form: The format.
        path: The file; its directory is made where missing.
        source: Images to compare on; up to 32 of them, spread evenly, are taken.

    Raises:
        InstallationError: ONNX is asked for, and a package is missing or too old.
        DataError: An image is bad, or not of the model's size.
        ModelError: The model cannot be exported, or what came of it differs from PyTorch.
        StorageError: The file cannot be written.
    """
    if form is ExportFormat.onnx:
        require_onnx()
    target = _target(path)
    size = final_size(loaded.steps) or loaded.size
    images, names, skipped = _prepared_images(loaded, source, size)
    model = copy.deepcopy(loaded.model).cpu().to(memory_format=torch.contiguous_format)
    make_file, open_file = (onnx_file, open_onnx) if form is ExportFormat.onnx else (torch_file, open_torch)
    expected = _own_logits(model, images, loaded.checkpoint)
    content = make_file(capture(model, size), metadata(loaded))
    with atomic_writer(target) as file:
        file.write(content)
        file.flush()
        agreement = _compare(model, open_file(Path(file.name)), images, names, expected)
    return Export(
        path=path,
        format=form,
        file_bytes=len(content),
        input_size=size,
        classes=len(loaded.class_names),
        agreement=agreement,
        opset=OPSET if form is ExportFormat.onnx else None,
        skipped=skipped,
    )


def default_path(loaded: LoadedModel, form: ExportFormat) -> Path:
    """Where an export goes: into the model's run, or beside a checkpoint that is of none.

    Raises:
        StorageError: The run's directory for models leads out of the run.
    """
    if loaded.run is None:
        return loaded.checkpoint.with_suffix(f".{form.suffix}")
    make_part(loaded.run.layout.models)
    return loaded.run.layout.exported_model(form.suffix)


def _prepared_images(
    loaded: LoadedModel, source: ImageSource, size: Size
) -> tuple[Tensor, list[str], tuple[str, ...]]:
    """Take some images, (N, 3, height, width), as the model sees them, their names, and what was left out."""
    count = min(MOST_IMAGES, len(source.index))
    index = source.index.subset([at * len(source.index) // count for at in range(count)])
    loader = create_loader(loaded, index, workers=0, batch_size=count, remedies=_REMEDIES)
    _, batch = next(loader.batches(epoch=0))
    names = [printable(index.file(at)) for at in batch.indices.tolist()]
    height, width = batch.images.shape[2:]
    if (height, width) != size:
        raise DataError(
            f"{names[0]}: the transform gives {height} x {width} (height x width), and the model is exported "
            f"for {size[0]} x {size[1]}",
            "compare on images like those of its training: --data DIR_OR_FILE",
        )
    return batch.to("cpu").images, names, tuple(f"{bad.path}: {bad.reason}" for bad in loader.skipped)


@torch.no_grad()
def _own_logits(model: nn.Module, images: Tensor, checkpoint: Path) -> Tensor:
    logits: Tensor = model(images)
    if not logits.isfinite().all():
        raise ModelError(
            "the model's own logits are not finite: there is nothing to export",
            f"the training may have diverged, or {checkpoint} is spoilt: export another checkpoint",
        )
    return logits


@torch.no_grad()
def _compare(
    model: nn.Module, run: Runner, images: Tensor, names: Sequence[str], expected: Tensor
) -> Agreement:
    together, singly = run(images), torch.cat([run(image[None]) for image in images])
    differences = torch.maximum((together - expected).abs(), (singly - expected).abs()).amax(dim=1)
    worst = int(differences.argmax())  # a NaN counts as the largest
    difference = float(differences[worst])
    if not difference <= TOLERANCE:
        raise ModelError(
            f"the exported model differs from PyTorch by {difference:.3g} in a logit of {names[worst]}, more "
            f"than {TOLERANCE:g}; nothing was written",
            _excuse(model, images, expected, difference),
        )
    classes = expected.argmax(dim=1)
    same = (together.argmax(dim=1) == classes) & (singly.argmax(dim=1) == classes)
    return Agreement(len(images), difference, int(same.sum()))


def _excuse(model: nn.Module, images: Tensor, expected: Tensor, difference: float) -> str | None:
    """Say where a difference lies in the model itself, which no export can mend."""
    exact = copy.deepcopy(model).double()(images.double())
    own = float((exact - expected).abs().max())
    if own < difference / _FACTOR:
        return None
    return (
        f"float32 is not enough for this model: in PyTorch itself it is off by {own:.3g} from float64, "
        f"with logits up to {exact.abs().max():.3g}"
    )


def _target(path: Path) -> Path:
    """Find the file that is meant, before anything is computed for it; its directory is made where missing.

    Raises:
        StorageError: It is something else than a file, or its directory cannot be made.
    """
    target = followed(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        is_else = target.exists() and not target.is_file()
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path}: {reason}", "choose another --output") from error
    if is_else:
        raise StorageError(f"cannot write {path}: it is no regular file", "choose another --output")
    return target
