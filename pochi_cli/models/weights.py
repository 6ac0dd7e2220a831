"""Weights to start from: where they come from, and what a file may hold."""

from __future__ import annotations

import hashlib
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import safetensors.torch
import torch
from torch import Tensor
from torchvision.models import get_model_weights

from pochi_cli.config.catalogue import CATALOGUE, ModelName
from pochi_cli.errors import ModelError
from pochi_cli.network import network_timeout

_NESTED = ("model_state_dict", "state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")
# torchvision's own loaders rename these: its published DenseNet and ViT files are older than the names.
_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)


def pretrained_state(model_name: ModelName) -> dict[str, Tensor]:
    """Load torchvision's ImageNet weights, from torch's cache or the network.

    Raises:
        ModelError: There are none, they are not cached and cannot be fetched, or the cached file is damaged.
    """
    if not CATALOGUE[model_name].has_published_weights:
        raise ModelError(f"there are no published weights of {model_name}", "set `pretrained = false`")
    url: str = get_model_weights(model_name).DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    # torchvision names its files after the start of their SHA-256.
    published = re.search(r"-([0-9a-f]{8,})\.", file.name)
    prefix = published.group(1) if published else ""
    if not file.exists():
        _download(model_name, url, file, prefix)
    elif file.is_file() and not (digest := _sha256(file)).startswith(prefix):
        raise ModelError(
            f"{model_name}: the cached weights {file} are damaged: their SHA-256 starts with "
            f"{digest[: len(prefix)]}, not with {prefix}",
            "delete the file, so that it is downloaded again",
        )
    return load_state(file)


def _download(model_name: ModelName, url: str, file: Path, prefix: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with network_timeout():
            torch.hub.download_url_to_file(url, str(file), prefix or None, progress=sys.stderr.isatty())
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: what came has another hash
        raise ModelError(
            f"{model_name}: torchvision's weights {file.name} are not in {file.parent} and could not be "
            f"downloaded from {url}: {_reason(error)}",
            f'put the file into {file.parent}, or set `pretrained = false`, or `weights = "FILE"`',
        ) from error


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read the weights {file}: {_reason(error)}") from error


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file; nothing in it is ever executed.

    Args:
        path: A .safetensors file; else a state_dict that torch.save wrote, bare or under
            `model_state_dict` (a checkpoint of ours), `state_dict` or `model`.

    Returns:
        Tensors on the CPU under the names that torchvision uses today. Those of a large file are mapped
        from it rather than read: the file must stay as it is while they are used.

    Raises:
        ModelError: The file cannot be read, holds anything but tensors, or a value that is not finite.
    """
    path = Path(path)
    if not path.is_file():
        trouble = "is no regular file" if path.exists() or path.is_symlink() else "does not exist"
        raise ModelError(f"the weights file {path} {trouble}", "`weights` names a .pth or .safetensors file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    state = _tensors(content, path)
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise ModelError(f"the weights file {path} holds {count} values in `{name}` that are not finite")
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        content: dict[str, Tensor] = safetensors.torch.load_file(path, device="cpu")
    except (safetensors.SafetensorError, OSError, LookupError, AttributeError) as error:
        reason = _reason(error)  # LookupError, AttributeError: numbers of a type that torch lacks
        raise ModelError(f"the weights file {path} is damaged, or no safetensors: {reason}") from error
    return content


def _is_compressed(path: Path) -> bool:
    """Tell whether an archive has compressed parts: a small one could hold more than fits into memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False  # what reads it says what is wrong


def _read_pickled(path: Path) -> object:
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise ModelError(f"cannot read the weights file {path}: {_reason(error)}") from error
    zipped = start == b"PK\x03\x04"
    if zipped and _is_compressed(path):
        raise ModelError(
            f"the weights file {path} is refused: parts of it are compressed, as in none of torch's"
        )
    if not zipped and not start.startswith(b"\x80"):
        trouble = "is empty" if not start else "is not a file that torch.save wrote"
        raise ModelError(f"the weights file {path} {trouble}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickle protocols; whatever cannot be read raises as well
            content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|class|function) ([\w.]+\.\w+)", str(error))
        what = f"pickled code ({found.group(1)})" if found else "more than tensors, or is damaged"
        raise ModelError(
            f"the weights file {path} holds {what}; for safety only tensors are read",
            "where you trust the file, save its tensors alone: torch.save(model.state_dict(), FILE)",
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise ModelError(f"the weights file {path} is damaged, or no checkpoint: {_reason(error)}") from error
    return content


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    """Find the state_dict in what a file held, and give its tensors today's names."""
    if isinstance(content, dict):
        average = content.get("ema_state_dict")  # of a run with ema_decay: the weights that were validated
        if isinstance(average, dict) and isinstance(average.get("model"), dict):
            content = average
        content = next((content[key] for key in _NESTED if isinstance(content.get(key), dict)), content)
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        keys = ", ".join(map(repr, list(content)[:3])) if isinstance(content, Mapping) else ""
        raise ModelError(
            f"the weights file {path} holds no tensors{keys and f' but {keys}'}",
            f"expected a state_dict, bare or under {', '.join(f'`{key}`' for key in _NESTED)}",
        )
    state: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or not _is_plain(value):
            raise ModelError(
                f"the weights file {path} holds {type(value).__name__} under {name!r}, "
                "where a plain tensor is expected"
            )
        state[name] = value.detach()
    return _current_names(state)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta


def _current_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((p for p in _WRAPPERS if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    for pattern, replacement in _OLD_NAMES:
        state = {pattern.sub(replacement, name): tensor for name, tensor in state.items()}
    return state


def _reason(error: BaseException) -> str:
    """The first line of what a library says, without what it appends for programmers."""
    lines = str(getattr(error, "reason", None) or error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
