from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pochi_cli.config.data import DataConfig
from pochi_cli.data.arenas import FREE_ON_DISK, DiskArena, MemoryArena, SharedBytes
from pochi_cli.data.batches import Loaders
from pochi_cli.data.cache import PixelCache
from pochi_cli.data.cache_choice import cache_text, choose_cache
from pochi_cli.data.cache_files import CacheFiles, cache_key
from pochi_cli.data.folder import FolderIndex, index_folder
from pochi_cli.data.loaders import BatchLoader, create_loaders
from pochi_cli.data.prepare import prepare_data
from pochi_cli.errors import StorageError
from tests.data.photos import write_photos
from tests.data.test_datasets import RANDOM_STEPS
from tests.data.test_transforms import TO_TENSOR, parse

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

RESIZE = {"name": "Resize", "size": [20, 24]}
FLIP = {"name": "RandomHorizontalFlip"}
NORMALIZE = {"name": "Normalize"}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs of several sizes and formats, and a cache directory of the test's own."""
    monkeypatch.setenv("POCHI_CACHE_DIR", str(tmp_path / "cache"))
    return write_photos(tmp_path / "photos")


def loaders(root: Path, *, fills: bool = True, **keys: Any) -> Loaders[BatchLoader]:
    free = keys.pop("free", 1 << 30)
    steps = [RESIZE, FLIP, TO_TENSOR, NORMALIZE]
    keys = {"train_transform": steps, "batch_size": 4, "num_workers": 0, **keys}
    config = DataConfig.model_validate({"train_data_root": str(root), **keys})
    data = prepare_data(config, 0)
    return create_loaders(
        config, data, seed=0, device_type="cpu", epochs=3, free_memory=free, fills_cache=fills
    )


def images(loader: BatchLoader, epoch: int) -> list[torch.Tensor]:
    return [batch.to("cpu").images for _, batch in loader.batches(epoch)]


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) > 0 and all(map(torch.equal, first, second))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("place", ["ram", "disk"])
@pytest.mark.parametrize(
    "steps",
    [
        [RESIZE, FLIP, TO_TENSOR, NORMALIZE],
        [{"name": "RandomResizedCrop", "size": 9}, FLIP, TO_TENSOR, NORMALIZE],
        [{"name": "Letterbox", "size": 16}, TO_TENSOR],
        RANDOM_STEPS,
    ],
    ids=["resized", "whole", "fixed", "random"],
)
def test_a_cache_changes_no_value(photos: Path, steps: Any, place: str, workers: int) -> None:
    keys = {"train_transform": steps, "num_workers": workers}
    plain, cached = (loaders(photos, cache=cache, **keys).train for cache in ("none", place))
    for epoch in (1, 2, 1):
        assert equal(images(cached, epoch), images(plain, epoch))
    assert isinstance(cached.dataset.cache, PixelCache)
    assert cached.dataset.cache.count == len(plain.dataset)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_image_is_decoded_once(photos: Path, workers: int) -> None:
    train = loaders(photos, cache="ram", num_workers=workers).train
    first = images(train, 1)
    shutil.rmtree(photos)
    assert equal(images(train, 1), first)
    assert len(images(train, 2)) == len(first)


def test_a_later_run_finds_what_is_on_the_disk(photos: Path) -> None:
    first = images(loaders(photos, cache="disk").train, 1)
    index = index_folder(photos)
    (directory,) = (photos.parent / "cache" / "images").iterdir()
    code = (
        "import sys, torch; from pathlib import Path; from tests.data.test_cache import read_again;"
        "torch.save(read_again(Path(sys.argv[1])), sys.argv[2])"
    )
    again = photos.parent / "again.pt"
    subprocess.run([sys.executable, "-c", code, str(photos), str(again)], check=True)
    assert equal(torch.load(again), first)
    assert directory.name == cache_key(index, parse(RESIZE))


def read_again(root: Path) -> list[torch.Tensor]:
    """Read an epoch from what another process left: the files themselves hold something else now."""
    train = loaders(root, cache="disk").train
    assert isinstance(train.dataset.cache, PixelCache)
    assert train.dataset.cache.count == len(train.dataset)
    return images(train, 1)


def test_a_changed_file_or_step_has_another_cache(photos: Path) -> None:
    index = index_folder(photos)
    keys = [cache_key(index, parse(RESIZE)), cache_key(index, parse({"name": "Resize", "size": 21}))]
    file = index.file(0)
    os.utime(file, ns=(1, 1))  # of the same size, but written at another time
    keys.append(cache_key(index, parse(RESIZE)))
    file.write_bytes(file.read_bytes() + b" ")
    os.utime(file, ns=(1, 1))
    keys.append(cache_key(index, parse(RESIZE)))
    assert len(set(keys)) == 4


def test_a_damaged_table_is_made_anew(photos: Path) -> None:
    first = images(loaders(photos, cache="disk").train, 1)
    (table,) = (photos.parent / "cache" / "images").glob("*/table.npy")
    kept = table.read_bytes()
    for damaged in (b"", kept[:-8], b"x" * len(kept), kept[:-8] + (1 << 60).to_bytes(8, "little")):
        table.write_bytes(damaged)
        cache = loaders(photos, cache="disk").train
        assert isinstance(cache.dataset.cache, PixelCache)
        assert cache.dataset.cache.count == 0
        assert equal(images(cache, 1), first)


def test_bad_images_stay_bad(photos: Path) -> None:
    (photos / "cats" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    train = loaders(photos, cache="ram", on_bad_image="skip").train
    first = images(train, 1)
    assert equal(images(train, 1), first)
    assert [bad.path for bad in train.skipped] == [str(photos / "cats" / "broken.png")]


@pytest.mark.parametrize(
    ("mode", "free", "passes", "steps", "place"),
    [
        ("auto", 1 << 30, 2, [RESIZE, TO_TENSOR], "ram"),
        ("auto", 1 << 30, 1, [RESIZE, TO_TENSOR], "none"),
        ("auto", None, 2, [RESIZE, TO_TENSOR], "none"),
        ("auto", 30_000, 2, [RESIZE, TO_TENSOR], "none"),
        ("auto", 1 << 30, 2, [FLIP, TO_TENSOR], "ram"),
        ("none", 1 << 30, 2, [RESIZE, TO_TENSOR], "none"),
        ("ram", 1 << 30, 1, [RESIZE, TO_TENSOR], "ram"),
        ("ram", None, 1, [RESIZE, TO_TENSOR], "ram"),
        ("disk", 0, 1, [RESIZE, TO_TENSOR], "disk"),
    ],
)
def test_where_images_are_kept(
    photos: Path, mode: Any, free: Any, passes: int, steps: Any, place: str
) -> None:
    index = index_folder(photos)
    chosen = choose_cache(
        mode, index, parse(*steps), passes=passes, free=free, directory=photos.parent / "cache"
    )
    assert chosen.place == place
    assert chosen.warning is None
    if steps[0] is RESIZE and place != "none":
        assert chosen.size == len(index) * 20 * 24 * 3


def test_as_many_are_kept_as_fit(photos: Path) -> None:
    plain = loaders(photos, cache="none").train
    image = 20 * 24 * 3
    train = loaders(photos, cache="ram", free=int(4.5 * image / 0.8)).train
    assert "as many are kept as fit" in str(train.cached.warning)
    for epoch in (1, 2):
        assert equal(images(train, epoch), images(plain, epoch))
    assert isinstance(train.dataset.cache, PixelCache)
    assert train.dataset.cache.count == 4


def test_arrays_in_memory_need_no_cache(photos: Path) -> None:
    from pochi_cli.data.pixels import Pixels

    values = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    index = FolderIndex(photos, ("a",), ("1", "2"), (0, 0), (192, 192), pixels=Pixels(values))
    for steps, place in (([FLIP, TO_TENSOR], "none"), ([RESIZE, TO_TENSOR], "ram")):
        chosen = choose_cache("ram", index, parse(*steps), passes=2, free=None, directory=photos)
        assert chosen.place == place


def test_two_processes_share_no_file_that_both_write(photos: Path) -> None:
    cache = photos.parent / "cache" / "mine"
    first = CacheFiles(cache)
    assert first.is_ours
    code = (
        "import sys; from pathlib import Path; from pochi_cli.data.cache_files import CacheFiles;"
        "print(CacheFiles(Path(sys.argv[1])).is_ours)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(cache)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_two_parts_of_one_folder_do_not_fill_one_cache(photos: Path) -> None:
    keys: dict[str, Any] = {"val_data_root": str(photos), "val_transform": [RESIZE, TO_TENSOR]}
    plain, cached = (loaders(photos, cache=cache, **keys) for cache in ("none", "disk"))
    assert plain.val is not None
    assert cached.val is not None
    *_, note = cache_text([cached.train.cached, cached.val.cached])
    assert "is being filled elsewhere, and only read here: 10 of 10 images" in note
    for epoch in (1, 2):
        assert equal(images(cached.train, epoch), images(plain.train, epoch))
        assert equal(images(cached.val, 0), images(plain.val, 0))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_cache_that_is_deleted_while_it_is_filled(photos: Path, is_replaced: bool, workers: int) -> None:
    """What is lost is decoded again, and a cache that another run begins in its place is left alone."""
    plain, cached = (loaders(photos, cache=cache, num_workers=workers).train for cache in ("none", "disk"))
    expected = [images(plain, epoch) for epoch in (1, 2)]
    found = []
    for number, batch in cached.batches(1):
        if number == 0:
            shutil.rmtree(photos.parent / "cache")
            if is_replaced:
                other = loaders(photos, cache="disk", batch_size=3).train
                images(other, 7)
        found.append(batch.to("cpu").images)
    assert equal(found, expected[0])
    assert equal(images(cached, 2), expected[1])
    later = loaders(photos, cache="disk").train
    assert equal(images(later, 1), expected[0])


def test_of_several_processes_one_fills(photos: Path) -> None:
    other = loaders(photos, cache="disk", fills=False).train  # whichever comes first
    first = loaders(photos, cache="disk").train
    assert equal(images(other, 1), images(first, 1))
    assert (other.dataset.cache.keeps, first.dataset.cache.keeps) == (False, True)
    later = loaders(photos, cache="disk", fills=False).train
    assert later.dataset.cache.get(0) is not None


@pytest.mark.parametrize("workers", [0, 2])
def test_what_an_interrupted_epoch_has_decoded_is_not_lost(photos: Path, workers: int) -> None:
    batches = loaders(photos, cache="disk", num_workers=workers).train.batches(1)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    (table,) = photos.parent.rglob("table.npy")
    assert np.count_nonzero(np.load(table)[:, 1]) >= 4


def test_a_file_that_is_cut_off_while_it_is_read(photos: Path) -> None:
    """To look behind its end would end the process."""
    expected = [images(loaders(photos, cache="none").train, epoch) for epoch in (1, 2)]
    cached = loaders(photos, cache="disk").train
    assert equal(images(cached, 1), expected[0])
    (file,) = photos.parent.rglob("pixels.bin")
    os.truncate(file, 1000)
    assert equal(images(cached, 2), expected[1])
    assert equal(images(loaders(photos, cache="disk").train, 1), expected[0])


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_directory_that_is_read_only(
    photos: Path, monkeypatch: pytest.MonkeyPatch, is_complete: bool
) -> None:
    filled = loaders(photos, cache="disk").train
    expected = images(filled, 1) if is_complete else [next(filled.batches(1))[1].to("cpu").images]
    filled.dataset.cache.flush()
    files = {file: file.read_bytes() for file in (photos.parent / "cache").rglob("*") if file.is_file()}

    def refuse(path: Path, *_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "open", refuse)
    read = loaders(photos, cache="disk").train
    assert (read.cached.warning is None) == is_complete
    if not is_complete:
        assert "is read-only: 6 of 10 images, which it has not" in str(read.cached.warning)
    found = images(read, 1)
    assert equal(found[: len(expected)], expected)
    assert {file: file.read_bytes() for file in files} == files
    for file in files:
        file.unlink()
    with pytest.raises(StorageError, match="cannot write the cache of images"):
        loaders(photos, cache="disk")


def test_a_disk_without_room_is_told(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2, 1, 1))
    train = loaders(photos, cache="disk").train
    assert "room for 0.0 MiB: as many are kept as fit" in str(train.cached.warning)
    assert "other caches" not in str(train.cached.warning)
    assert train.cached.size == 0
    assert equal(images(train, 1), images(loaders(photos, cache="none").train, 1))


def test_the_file_of_an_arena_grows(tmp_path: Path) -> None:
    (tmp_path / "pixels.bin").touch()
    arena = DiskArena(tmp_path / "pixels.bin", 0, 64 << 20)
    places = [arena.take(40 << 20) for _ in range(3)]
    assert places == [0, 40 << 20, 80 << 20]
    arena.view(80 << 20, 3)[:] = (1, 2, 3)
    arena.flush()
    with (tmp_path / "pixels.bin").open("rb") as file:
        file.seek(80 << 20)
        assert file.read(3) == b"\1\2\3"


def test_of_a_full_disk_other_caches_are_told(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(loaders(photos, cache="disk").train, 1)
    other = write_photos(photos.parent / "other photos")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2, 1, 1))
    warning = str(loaders(other, cache="disk").train.cached.warning)
    assert warning.endswith("; other caches there, of which not all may be needed, take 1.0 MiB")


def test_few_images_take_little_of_a_disk(photos: Path) -> None:
    images(loaders(photos, cache="disk").train, 1)
    (file,) = photos.parent.rglob("pixels.bin")
    assert 10 * 20 * 24 * 3 <= file.stat().st_size <= 1 << 20


def test_a_file_grows_into_the_last_of_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pixels.bin"
    file.touch()
    arena = DiskArena(file, 0, 100)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: usage._replace(free=FREE_ON_DISK + 150 - file.stat().st_size)
    )
    assert [arena.take(70) for _ in range(3)] == [0, 70, None]
    assert file.stat().st_size == 150


def test_a_full_disk_ends_the_keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pixels.bin").touch()
    arena = DiskArena(tmp_path / "pixels.bin", 0, 64 << 20)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    assert arena.take(10) is None


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_vanishes_while_it_is_made_to_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    """Another run may delete the cache between any two looks at it."""
    file = tmp_path / "pixels.bin"
    file.touch()
    arena = DiskArena(file, 0, 100)
    usage = shutil.disk_usage(tmp_path)

    def vanish(_: Path) -> Any:
        file.rename(tmp_path / "elsewhere.bin")  # its inode stays taken
        if is_replaced:
            file.touch()
        return usage

    monkeypatch.setattr(shutil, "disk_usage", vanish)
    assert arena.take(10) is None
    assert arena.take(10) is None
    with pytest.raises(OSError, match=r"pixels\.bin"):
        arena.view(0, 10)
    assert not arena.flush()
    if is_replaced:
        assert file.stat().st_size == 0


def test_a_file_that_is_replaced_while_it_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the other file is taken for what was kept."""
    file = tmp_path / "pixels.bin"
    file.touch()
    arena = DiskArena(file, 0, 100)
    assert arena.take(10) == 0
    true_map = arena._map

    def replace_and_map() -> SharedBytes:
        file.rename(tmp_path / "elsewhere.bin")
        file.write_bytes(bytes(range(100)))
        return true_map()

    monkeypatch.setattr(arena, "_map", replace_and_map)
    with pytest.raises(OSError, match=r"pixels\.bin"):
        arena.view(0, 10)


def test_an_arena_in_memory_ends() -> None:
    arena = MemoryArena(10)
    assert [arena.take(4), arena.take(6), arena.take(1)] == [0, 4, None]


def add(shared: SharedBytes) -> None:
    shared.values[3] += 7


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_see_the_same_bytes(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot start processes by {method}")
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: method)
    shared = SharedBytes(10)
    process = multiprocessing.get_context(method).Process(target=add, args=(shared,))
    process.start()
    process.join()
    assert shared.values.tolist() == [0, 0, 0, 7, 0, 0, 0, 0, 0, 0]
    if method != "fork":
        assert pickle.loads(pickle.dumps(shared)).values.tolist() == shared.values.tolist()


def test_an_image_that_is_drawn_twice_is_kept_once() -> None:
    cache = PixelCache(3, MemoryArena(100))
    pixels = torch.arange(27, dtype=torch.uint8).reshape(3, 3, 3)
    for index in (1, 1, 2):
        cache.put(index, pixels)
    assert Counter(cache.get(index) is None for index in range(3)) == {False: 2, True: 1}
    kept = cache.get(2)
    assert kept is not None
    assert torch.equal(kept, pixels)
    assert cache.count == 2
