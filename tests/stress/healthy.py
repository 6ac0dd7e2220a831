"""Healthy trainings must not be accused of anything: the verdicts on gradients stay silent.

    python -m tests.stress.healthy [--cifar DIR] [--images 200] [--epochs 5]

resnet18, vgg11_bn and a small Vision Transformer learn the digits, and CIFAR-10 where a folder of it with
`train` is given. For each the margins to the thresholds are printed. About 10 minutes on two cores.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.transforms.v2.functional import pil_to_tensor

from pochi_cli.config.load import validate
from pochi_cli.config.recording import GradientTrackingConfig
from pochi_cli.data.digits import digits_root
from pochi_cli.data.images import read_rgb
from pochi_cli.engine.gradients import GradientTracer, choose_traced
from pochi_cli.engine.training import train
from pochi_cli.inspection.verdicts import judge_gradients
from pochi_cli.runs.gradient_record import GradientEpoch, read_gradient_epochs
from tests.stress.script import parser, say, workplace

STEPS = [
    {"name": "Resize", "size": 32},
    {"name": "RandomCrop", "size": 32, "padding": 4},
    {"name": "ToTensor"},
    {"name": "Normalize"},
]
RATES = {"resnet18": 0.02, "vgg11_bn": 0.005}
BATCH = 32


def trained(model_name: str, root: Path, work_dir: Path, epochs: int) -> Sequence[GradientEpoch]:
    """Train a model of the catalogue, and give its trace."""
    raw = {
        "model_name": model_name,
        "pretrained": False,
        "train_data_root": str(root),
        "train_transform": STEPS,
        "epochs": epochs,
        "learning_rate": RATES[model_name],
        "batch_size": BATCH,
        "work_dir": str(work_dir),
        "enable_gradient_tracking": True,
        "enable_metrics_export": False,
    }
    return read_gradient_epochs(train(validate(raw)).layout)


def transformer(root: Path, epochs: int) -> Sequence[GradientEpoch]:
    """Train a small Vision Transformer with AdamW, and give its trace."""
    images, labels = load(root)
    torch.manual_seed(0)
    model = VisionTransformer(32, 4, 6, 3, 192, 768, num_classes=10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    traced = choose_traced(model, [r"\.bias", r"^heads\."], by_block=True)
    tracer = GradientTracer(traced, GradientTrackingConfig(), epochs)
    result = []
    for epoch in range(1, epochs + 1):
        tracer.begin(epoch, 0)
        for chosen in torch.randperm(len(images)).split(BATCH):  # type: ignore[no-untyped-call]
            nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
            tracer.step()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        ended = tracer.end()
        assert ended is not None
        result.append(ended)
    return result


def load(root: Path) -> tuple[Tensor, Tensor]:
    """Read a folder of images at 32 by 32, float32 (N, 3, 32, 32) from -1 to 1."""
    images, labels = [], []
    for label, directory in enumerate(sorted(root.iterdir())):
        for path in sorted(directory.iterdir()):
            picture = pil_to_tensor(read_rgb(path).resize((32, 32)))
            images.append(picture.float() / 127.5 - 1)
            labels.append(label)
    return torch.stack(images), torch.tensor(labels)


def sample(source: Path, target: Path, images: int) -> Path:
    """Link some images of each class."""
    chooser = random.Random(0)
    for directory in sorted(source.iterdir()):
        (target / directory.name).mkdir(parents=True)
        for path in chooser.sample(sorted(directory.iterdir()), images):
            (target / directory.name / path.name).symlink_to(path.resolve())
    return target


def margins(epochs: Sequence[GradientEpoch]) -> Iterator[str]:
    """Tell how near the thresholds were."""
    norms = np.concatenate([epoch.norms for epoch in epochs])
    first = np.array([column[column > 0][0] for column in norms.T])
    yield f"growth {np.nanmax(norms / first):.3g}"
    yield f"ratio {max(np.nanmax(epoch.ratios) for epoch in epochs):.3g}"
    yield f"variation {max((e.norms.std(axis=0) / e.norms.mean(axis=0)).max() for e in epochs):.3g}"


def main() -> int:
    """Return 1 if a training was accused."""
    options = parser(__doc__)
    options.add_argument("--cifar", type=Path, help="CIFAR-10 as a folder of images with a part train")
    options.add_argument("--images", type=int, default=200, help="of each class of CIFAR-10")
    options.add_argument("--epochs", type=int, default=5)
    arguments = options.parse_args()
    accused = 0
    with workplace(arguments.keep) as directory:
        roots = {"digits": digits_root() / "train"}
        if arguments.cifar:
            roots["CIFAR-10"] = sample(arguments.cifar / "train", directory / "cifar", arguments.images)
        for data, root in roots.items():
            for name in (*RATES, "Vision Transformer"):
                epochs = (
                    trained(name, root, directory / "runs", arguments.epochs)
                    if name in RATES
                    else transformer(root, arguments.epochs)
                )
                findings = judge_gradients(epochs)
                accused += bool(findings)
                say(f"{data}, {name}: {len(findings)} findings; {', '.join(margins(epochs))}")
                for finding in findings:
                    say(f"  {finding.message} ({finding.evidence})")
    return 1 if accused else 0


if __name__ == "__main__":
    sys.exit(main())
