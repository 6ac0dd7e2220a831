"""Trainings that go well, overfit, or are unstable: the monitor's verdicts must tell them apart.

    python -m tests.stress.courses [--cifar DIR] [--only NAME ...]

Networks of five families learn the digits, and CIFAR-10 where a folder of it with `train` and `val` or `test`
is given: as one would train them, on labels without meaning or too few images, and at rates that are far too
large. Prints what was found of each, with its numbers. About 15 minutes on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pochi_cli.config.load import validate
from pochi_cli.data.digits import write_digits
from pochi_cli.engine.training import train
from pochi_cli.errors import NonFiniteLossError
from pochi_cli.inspection.monitor_verdicts import judge_training
from pochi_cli.runs.index import Run, find_run
from pochi_cli.runs.monitor_record import read_monitor_epochs
from tests.stress.healthy import sample
from tests.stress.script import parser, say, workplace

PLAIN = [{"name": "Resize", "size": 32}, {"name": "ToTensor"}, {"name": "Normalize"}]
MOVED = [
    {"name": "Resize", "size": 32},
    {"name": "RandomCrop", "size": 32, "padding": 4},
    {"name": "ToTensor"},
    {"name": "Normalize"},
]
ADAM = {"optimizer": "Adam", "learning_rate": 0.001}
ADAMW = {"optimizer": "AdamW", "learning_rate": 0.001}
FAST = {
    "learning_rate": 0.1,
    "optimizer_params": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "scheduler": "CosineAnnealingLR",
    "label_smoothing": 0.1,
}


class Course(NamedTuple):
    """A training.

    Attributes:
        expected: Codes of findings, one of which must be told; none: nothing may be told.
        data: `digits`, `mixed` (digits under labels without meaning), `cifar` or `few` (a few images of it).
        epochs: How many.
        keys: Of the config.
    """

    expected: frozenset[str]
    data: str
    epochs: int
    keys: Mapping[str, Any]


HEALTHY: frozenset[str] = frozenset()
OVERFITTING = frozenset({"overfitting"})
LOST = frozenset({"unstable", "diverged", "non-finite", "not-learning"})

COURSES = {
    "resnet18 by SGD": Course(HEALTHY, "digits", 8, {"learning_rate": 0.02}),
    "resnet18 by Adam": Course(HEALTHY, "digits", 6, ADAM),
    "vgg_compact by a cosine from 0.1": Course(
        HEALTHY,
        "digits",
        8,
        {"model_name": "vgg_compact", "warmup_epochs": 2, "scheduler_params": {"T_max": 6}, **FAST},
    ),
    "vgg11_bn by SGD": Course(HEALTHY, "digits", 6, {"model_name": "vgg11_bn", "learning_rate": 0.005}),
    "vit_tiny by AdamW": Course(
        HEALTHY, "digits", 8, {"model_name": "vit_tiny", "warmup_epochs": 2, **ADAMW}
    ),
    "mobilenet_v3_small by AdamW": Course(
        HEALTHY, "digits", 8, {"model_name": "mobilenet_v3_small", **ADAMW}
    ),
    "resnet18 on photographs": Course(HEALTHY, "cifar", 6, {"learning_rate": 0.02}),
    "vgg_compact on photographs": Course(
        HEALTHY,
        "cifar",
        8,
        {"model_name": "vgg_compact", "warmup_epochs": 2, "scheduler_params": {"T_max": 6}, **FAST},
    ),
    "labels without meaning": Course(OVERFITTING, "mixed", 20, {"train_transform": PLAIN, **ADAM}),
    "few photographs": Course(OVERFITTING, "few", 25, {"train_transform": PLAIN, **ADAM}),
    "few photographs, vgg_compact": Course(
        OVERFITTING, "few", 25, {"model_name": "vgg_compact", "train_transform": PLAIN, "learning_rate": 0.01}
    ),
    "resnet18 at 0.5 with momentum 0.99": Course(
        LOST, "digits", 6, {"learning_rate": 0.5, "optimizer_params": {"momentum": 0.99}}
    ),
    "vgg11 at 0.3": Course(LOST, "digits", 6, {"model_name": "vgg11", "learning_rate": 0.3}),
    "vit_tiny by AdamW at 0.03": Course(
        LOST, "digits", 6, {"model_name": "vit_tiny", "optimizer": "AdamW", "learning_rate": 0.03}
    ),
    "vit_tiny by SGD at 1 with momentum 0.95": Course(
        LOST,
        "digits",
        6,
        {"model_name": "vit_tiny", "learning_rate": 1.0, "optimizer_params": {"momentum": 0.95}},
    ),
}


def mix(source: Path, target: Path) -> None:
    """Link images into classes by turns, whatever they show."""
    names = sorted(path.name for path in source.iterdir())
    for at, path in enumerate(sorted(source.glob("*/*"))):
        directory = target / names[at % len(names)]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{at}{path.suffix}").symlink_to(path.resolve())


def write_data(directory: Path, cifar: Path | None) -> dict[str, Path]:
    """Make the data, each with `train` and `val`."""
    write_digits(directory / "digits")
    roots = {"digits": directory / "digits", "mixed": directory / "mixed"}
    mix(roots["digits"] / "train", roots["mixed"] / "train")
    (roots["mixed"] / "val").symlink_to(roots["digits"] / "val")
    if cifar:
        test = next(path for name in ("val", "test") if (path := cifar / name).is_dir())
        for name, images in (("cifar", 300), ("few", 30)):
            roots[name] = directory / name
            sample(cifar / "train", roots[name] / "train", images)
            sample(test, roots[name] / "val", 50)
    return roots


def trained(course: Course, root: Path, work_dir: Path) -> Run:
    """Train as far as it goes."""
    raw = {
        "model_name": "resnet18",
        "pretrained": False,
        "train_data_root": str(root / "train"),
        "val_data_root": str(root / "val"),
        "train_transform": MOVED,
        "val_transform": PLAIN,
        "epochs": course.epochs,
        "learning_rate": 0.02,
        "work_dir": str(work_dir),
        "monitor": {"enabled": True},
        **course.keys,
    }
    try:
        return train(validate(raw))
    except NonFiniteLossError:
        return find_run("latest", work_dir)


def margins(run: Run) -> str:
    """Tell where the training ended, and how far the blocks' weights moved at a step."""
    last = run.history.classification[-1] if len(run.history) else None
    ratios = [epoch.update_ratios for epoch in read_monitor_epochs(run.layout) if len(epoch.update_ratios)]
    medians = np.nanmedian(np.concatenate(ratios[len(ratios) // 2 :]), axis=0)
    end = "no epoch"
    if last:
        end = f"loss {last.train_loss:.3g} and {last.val_loss:.3g}, {last.val_accuracy:.1f} %"
    return f"{end}; updates {np.nanmin(medians):.2g} to {np.nanmax(medians):.2g}"


def main() -> int:
    """Return 1 if a training was judged otherwise than it should."""
    options = parser(__doc__)
    options.add_argument("--cifar", type=Path, help="CIFAR-10 as a folder of images")
    options.add_argument("--only", nargs="*", default=list(COURSES), choices=list(COURSES), metavar="NAME")
    arguments = options.parse_args()
    wrong = 0
    with workplace(arguments.keep) as directory:
        roots = write_data(directory, arguments.cifar)
        for name in arguments.only:
            course = COURSES[name]
            if course.data not in roots:
                continue
            run = trained(course, roots[course.data], directory / "runs")
            classes = len(run.record.class_names)
            findings = judge_training(run.history, read_monitor_epochs(run.layout), classes)
            codes = {finding.code for finding in findings}
            is_right = bool(codes & course.expected) if course.expected else not codes
            wrong += not is_right
            verdict = f"{'right' if is_right else 'WRONG'}: {name} ({course.data})"
            say(f"{verdict}: {', '.join(sorted(codes)) or 'nothing'}; {margins(run)}")
            for finding in findings:
                say(f"    {finding.message} ({finding.evidence})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
