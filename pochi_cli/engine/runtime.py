"""Device, precision, memory layout, threads, and the randomness of the process."""

from __future__ import annotations

import os
import platform
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import torch

from pochi_cli.config.recording import HardwareConfig, ImageHardwareConfig
from pochi_cli.cores import usable_cores
from pochi_cli.data.findings import counted
from pochi_cli.engine.distributed import ALONE, Alone
from pochi_cli.errors import DeviceError
from pochi_cli.ranks import Rank

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
_X86 = frozenset({"x86_64", "amd64"})


@dataclass(frozen=True)
class Runtime:
    """What the computation runs on.

    Attributes:
        device: cpu, mps, cuda or cuda:N.
        precision: Arithmetic of forward and backward; weights stay in float32.
        channels_last: Memory layout of images and weights.
        threads: Threads of the computation on the CPU.
        team: The processes that compute together.
    """

    device: torch.device
    precision: Literal["fp32", "bf16", "fp16"]
    channels_last: bool
    threads: int
    team: Alone = ALONE

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout as torch names it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def arithmetic(self) -> str:
        """Precision and layout in words."""
        return f"{self.precision} channels-last" if self.channels_last else self.precision

    @property
    def is_plain(self) -> bool:
        """Whether it is what torch does by itself."""
        return self.precision == "fp32" and not self.channels_last

    @property
    def shared_device(self) -> str:
        """Device as a config names it, which says nothing of one of several processes."""
        return str(self.device) if self.team.size == 1 else self.device.type

    @property
    def shared_threads(self) -> int:
        """Threads of all processes of a machine."""
        return self.threads * self.team.place.local_world_size

    @property
    def sum_dtype(self) -> torch.dtype:
        """Dtype for sums over an epoch: float64 where the device has it."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def autocast(self) -> AbstractContextManager[Any]:
        """Run operations in the chosen precision inside the block."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_HALF[self.precision])

    def create_scaler(self) -> torch.amp.GradScaler:
        """Build the loss scaler that fp16 needs; for other precisions it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def choose_runtime(config: HardwareConfig, team: Alone = ALONE) -> Runtime:
    """Choose what the config leaves open, as far as that can be done without a model.

    What `by_rule` says of a model that is heavy work for a GPU and none for a CPU.

    Args:
        config: The part on hardware.
        team: The processes that compute together.

    Raises:
        DeviceError: The device or precision asked for is not there.
    """
    possible = candidates(config, team)
    return by_rule(possible, is_heavy=possible[0].device.type == "cuda")


def candidates(config: HardwareConfig, team: Alone = ALONE) -> tuple[Runtime, ...]:
    """List the precisions and memory layouts that a config leaves open, fp32 with channels outermost first.

    What the hardware only emulates is none. Vectors are computed in fp32, which their distances need. A
    deterministic training has no choice: the fastest may be another one tomorrow.

    Raises:
        DeviceError: The device or precision asked for is not there.
    """
    device = choose_device(config.device, team.place)
    is_open = isinstance(config, ImageHardwareConfig) and not config.deterministic
    precisions: list[Literal["fp32", "bf16", "fp16"]] = ["fp32"]
    if config.deterministic:
        pass
    elif config.precision != "auto":
        precisions = [config.precision]
    elif is_open and (half := native_half(device)):
        precisions.append(half)
    if precisions == ["fp16"] and device.type == "cpu":
        raise DeviceError("precision is fp16, which needs a GPU; the device is cpu", hint="use bf16 or fp32")
    layout = config.channels_last if isinstance(config, ImageHardwareConfig) else False
    layouts = [layout] if layout != "auto" else [False, True] if is_open and device.type != "mps" else [False]
    threads = _threads(config, team.place)
    return tuple(
        Runtime(device, precision, channels_last, threads, team)
        for precision, channels_last in product(precisions, layouts)
    )


def _threads(config: HardwareConfig, place: Rank) -> int:
    if config.threads is None and "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()  # of this process: a launcher has given each its own
    # Of itself torch takes as many as it sees cores, also where their time is limited.
    return max(1, (config.threads or min(torch.get_num_threads(), usable_cores())) // place.local_world_size)


def doubtful_threads(runtime: Runtime) -> tuple[str, ...]:
    """Tell where this process computes with more threads than it has cores."""
    cores = usable_cores()
    if runtime.device.type != "cpu" or runtime.threads <= cores:
        return ()
    count = counted(cores, "core")
    return (f"computes with {runtime.threads} threads on {count}: each step waits for its slowest thread",)


def by_rule(possible: Sequence[Runtime], *, is_heavy: bool) -> Runtime:
    """Choose without measuring: half precision with channels innermost for heavy work, else neither.

    Args:
        possible: As `candidates` gives them.
        is_heavy: Whether a batch is work enough for half precision to pay.
    """

    def distance(runtime: Runtime) -> tuple[bool, bool]:
        is_half = runtime.precision != "fp32"
        return is_half != is_heavy, runtime.channels_last != (is_half and is_heavy)

    return min(possible, key=distance)


def native_half(device: torch.device) -> Literal["bf16", "fp16"] | None:
    """Find the half precision that a device computes in itself; `None` where it would emulate it."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if has_bf16 else "fp16"
    return "bf16" if device.type == "cpu" and _processor_has_bf16() else None


def _processor_has_bf16() -> bool:
    # Whether training in bf16 pays on ARM has not been measured.
    if platform.machine().lower() not in _X86:
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    # torch has no public name for these.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    probes = [getattr(torch.cpu, name, None) for name in names]
    return any(probe() for probe in probes if probe is not None)


def own_runtime(config: HardwareConfig) -> Runtime:
    """Choose what a model was trained on, or what is nearest to it where that is missing.

    Raises:
        DeviceError: Nothing will do.
    """
    if config.threads is not None:  # it may have been trained on a larger machine
        config = config.model_copy(update={"threads": min(config.threads, usable_cores())})
    try:
        return choose_runtime(config)
    except DeviceError:
        precision = "auto" if config.precision == "fp16" else config.precision
        return choose_runtime(config.model_copy(update={"device": None, "precision": precision}))


def choose_device(name: str | None, place: Rank = Rank()) -> torch.device:  # noqa: B008 - it is immutable
    """Choose the device of this process.

    Args:
        name: As in the config: `cpu`, `mps`, `cuda` or `cuda:N`; `None` for the best that there is.
        place: Of this process: of several on a machine each has a CUDA device of its own.

    Raises:
        DeviceError: The device is not there, or several processes cannot share it.
    """
    if not place.is_alone:
        return _own_device(name, place)
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = f"there are {count} CUDA devices" if count else "there is no usable CUDA device"
            raise DeviceError(f"device is {name}, but {there}", hint='use device = "cpu", or leave it out')
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device is mps, but there is no such device here", hint='use device = "cpu"')
    return device


def _own_device(name: str | None, place: Rank) -> torch.device:
    if name == "cpu" or (name is None and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in (None, "cuda"):
        raise DeviceError(
            f"device is {name}, but {place.world_size} processes train together",
            hint='leave device out, or use "cuda" (each process takes one of the GPUs) or "cpu"',
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if place.local_world_size > count:
        raise DeviceError(
            f"{place.local_world_size} processes need as many CUDA devices, but there are {count}",
            hint='start fewer, or use device = "cpu"',
        )
    torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", place.local_rank)


@contextmanager
def configured(config: HardwareConfig, runtime: Runtime) -> Iterator[None]:
    """Set threads, determinism and seeds of the process, and put back the settings afterwards.

    Randomness is seeded, and not put back: a caller's random numbers after a training go on from it.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.set_num_threads(runtime.threads)
    torch.backends.cudnn.benchmark = isinstance(config, ImageHardwareConfig) and config.cudnn_benchmark
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    seed_all(config.seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(deterministic)


def seed_all(seed: int) -> None:
    """Seed every global source of randomness.

    Args:
        seed: 32 bits.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Read the state of every global source of randomness, as tensors and plain values."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` read."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
