"""Seconds of the exact neighbour search: `python tests/benchmarks/recall.py [METRIC...]`.

3,000 queries of a pool of 100,000 x 512 Gaussian float32 rows, k = 50, on every core. CPU seconds stand
beside those of the clock: on a machine that does other work, only they compare. Memory is the growth of the
largest resident size while searching: name one metric, the second finds it grown.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import get_args

import torch

from pochi_cli.config.embedding import Metric
from pochi_cli.engine.neighbors import nearest_neighbors

N_QUERY, N_POOL, DIM, K = 3_000, 100_000, 512, 50


def measure(metric: Metric) -> str:
    """Time one search."""
    pool = torch.randn(N_POOL, DIM, generator=torch.Generator().manual_seed(0))
    own = torch.arange(N_QUERY)
    queries = pool[own]
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    nearest_neighbors(queries, pool, K, metric, own=own)
    duration = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (
        f"{metric:>6}: {duration:.1f} s; CPU {after.ru_utime - before.ru_utime:.1f} s user, "
        f"{after.ru_stime - before.ru_stime:.1f} s system; "
        f"memory +{(after.ru_maxrss - before.ru_maxrss) / 1024:.0f} MiB"
    )


def main() -> None:
    """Print a line for each metric."""
    sys.stdout.write(f"{N_QUERY:,} queries, {N_POOL:,} x {DIM}, k = {K}, {torch.get_num_threads()} threads\n")
    for metric in get_args(Metric):
        if not sys.argv[1:] or metric in sys.argv[1:]:
            sys.stdout.write(measure(metric) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
