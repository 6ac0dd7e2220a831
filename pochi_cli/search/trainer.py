"""A process that trains trials: `python -m pochi_cli.search.trainer JOBS INDEX`.

It takes orders on standard input and tells of them on standard output. It ends with the process that started
it, however that ends.
"""

from __future__ import annotations

import math
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pochi_cli.allocator import return_freed_memory
from pochi_cli.config.load import validate
from pochi_cli.cores import usable_cores
from pochi_cli.engine.progress import SilentProgress, Start, StepRecord
from pochi_cli.errors import InstallationError, Interrupted, PochiError
from pochi_cli.installation import load_torch
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.search import messages
from pochi_cli.search.messages import (
    Decision,
    EpochDone,
    Failed,
    Message,
    Order,
    Ready,
    Stepped,
    Trained,
    Unusable,
    Warned,
    receive,
    send,
)

if TYPE_CHECKING:
    from pochi_cli.config.root import Config

_INTERVAL_S = 0.5


def main() -> None:
    """Take orders until there are no more."""
    jobs, index = map(int, sys.argv[1:])
    # The process that gave the orders decides what an interrupt means; SIGTERM is its word.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever else is printed is no message; and a process that loads images closes sys.stdin when it is
    # forked, which would wait for ever for a thread that reads from it.
    os.dup2(2, 1)
    sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - to the end of the process
    inbox: queue.Queue[Message] = queue.Queue()
    threading.Thread(target=_listen, args=(orders, inbox), daemon=True).start()
    try:
        load_torch()
    except InstallationError as error:
        send(told, Unusable(error.message, error.hint))
        return
    send(told, Ready())
    while True:
        order = inbox.get()
        assert isinstance(order, Order)
        send(told, _train(order, jobs, index, told, inbox))
        return_freed_memory()  # other trials may run much longer


def _listen(stream: TextIO, inbox: queue.Queue[Message]) -> None:
    for line in stream:
        inbox.put(receive(line))
    os._exit(1)  # nobody is there to tell any more


def _train(order: Order, jobs: int, index: int, told: TextIO, inbox: queue.Queue[Message]) -> Message:
    from pochi_cli.engine.training import train_trial

    def on_epoch(record: EpochRecord) -> str:
        # With a loss that is not finite the accuracy is that of guessing, whatever it happens to be.
        is_sound = record.validation_loss is not None and math.isfinite(record.validation_loss)
        value = record.metrics[order.metric] if is_sound else math.nan
        assert value is not None  # a trial measures it at every epoch
        send(told, EpochDone(record.epoch, value))
        decision = inbox.get()
        assert isinstance(decision, Decision)
        return "stop" if decision.stop else "continue"

    try:
        config = with_share(validate(order.config), jobs, index)
        run = train_trial(
            config,
            Path(order.directory),
            jobs=jobs,
            progress=_Telling(told),
            on_epoch=on_epoch,  # type: ignore[arg-type]
        )
    except Interrupted:
        return messages.Interrupted()
    except PochiError as error:
        return Failed(error.message)
    assert isinstance(run.config.batch_size, int)
    threads = int(run.record.settings["threads"])
    return Trained(threads, run.config.batch_size, run.record.data_fingerprint)


def with_share(config: Config, jobs: int, index: int) -> Config:
    """Give a trial its share of the machine, where the config leaves it open.

    Args:
        config: The trial's.
        jobs: How many trials run at a time; one has the whole machine.
        index: Which of them this is.
    """
    if jobs == 1:
        return config
    import torch

    devices = torch.cuda.device_count() if config.device is None else 0
    device = f"cuda:{index % devices}" if devices else config.device
    threads = config.threads or max(1, usable_cores() // jobs)
    return config.model_copy(update={"device": device, "threads": threads})


class _Telling(SilentProgress):
    """Tells the searching process of a training."""

    def __init__(self, told: TextIO) -> None:
        self._told = told
        self._epoch = 0
        self._batches = 1
        self._last = 0.0

    def warning(self, text: str) -> None:
        """Pass it on."""
        send(self._told, Warned(text))

    def start(self, start: Start) -> None:
        """Note how much there is to do."""
        self._batches = max(start.batches + start.val_batches, 1)
        self._train_batches = start.batches

    def epoch(self, epoch: int, batches_done: int) -> None:
        """Tell that an epoch begins."""
        self._epoch = epoch
        self._tell(batches_done)

    def step(self, record: StepRecord) -> None:
        """Tell how far it is, twice a second."""
        self._tell(record.batches)

    def validation(self, batches_done: int) -> None:
        """Tell how far it is, twice a second."""
        self._tell(self._train_batches + batches_done)

    def _tell(self, batches: int) -> None:
        if time.monotonic() - self._last >= _INTERVAL_S:
            self._last = time.monotonic()
            send(self._told, Stepped(self._epoch, batches / self._batches))


if __name__ == "__main__":
    main()
