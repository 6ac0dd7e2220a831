"""What fits into memory: measured, searched for, and told when it does not; under real limits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from pochi_cli.data.prepare import prepare_data
from pochi_cli.engine.batch_size import Cut, even_cuts, first_fitting, halved_cuts
from pochi_cli.engine.building import build_state
from pochi_cli.engine.classification import ClassificationTask
from pochi_cli.engine.footprint import (
    Footprint,
    ForwardPass,
    largest_batch,
    measure_footprint,
    measure_pass,
    missing_averages,
    with_overhead,
)
from pochi_cli.engine.memory import available_main_memory, available_memory, is_out_of_memory
from pochi_cli.engine.runtime import Runtime, choose_runtime, random_state
from pochi_cli.engine.training import train
from pochi_cli.runs.index import Run, find_run
from tests.commands.cli import write_toml
from tests.engine.tiny import RANDOM_STEPS, tiny_config, tiny_raw
from tests.kernel_files import kernel_files

GIB = 2**30

LIMITED = """
import os, resource, sys
import pochi_cli.engine.training
from pochi_cli.app import main

pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main()
"""

needs_limits = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")


def limited(mib: int, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `pochi` with so much memory beyond what a process takes that has loaded torch."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(mib * 2**20), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def large_images(data: Path, work_dir: Path, **changes: Any) -> dict[str, Any]:
    """Few operations, much memory: about 16 MiB for each image of a training step."""
    steps = [{"name": "Resize", "size": 224}, {"name": "ToTensor"}, {"name": "Normalize"}]
    settings: dict[str, Any] = {
        "model_name": "mobilenet_v3_small",
        "stem": None,
        "epochs": 1,
        "batch_size": 64,
    }
    settings |= {"train_transform": steps, "val_transform": steps, "num_workers": 0, "threads": 1}
    settings |= {"precision": "fp32", "channels_last": False}
    return tiny_raw(data, work_dir=str(work_dir), **settings | changes)


def one_line(text: str) -> str:
    return " ".join(text.split())


def numbers(run: Run) -> tuple[int, int]:
    written = tomllib.loads(run.layout.config_toml.read_text())
    config = json.loads(run.layout.config_json.read_text())
    assert (config["batch_size"], config["accumulate_steps"]) == (
        written["batch_size"],
        written["accumulate_steps"],
    )
    return written["batch_size"], written["accumulate_steps"]


# ---------------------------------------------------------------- under a limit


@pytest.mark.slow
@needs_limits
def test_too_large_a_batch_is_told_with_one_that_fits(few_digits: Path, tmp_path: Path) -> None:
    raw = large_images(few_digits, tmp_path / "runs")
    failed = limited(900, "train", write_toml(tmp_path / "large.toml", raw), cwd=tmp_path)
    told = one_line(failed.stderr)
    assert failed.returncode == 1, told
    assert "Traceback" not in told
    assert "out of memory with batch_size 64 (3 x 224 x 224 px, mobilenet_v3_small, fp32, cpu)" in told
    amounts = re.search(r"a step needs about ([\d.]+) GiB, (\d+) MiB are available", told)
    assert amounts, told
    assert 1024 * float(amounts[1]) > float(amounts[2]) == pytest.approx(820, abs=110)
    fitting = re.search(
        r"batch_size = (\d+) and accumulate_steps = (\d+) \(about [\d.]+ MiB, the same 64", told
    )
    assert fitting, told
    run = find_run("latest", tmp_path / "runs")
    assert run.record.status == "failed"
    assert "out of memory with batch_size 64" in str(run.record.reason)

    batch_size, accumulate_steps = int(fitting[1]), int(fitting[2])
    assert batch_size * accumulate_steps == 64
    raw |= {"batch_size": batch_size, "accumulate_steps": accumulate_steps}
    fits = limited(900, "train", write_toml(tmp_path / "fits.toml", raw), cwd=tmp_path)
    assert fits.returncode == 0, fits.stderr


@needs_limits
@pytest.mark.slow
def test_auto_takes_what_fits_and_keeps_it(few_digits: Path, tmp_path: Path) -> None:
    raw = large_images(few_digits, tmp_path / "runs", batch_size="auto", accumulate_steps=2)
    trained = limited(900, "train", write_toml(tmp_path / "auto.toml", raw), cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    run = find_run("latest", tmp_path / "runs")
    batch_size, accumulate_steps = numbers(run)
    assert 2 <= batch_size < 64
    assert batch_size * accumulate_steps == 64
    chosen = f"batch_size auto: {batch_size} images fit"
    assert f"so {accumulate_steps} batches make a step of 64 images" in one_line(trained.stderr)
    assert run.layout.log.read_text().count(chosen) == 1

    resumed = limited(900, "train", "--resume", run.directory, "--set", "epochs=2", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert len(find_run("latest", tmp_path / "runs").history) == 2
    assert numbers(run) == (batch_size, accumulate_steps)
    assert run.layout.log.read_text().count(chosen) == 1


@needs_limits
@pytest.mark.slow
def test_validation_of_larger_images_is_told_apart(few_digits: Path, tmp_path: Path) -> None:
    sizes = [[{"name": "Resize", "size": size}, {"name": "ToTensor"}] for size in (32, 640)]
    steps = {"train_transform": sizes[0], "val_transform": sizes[1]}
    raw = large_images(few_digits, tmp_path / "runs", batch_size=32, **steps)
    path = write_toml(tmp_path / "config.toml", raw)
    failed = limited(600, "train", path, cwd=tmp_path)
    told = one_line(failed.stderr)
    assert failed.returncode == 1, told
    assert "out of memory in validation with batch_size 32 (3 x 640 x 640 px" in told
    assert "a batch needs about" in told
    assert re.search(r"set batch_size = (2|4|8|15|16) and accumulate_steps", told), told
    found = limited(600, "train", path, "--set", "batch_size=auto", cwd=tmp_path)
    assert found.returncode == 0, found.stderr


# ---------------------------------------------------------------- the choice


def test_where_there_is_room_auto_takes_the_whole_step_and_leaves_no_trace(
    few_digits: Path, tmp_path: Path
) -> None:
    """The model has batch norms and dropout: the search would show in buffers and in random numbers."""
    settings: dict[str, Any] = {"model_name": "mobilenet_v3_small", "stem": None}
    settings |= {"train_transform": RANDOM_STEPS, "work_dir": str(tmp_path)}
    auto = train(tiny_config(few_digits, batch_size="auto", accumulate_steps=2, **settings))
    assert numbers(auto) == (64, 1)
    assert "a whole step" in auto.layout.log.read_text()
    written_out = train(tiny_config(few_digits, batch_size=64, accumulate_steps=1, **settings))
    states = [torch.load(run.layout.latest_model, weights_only=True) for run in (auto, written_out)]
    torch.testing.assert_close(states[0]["model_state_dict"], states[1]["model_state_dict"], rtol=0, atol=0)
    assert torch.equal(states[0]["rng_state"]["torch"], states[1]["rng_state"]["torch"])
    assert states[0]["rng_state"]["python"] == states[1]["rng_state"]["python"]
    metrics = [(record.train_loss, record.val_loss) for record in auto.history.classification]
    assert metrics == [(record.train_loss, record.val_loss) for record in written_out.history.classification]


def test_equal_batches_of_a_step() -> None:
    assert even_cuts(12, 100) == [(12, 1), (6, 2), (4, 3), (3, 4), (2, 6)]
    assert even_cuts(256, 65) == [(64, 4), (32, 8), (16, 16), (8, 32), (4, 64), (2, 128)]
    assert even_cuts(17, 16) == []
    assert halved_cuts(17, 16) == [(8, 2), (4, 4), (2, 8)]
    assert even_cuts(32, 1) == [(2, 16)]


def test_the_search_stops_at_the_first_that_fits() -> None:
    tried = []

    def need(batch_size: int, accumulate_steps: int) -> int | None:
        tried.append((batch_size, accumulate_steps))
        return None if batch_size > 100 else 10 * batch_size

    assert first_fitting(even_cuts(256, 1000), need, 330) == Cut(32, 8, 320)
    assert tried == [(256, 1), (128, 2), (64, 4), (32, 8)]
    assert first_fitting(even_cuts(256, 1000), need, 19) is None


# ---------------------------------------------------------------- the measure


def cpu(precision: Literal["fp32", "bf16"] = "fp32", *, channels_last: bool = False) -> Runtime:
    return Runtime(torch.device("cpu"), precision, channels_last, 2)


def test_a_net_that_can_be_counted_by_hand() -> None:
    layers = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(8 * 16 * 16, 4))
    found = measure_pass(model, cpu(), (16, 16), training=True)
    # While the ReLU works: the image, the outputs of convolution and batch norm, and its own.
    assert found.per_image == (3 + 8 + 8 + 8) * 16 * 16 * 4
    assert found.largest == 8 * 16 * 16 * 4
    assert found.fixed == 2 * 8 * 4  # mean and deviation of each channel
    without = measure_pass(model, cpu(), (16, 16), training=False)
    assert without.per_image == (3 + 8 + 8) * 16 * 16 * 4  # what the convolution took is held by the caller


@pytest.mark.parametrize("runtime", [cpu(), cpu("bf16", channels_last=True)], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "swin_t"])
def test_what_a_larger_batch_keeps_is_foretold(name: str, runtime: Runtime) -> None:
    """Autograd says what it keeps for the backward pass, which is nearly all that is there at the peak."""
    from torchvision.models import get_model

    model: nn.Module = get_model(name, weights=None, num_classes=4)
    found = measure_pass(model, runtime, (64, 64), training=True)
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), runtime.autocast():
        model(torch.zeros(16, 3, 64, 64).to(memory_format=runtime.memory_format))
    count = sum(storage.nbytes() for storage in kept.values())
    foretold = found.fixed + 16 * found.per_image
    assert 0.98 * count <= foretold <= count + 3 * 16 * found.largest + 0.02 * count


@pytest.mark.parametrize("training", [True, False])
def test_measuring_changes_nothing(few_digits: Path, training: bool) -> None:
    config = tiny_config(few_digits, model_name="mobilenet_v3_small", stem=None, freeze=["features.0"])
    runtime, data = choose_runtime(config), prepare_data(config, 0)
    state, _ = build_state(ClassificationTask(config, data), runtime, from_scratch=True)
    model = state.model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random = random_state()
    measure_footprint(config, data, runtime, model, 0)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    after = random_state()
    assert torch.equal(after["torch"], random["torch"])
    assert torch.equal(after["numpy"][1], random["numpy"][1])
    assert after["python"] == random["python"]
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_an_optimizer_will_hold() -> None:
    model = nn.Linear(10, 10)
    model.bias.requires_grad_(False)
    weight = [model.weight]
    assert missing_averages(torch.optim.SGD(weight, lr=0.1)) == 0
    assert missing_averages(torch.optim.SGD(weight, lr=0.1, momentum=0.9)) == 400
    assert missing_averages(torch.optim.Adam(weight, amsgrad=True)) == 1200
    optimizer = torch.optim.AdamW(weight)
    assert missing_averages(optimizer) == 800
    model(torch.ones(1, 10)).sum().backward()
    optimizer.step()
    assert missing_averages(optimizer) == 0


def test_more_lies_idle_where_freed_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def overhead(device: str, *, keeps: bool, tensors: int = 4 * 2**30) -> int:
        monkeypatch.setattr("pochi_cli.engine.footprint.keeps_freed_memory", lambda: keeps)
        return with_overhead(torch.device(device), tensors)

    assert overhead("cpu", keeps=True) - overhead("cpu", keeps=False) == 512 * 2**20
    small = [overhead("cpu", keeps=keeps, tensors=2**20) for keeps in (True, False)]
    assert small == [int(1.9 * 2**20)] * 2
    assert overhead("cuda", keeps=True) == overhead("cuda", keeps=False) == int(1.15 * 4 * 2**30)


def test_a_step_is_the_sum_of_its_parts() -> None:
    image = 3 * 8 * 8 * 4
    footprint = Footprint(
        device=torch.device("meta"),
        training=ForwardPass(fixed=50, per_image=2000, largest=300),
        validation=ForwardPass(fixed=0, per_image=900_000, largest=300),
        gradients=7000,
        averages=14_000,
        image=image,
        val_image=image,
        train_images=100,
        val_images=10,
        copies=1,
        batches_ahead=4,
    )
    assert largest_batch(16, 100) == 16
    assert largest_batch(16, 97) == 17  # the last image alone joins
    images_waiting = 2 * 16 - 16 + 4 * 16
    assert footprint.step_tensors(16, 2) == 50 + 16 * 2300 + 7000 + 14_000 + images_waiting * image
    assert footprint.step_tensors(100, 3) == footprint.step_tensors(100, 1)  # there are no more images
    assert footprint.needed_bytes(16, 2) == footprint.validation_bytes(16) > footprint.step_bytes(16, 2)
    assert footprint.validation_bytes(16) == footprint.validation_bytes(10)


# ---------------------------------------------------------------- what there is


MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 8000 * 1024, id="machine"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/user/job\n",
                "cgroup/user/job/memory.max": "max\n",
                "cgroup/user/job/memory.current": "9\n",
                "cgroup/user/memory.max": "1000000\n",
                "cgroup/user/memory.current": "400000\n",
                "cgroup/user/memory.stat": "anon 1\ninactive_file 50000\nactive_file 3\n",
            },
            650_000,
            id="version 2, a group around",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/../other\n",
                "cgroup/memory.max": "1000\n",
                "cgroup/memory.current": "1200\n",
            },
            0,
            id="version 2, a container's own root, beyond its limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "5:devices:/\n4:cpu,memory:/job\n0::/\n",
                "cgroup/memory/job/memory.limit_in_bytes": "500000\n",
                "cgroup/memory/job/memory.usage_in_bytes": "300000\n",
                "cgroup/memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 100000\n",
            },
            200_001,
            id="version 1",
        ),
    ],
)
def test_the_least_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert available_main_memory(*kernel_files(tmp_path, MACHINE | files)) == expected


@needs_limits
def test_what_this_machine_has() -> None:
    available = available_memory(torch.device("cpu"))
    assert available is not None
    assert 2**20 < available < 2**50


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    if sys.platform != "darwin":
        assert available_main_memory(tmp_path / "proc", tmp_path / "cgroup") is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("DataLoader worker is out of shared memory"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError("Cannot allocate memory"), False),
    ],
)
def test_a_lack_of_memory_is_known(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
