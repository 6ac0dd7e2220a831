"""Lightning: a module and a trainer as its users write them, with its own logger, checkpoints and bar."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tests.benchmarks.peers.by_hand import build_model, create_loaders, memory_format
from tests.benchmarks.peers.job import Job, answer, read_job

lightning = import_module("lightning")


def create_module(job: Job) -> Any:
    """Make the module; its class can only be made where Lightning is installed."""

    class Classifier(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = build_model(job)
            self.correct = self.images = torch.zeros((), dtype=torch.int64)
            self.accuracy: float | None = None

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            images, labels = batch
            loss = F.cross_entropy(self.model(images.to(memory_format=memory_format(job))), labels)
            self.log("train_loss", loss)
            return loss

        def on_validation_epoch_start(self) -> None:
            self.correct = self.images = torch.zeros((), dtype=torch.int64)

        def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
            images, labels = batch
            logits = self.model(images.to(memory_format=memory_format(job)))
            self.correct = self.correct + (logits.argmax(1) == labels).sum()
            self.images = self.images + len(labels)
            self.log("val_loss", F.cross_entropy(logits, labels))

        def on_validation_epoch_end(self) -> None:
            self.accuracy = 100 * int(self.correct) / int(self.images)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=job.learning_rate, momentum=job.momentum, fused=True)

    return Classifier()


def main() -> None:
    """Train."""
    job = read_job()
    lightning.seed_everything(0)
    module = create_module(job)
    train, val = create_loaders(job)
    trainer = lightning.Trainer(
        max_epochs=job.epochs,
        accelerator="cpu",
        precision="bf16-mixed" if job.precision == "bf16" else "32-true",
    )
    trainer.fit(module, train, val)
    answer(accuracy=module.accuracy)


if __name__ == "__main__":
    main()
