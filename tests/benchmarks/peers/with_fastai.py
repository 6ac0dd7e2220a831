"""fastai: a Learner on ImageDataLoaders; its mixed precision is for GPUs only, its channels-last is not."""

from __future__ import annotations

from functools import partial
from importlib import import_module

from tests.benchmarks.peers.by_hand import build_model
from tests.benchmarks.peers.job import CIFAR_PADDING, MEAN, STD, answer, read_job

fastai = import_module("fastai.vision.all")


def main() -> None:
    """Train."""
    job = read_job()
    fastai.set_seed(0)
    if job.is_small:
        padded = job.size + 2 * CIFAR_PADDING
        item_steps = [fastai.CropPad(padded, pad_mode=fastai.PadMode.Zeros), fastai.RandomCrop(job.size)]
    else:
        item_steps = [fastai.RandomResizedCrop(job.size, min_scale=0.08)]
    loaders = fastai.ImageDataLoaders.from_folder(
        job.data,
        train="train",
        valid="val",
        bs=job.batch_size,
        item_tfms=item_steps,
        batch_tfms=[fastai.Flip(), fastai.Normalize.from_stats(MEAN, STD)],
        num_workers=job.workers,
        device="cpu",
    )
    learner = fastai.Learner(
        loaders,
        build_model(job),
        loss_func=fastai.CrossEntropyLossFlat(),
        opt_func=partial(fastai.SGD, mom=job.momentum),
        lr=job.learning_rate,
        metrics=fastai.accuracy,
    )
    if job.channels_last:
        learner.to_channelslast(use_amp=False)
    learner.fit(job.epochs)
    answer(accuracy=100 * learner.recorder.values[-1][-1], note="no bf16 on a CPU")


if __name__ == "__main__":
    main()
