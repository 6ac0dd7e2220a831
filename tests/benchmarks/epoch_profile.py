"""Where the time of an epoch goes: `python tests/benchmarks/epoch_profile.py [--case CASE...] [--data DIR]`.

torch's profiler looks at the second epoch of a real training, validation left out. What the computing process
does is told apart: waiting for the loader (or, without workers, loading), forward, loss, backward, optimizer,
other operations (moving and finishing the batch, metrics), the rest (Python, and the profiler itself), and
records and checkpoints after the last step.
Cases and data are those of `training.py`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.profiler import ProfilerActivity, profile

from pochi_cli import api
from pochi_cli.config.load import validate
from pochi_cli.runs.epochs import EpochRecord
from tests.benchmarks.comparison.cases import CASES, Case
from tests.benchmarks.comparison.turns import write_table
from tests.benchmarks.peers.pochi_config import config_of

PARTS = ("loader", "forward", "loss", "backward", "optimizer", "other operations", "rest")
DEFAULT = ("photos", "cifar-resnet18", "cifar-vgg")


def main() -> None:
    """Print a table for each case and cache."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=CASES, default=DEFAULT, metavar="CASE")
    parser.add_argument("--data", type=Path, help="CIFAR-10 as a folder of images")
    parser.add_argument("--images", type=int, help="other number of training images")
    parser.add_argument("--cache", nargs="+", default=["none", "ram"], help="(default: none ram)")
    options = parser.parse_args()
    for name in options.case:
        case = replace(CASES[name], val=0, epochs=2)
        case = replace(case, train=options.images or case.train)
        with tempfile.TemporaryDirectory() as home:
            case.write_images(Path(home) / "images", options.data)
            for cache in options.cache:
                show(case, Path(home), cache)


def show(case: Case, home: Path, cache: str) -> None:
    """Train with the profiler on, and print the shares of the second epoch."""
    config = validate(config_of(case.job(home / "images"), home / "runs", cache=cache))
    profiler = profile(activities=[ProfilerActivity.CPU])

    started = ended = 0.0

    def on_epoch(record: EpochRecord) -> None:
        nonlocal started, ended
        if record.epoch == 1:
            profiler.start()
            started = time.perf_counter()
        else:
            ended = time.perf_counter()
            profiler.stop()

    with marked_modules():
        run = api.train(config, on_epoch)
    whole = ended - started
    trained = case.train / run.history.classification[-1].samples_per_second
    shares = parts_of(profiler, trained)
    shares["records and checkpoints"] = whole - trained
    settings = run.record.settings
    steps = -(-case.train // case.batch_size)
    rows = [
        [part, f"{100 * took / whole:.1f} %", f"{1e3 * took / steps:.2f}"] for part, took in shares.items()
    ]
    rows.append(["epoch", f"{whole:.2f} s", f"{1e3 * whole / steps:.2f}"])
    chosen = f"{settings['precision']}, channels-last {settings['channels_last']}"
    title = f'{case.title}, cache = "{cache}", {chosen}, workers {settings["num_workers"]}'
    write_table(title, ("second epoch", "share", "ms a step"), rows)


@contextmanager
def marked_modules() -> Iterator[None]:
    """Mark in the profile what the outermost module called does: the model's forward pass, or the loss."""
    depth = 0
    mark: torch.profiler.record_function | None = None

    def before(module: nn.Module, _inputs: Any) -> None:
        nonlocal depth, mark
        if depth == 0:
            mark = torch.profiler.record_function(_kind(module))
            mark.__enter__()  # type: ignore[no-untyped-call]
        depth += 1

    def after(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0 and mark is not None:
            mark.__exit__(None, None, None)

    handles = [
        hooks.register_module_forward_pre_hook(before),
        hooks.register_module_forward_hook(after, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _kind(module: nn.Module) -> str:
    return "forward" if any(True for _ in module.parameters()) else "loss"


def parts_of(profiler: profile, seconds: float) -> dict[str, float]:
    """Add up the seconds of the outermost events of the thread that trains.

    Args:
        profiler: Started when the epoch began.
        seconds: Until the last step of the epoch; what comes later is passed over.
    """
    events = list(profiler.events() or ())  # type: ignore[no-untyped-call]
    trains = next(event.thread for event in events if event.name == "forward")
    parts = dict.fromkeys(PARTS, 0.0)
    for event in events:
        if event.thread == trains and event.cpu_parent is None and event.time_range.start < 1e6 * seconds:
            parts[_part(event.name)] += event.cpu_time_total / 1e6
    parts["rest"] = seconds - sum(parts.values())
    return parts


def _part(name: str) -> str:
    if name in PARTS:
        return name
    starts = {
        "enumerate(DataLoader)": "loader",
        "autograd::": "backward",
        "Optimizer.": "optimizer",
    }
    return next((part for start, part in starts.items() if name.startswith(start)), "other operations")


if __name__ == "__main__":
    main()
