"""ultralytics: its classifier on torchvision's resnet18, as its own yolo11-cls-resnet18.yaml has it.

Only its own head can be put on it: a convolution to 1,280 channels before the linear layer. It does not pad
before it crops, either, so small images are cropped and resized at random.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.benchmarks.peers.job import answer, read_job

MODEL = """
nc: {classes}
backbone:
  - [-1, 1, TorchVision, [512, resnet18, None, True, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


def main() -> None:
    """Train in the working directory, offline, with all that costs time and is not asked for switched off."""
    job = read_job()
    ultralytics = import_module("ultralytics")
    path = Path("resnet18-cls.yaml").absolute()
    path.write_text(MODEL.format(classes=job.classes))
    model = ultralytics.YOLO(str(path), task="classify")
    model.train(
        data=job.data,
        imgsz=job.size,
        batch=job.batch_size,
        nbs=job.batch_size,
        epochs=job.epochs,
        workers=job.workers,
        amp=False,  # its half precision is for GPUs only, as its channels-last is
        cache="ram",
        device="cpu",
        project=str(Path.cwd()),
        pretrained=False,
        deterministic=False,
        plots=False,
        val=job.validates,
        optimizer="SGD",
        lr0=job.learning_rate,
        lrf=1.0,
        momentum=job.momentum,
        weight_decay=0.0,
        warmup_epochs=0.0,
        auto_augment=None,
        erasing=0.0,
        hsv_h=0.0,
        hsv_s=0.0,
        hsv_v=0.0,
        scale=0.92,
    )
    accuracy = 100 * model.metrics.top1 if job.validates else None
    answer(accuracy=accuracy, note="no bf16 on a CPU, its own head; images kept in memory")


if __name__ == "__main__":
    main()
