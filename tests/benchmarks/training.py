"""How fast Pochi trains, beside limits and peers: `python tests/benchmarks/training.py [--case CASE...]`.

Needs `pip install 'pochi[bench]'`. What a table compares takes turns in rounds; what a user would find by
trying, precision and number of workers, is tried before and not counted. The cases:

- `photos`, `cifar-resnet18`, `cifar-vgg`: images per second of the second epoch. The training step alone, the
  loader alone, and the ceiling that both make, 1 / (1/step + 1/loader), are measured in the same process, in
  turns of some seconds; ratios to them are taken within each turn. Loops written by hand run in processes of
  their own; ratios to them are taken within each round.
- `short-photos`, `short-cifar`: seconds of the whole command, and where Pochi's go.

With `--data DIR` the small images are CIFAR-10's, from `DIR/train/<class>` and `DIR/test/<class>`; else they
are made here.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pochi_cli.cores import usable_cores
from tests.benchmarks.comparison import throughput, whole_command
from tests.benchmarks.comparison.cases import CASES
from tests.benchmarks.comparison.contestants import PEER_OF, Commands

PACKAGES = ("pochi", "torch", "torchvision", "timm", "lightning", "fastai", "ultralytics")


def main() -> None:
    """Print a table for each case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--data", type=Path, help="CIFAR-10 as a folder of images")
    parser.add_argument("--images", type=int, help="other number of training images")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[2, 1, 0], help="numbers that peers try (default: 2 1 0)"
    )
    parser.add_argument(
        "--peers", nargs="*", choices=PEER_OF, default=list(PEER_OF), metavar="PEER",
        help=f"of the short cases: {', '.join(PEER_OF)} (default: all)",
    )  # fmt: skip
    options = parser.parse_args()
    sys.stdout.write(f"{_machine()}\n")
    for name in options.case:
        case = CASES[name]
        if options.images:
            case = replace(case, train=options.images)
        with tempfile.TemporaryDirectory() as directory:
            home = Path(directory)
            case.write_images(home / "images", options.data)
            commands = Commands(home)
            if case.val:
                whole_command.compare(
                    case, home / "images", commands, options.rounds, options.workers, options.peers
                )
            else:
                throughput.compare(case, home / "images", commands, options.rounds, options.workers)
        if case.is_small:
            sys.stdout.write(f"  images: {'CIFAR-10' if options.data else 'made by the benchmark'}\n")


def _machine() -> str:
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    cores = f"{platform.machine()}, {usable_cores()} cores"
    return ", ".join((cores, f"python {platform.python_version()}", *versions))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    main()
