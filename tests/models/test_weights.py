"""Files of weights: what is read, what is refused, where torchvision's come from."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import get_model, get_model_weights

from pochi_cli.config.catalogue import CATALOGUE, MODEL_NAMES
from pochi_cli.errors import ModelError
from pochi_cli.models.weights import load_state, pretrained_state

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
Save = Callable[[object, Path], None]


def save_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_pickle(content: object, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(content, protocol))


def refuse(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_state(path)
    assert str(path) in caught.value.message
    return caught.value


def equal(state: dict[str, Tensor]) -> bool:
    if any(tensor.requires_grad for tensor in state.values()):
        return False
    return list(state) == list(STATE) and all(torch.equal(state[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("save", [save_zip, save_legacy])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model_state_dict": STATE, "ema_state_dict": {"a.weight": torch.zeros(1)}, "epoch": 3},
        # Of a run with ema_decay the averaged weights count: they are what was validated.
        {"model_state_dict": {"a.weight": torch.zeros(1)}, "ema_state_dict": {"model": STATE, "steps": 3}},
        {"state_dict": STATE, "optimizer": {"lr": 0.1}},
        {"model": STATE, "epoch": 1},
        {name: torch.nn.Parameter(tensor) for name, tensor in STATE.items()},
        {f"module.{name}": tensor for name, tensor in STATE.items()},
        {"state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in STATE.items()}},
    ],
    ids=["bare", "ours", "average", "state_dict", "model", "parameters", "ddp", "ddp-compiled"],
)
def test_every_accepted_form_gives_the_same_tensors(tmp_path: Path, save: Save, content: object) -> None:
    save(content, tmp_path / "w.pth")
    assert equal(load_state(tmp_path / "w.pth"))
    assert equal(load_state(str(tmp_path / "w.pth")))


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    state = load_state(tmp_path / "w.safetensors")
    assert equal({name: state[name] for name in STATE})
    assert set(state) == set(STATE)


def test_a_prefix_that_only_some_names_have_is_theirs(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.pth")
    assert set(load_state(tmp_path / "w.pth")) == {"module.a", "b"}


def test_old_names_become_todays(tmp_path: Path) -> None:
    old = {
        "features.denseblock1.denselayer1.norm.1.bias": "features.denseblock1.denselayer1.norm1.bias",
        "features.denseblock1.denselayer12.conv.2.weight": "features.denseblock1.denselayer12.conv2.weight",
        "features.transition1.norm.weight": "features.transition1.norm.weight",
        "encoder.layers.encoder_layer_0.mlp.linear_1.weight": "encoder.layers.encoder_layer_0.mlp.0.weight",
        "encoder.layers.encoder_layer_11.mlp.linear_2.bias": "encoder.layers.encoder_layer_11.mlp.3.bias",
    }
    torch.save({name: torch.ones(1) for name in old}, tmp_path / "w.pth")
    assert list(load_state(tmp_path / "w.pth")) == list(old.values())


class Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "save", [save_zip, save_legacy, *(partial(save_pickle, protocol=n) for n in (2, 3, 4, 5))]
)
def test_pickled_code_is_refused_and_never_runs(tmp_path: Path, save: Save, nested: bool) -> None:
    marker, path = tmp_path / "it-ran", tmp_path / "evil.pth"
    payload = Payload(marker)
    save({"model_state_dict": {**STATE, "x": payload}} if nested else payload, path)
    error = refuse(path)
    assert "for safety only tensors are read" in error.message
    assert not marker.exists()
    pickle.loads(pickle.dumps(payload))
    assert marker.exists(), "the payload was harmless, the test shows nothing"


def test_pickled_code_is_named(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    error = refuse(tmp_path / "model.pth")
    assert "pickled code (torch.nn.modules.linear.Linear)" in error.message
    assert "torch.save(model.state_dict(), FILE)" in str(error.hint)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_is_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert "does not exist" in refuse(path).message
    path.mkdir()
    assert "is no regular file" in refuse(path).message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello world", "is not a file that torch.save wrote"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "is not a file that torch.save wrote"),
        (b"PK\x03\x04" + bytes(99), "is damaged, or no checkpoint"),
        (b"\x80\x02", "is damaged, or no checkpoint"),
    ],
)
def test_a_file_of_something_else(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    assert reason in refuse(tmp_path / "w.pth").message
    (tmp_path / "w.safetensors").write_bytes(content)
    assert "is damaged, or no safetensors" in refuse(tmp_path / "w.safetensors").message


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(STATE, path)
    else:
        (save_zip if form == "zip" else save_legacy)(STATE, path)
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:end])
        refuse(path)


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_a_damaged_file_is_refused_or_read_but_never_crashes(tmp_path: Path, save: Save) -> None:
    path = tmp_path / "w.pth"
    save(STATE, path)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            load_state(path)
        except ModelError as error:
            assert str(path) in error.message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "no tensors"),
        ([1, 2], "no tensors"),
        ({"net": dict(STATE), "epoch": 3}, "no tensors but 'net', 'epoch'"),
        ({"model_state_dict": {}}, "no tensors"),
        ({**STATE, "note": "best"}, "str under 'note'"),
        ({"a": torch.ones(1), 3: torch.ones(1)}, "Tensor under 3"),
        ({**STATE, "sparse": torch.eye(3).to_sparse()}, "Tensor under 'sparse'"),
    ],
)
def test_a_file_with_more_or_less_than_tensors(tmp_path: Path, content: object, reason: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert reason in refuse(tmp_path / "w.pth").message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    bad = torch.tensor([1.0, value, 2.0, value], dtype=dtype)
    torch.save({"good": torch.ones(2), "bad": bad, "worse": bad}, tmp_path / "w.pth")
    assert "2 values in `bad` that are not finite" in refuse(tmp_path / "w.pth").message


# torchvision's own files. The network's edge is the address in torchvision's table: a test points it to a
# server on this machine, so that the download, the cache and the hash are the real ones.


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "server"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly initialised network in a file that is named as torchvision names its own, after its hash."""
    path = tmp_path_factory.mktemp("published") / "w.pth"
    torch.save(get_model("mobilenet_v3_small", weights=None).state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(path.with_name(f"mobilenet_v3_small-{digest[:8]}.pth"))


def move_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(get_model_weights("mobilenet_v3_small").DEFAULT.value, "url", url)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.mark.parametrize(
    "model_name", [name for name in MODEL_NAMES if CATALOGUE[name].has_published_weights]
)
def test_torchvision_names_its_files_after_their_hash(model_name: str) -> None:
    # Without that, a damaged file in the cache could not be told from a whole one.
    name = get_model_weights(model_name).DEFAULT.url.rpartition("-")[2]
    assert len(bytes.fromhex(name.removesuffix(".pth"))) >= 4


def test_offline_without_a_cached_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{closed_port()}/models/mobilenet_v3_small-047dcff4.pth"
    move_to(monkeypatch, url)
    with pytest.raises(ModelError) as caught:
        pretrained_state("mobilenet_v3_small")
    message, hint = caught.value.message, str(caught.value.hint)
    for part in ("mobilenet_v3_small:", "mobilenet_v3_small-047dcff4.pth", str(cache), url, "refused"):
        assert part in message
    for part in (str(cache), "pretrained = false", 'weights = "FILE"'):
        assert part in hint
    assert list(cache.iterdir()) == []


def test_a_silent_server_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pochi_cli.network.NETWORK_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        move_to(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}/w-047dcff4.pth")
        with pytest.raises(ModelError, match="timed out"):
            pretrained_state("mobilenet_v3_small")
    assert socket.getdefaulttimeout() is None
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"Not a directory|File exists"):
        pretrained_state("mobilenet_v3_small")


def test_download_is_cached_and_silent_on_stdout(
    cache: Path,
    server: tuple[Path, str],
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, address = server
    served = folder / published.name
    served.write_bytes(published.read_bytes())
    move_to(monkeypatch, f"{address}/{published.name}")
    state = pretrained_state("mobilenet_v3_small")
    expected = torch.load(published, weights_only=True)
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert capsys.readouterr().out == ""

    served.unlink()
    assert list(pretrained_state("mobilenet_v3_small")) == list(expected)
    assert [path.name for path in cache.iterdir()] == [published.name]


def test_a_download_with_another_hash_is_not_kept(
    cache: Path, server: tuple[Path, str], published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    (folder / published.name).write_bytes(published.read_bytes()[:-1])
    move_to(monkeypatch, f"{address}/{published.name}")
    with pytest.raises(ModelError, match="invalid hash value"):
        pretrained_state("mobilenet_v3_small")
    assert list(cache.iterdir()) == []


def test_a_file_placed_in_the_cache_is_loaded(
    cache: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_to(monkeypatch, f"http://127.0.0.1:{closed_port()}/{published.name}")
    cache.mkdir(parents=True)
    (cache / published.name).write_bytes(published.read_bytes())
    assert len(pretrained_state("mobilenet_v3_small")) == 244


def test_a_damaged_file_in_the_cache_is_named(cache: Path, published: Path) -> None:
    # The real address: the file that stands under torchvision's own name is not torchvision's.
    cache.mkdir(parents=True)
    file = cache / "mobilenet_v3_small-047dcff4.pth"
    file.write_bytes(published.read_bytes())
    with pytest.raises(ModelError) as caught:
        pretrained_state("mobilenet_v3_small")
    assert str(file) in caught.value.message
    assert "not with 047dcff4" in caught.value.message
    assert "delete the file" in str(caught.value.hint)


def test_a_directory_in_the_cache_is_named(cache: Path) -> None:
    (cache / "mobilenet_v3_small-047dcff4.pth").mkdir(parents=True)
    with pytest.raises(ModelError, match="is no regular file"):
        pretrained_state("mobilenet_v3_small")
