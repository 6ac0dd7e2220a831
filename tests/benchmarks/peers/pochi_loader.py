"""Pochi's loader alone: `python -m tests.benchmarks.peers.pochi_loader CONFIG [KEY=VALUE...]`."""

from __future__ import annotations

import sys
import time

from pochi_cli.config.load import load_config
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.data.loaders import create_loaders
from pochi_cli.data.prepare import prepare_data
from pochi_cli.engine.runtime import choose_runtime, configured
from tests.benchmarks.peers.job import answer

EPOCHS = 2


def main() -> None:
    """Load some epochs as a training would, and answer with the rate of each."""
    config = load_config(sys.argv[1], sys.argv[2:])
    assert isinstance(config, ClassificationConfig)
    runtime = choose_runtime(config)
    data = prepare_data(config, config.seed)
    rates = []
    with configured(config, runtime):
        loader = create_loaders(config, data, seed=config.seed, device_type=runtime.device.type).train
        for epoch in range(1, EPOCHS + 1):
            started = time.perf_counter()
            images = sum(len(batch) for _, batch in loader.batches(epoch))
            rates.append(images / (time.perf_counter() - started))
    answer(rates)


if __name__ == "__main__":
    main()
