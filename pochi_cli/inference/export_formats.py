"""The files that hold an exported model: how they are made, and how they are run."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from pochi_cli.config.steps.arguments import Size
from pochi_cli.errors import InstallationError, ModelError, first_line
from pochi_cli.inference.contract import INPUT, OUTPUT

OPSET = 18
"""Version of ONNX's operators: the one that torch's exporter is written in, so that nothing is converted.

onnxruntime runs it from 1.14 on.
"""
_LARGEST_BYTES = 2**31 - 1
"""What a protobuf message, and so an ONNX file with its weights inside, can hold."""
_LONGEST_BATCH = 2**31 - 1
"""Without a bound torch 2.6 finds that the longest of all lengths would not do."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Runner = Callable[[Tensor], Tensor]
"""Takes images, float32 (N, 3, height, width), to logits, float32 (N, K)."""


def require_onnx() -> None:
    """Find the optional packages that ONNX needs, without importing them.

    Raises:
        InstallationError: One is missing.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise InstallationError(
            f"exporting to ONNX needs {', '.join(missing)}, not installed here", 'pip install "pochi[onnx]"'
        )


def capture(model: nn.Module, size: Size) -> ExportedProgram:
    """Trace a model for batches of any length.

    Args:
        model: In eval mode, on the CPU, float32.
        size: Height and width of its images.

    Raises:
        ModelError: torch cannot.
    """
    images = torch.zeros(2, 3, *size)  # two: torch takes a length of 1 for a constant
    any_length = torch.export.Dim("batch", min=1, max=_LONGEST_BATCH)
    try:
        with torch.no_grad(), _quietly():
            program = torch.export.export(model, (images,), dynamic_shapes=({0: any_length},), strict=False)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:  # whichever the tracing raises
        raise _refused(error) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine are nobody's business
    return program


def onnx_file(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """Write a model as an ONNX file with its weights inside.

    Args:
        program: The traced model.
        metadata: What the file carries, as `metadata_props`.

    Raises:
        InstallationError: onnxscript is too old for torch.
        ModelError: The exporter lacks an operator, or the model is too large for one file.
    """
    weight_bytes = sum(weight.nbytes for weight in program.state_dict.values())
    if weight_bytes > _LARGEST_BYTES:
        raise ModelError(
            f"its weights take {weight_bytes / 2**30:.1f} GiB, and an ONNX file holds less than 2",
            "use --format torch, which has no such limit",
        )
    try:
        with _quietly():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                dynamic_shapes=({0: "batch"},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
    except ImportError as error:  # onnxscript has a module for each version of torch
        raise InstallationError(
            f"a package cannot be loaded, or does not fit torch {torch.__version__}: {first_line(error)}",
            'pip install --upgrade "pochi[onnx]"',
        ) from error
    except RuntimeError as error:  # of which the exporter's own errors are
        raise _refused(error) from error
    assert exported is not None  # only the exporter before dynamo returned nothing
    exported.model.metadata_props.update(metadata)
    content: bytes = exported.model_proto.SerializeToString()
    return content


def torch_file(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """Write a model as an archive of torch.export, with the metadata as `extra_files`."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=dict(metadata))
    return buffer.getvalue()


def open_onnx(path: Path) -> Runner:
    """Open an ONNX file with onnxruntime, on the CPU."""
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise InstallationError(
            f"onnxruntime cannot be loaded: {first_line(error)}", 'pip install --upgrade "pochi[onnx]"'
        ) from error

    options = onnxruntime.SessionOptions()
    # As many as torch has. By default each is bound to a core, and where that is forbidden it complains.
    options.intra_op_num_threads = torch.get_num_threads()
    # The content rather than the path, which it cannot take where it is not UTF-8.
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(logits)

    return run


def open_torch(path: Path) -> Runner:
    """Open an archive of torch.export."""
    with path.open("rb") as file, _quietly():
        module: Any = torch.export.load(file).module()

    def run(images: Tensor) -> Tensor:
        logits: Tensor = module(images)
        return logits

    return run


def _refused(error: BaseException) -> ModelError:
    while error.__cause__ is not None:  # the exporter's own errors say little but where it was
        error = error.__cause__
    return ModelError(f"torch cannot export the model: {first_line(error)}")


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence what torch and onnxscript tell of their own insides, about which a user can do nothing."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
