"""Memory and seconds of `pochi embed` on 100,000 x 768: `python -m tests.benchmarks.embed`.

The input has 307 MB, the output 102 MB. Mapped pages of the input count as resident until the system takes
them back; what the process itself holds is told apart.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pochi_cli import api
from pochi_cli.engine.training import train
from tests.engine.vectors import make_vectors, vector_config, write_vectors

_ROWS, _DIM, _LATENT = 100_000, 768, 256


def main() -> None:
    """Encode in a process of its own, and compare with the encoder called on everything."""
    if len(sys.argv) > 1:
        measure(*map(Path, sys.argv[1:]))
        return
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        config = vector_config(
            write_vectors(home, make_vectors(2000, _DIM)), latent_dim=_LATENT, hidden_dims=[768], epochs=1
        )
        checkpoint = train(config).layout.latest_model
        source, output = home / "in.npy", home / "out.npy"
        vectors = np.lib.format.open_memmap(source, "w+", np.float32, (_ROWS, _DIM))
        generator = np.random.default_rng(0)
        for start in range(0, _ROWS, 10_000):
            vectors[start : start + 10_000] = generator.normal(size=(10_000, _DIM))
        vectors.flush()
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.embed", checkpoint, source, output], check=True
        )
        written, loaded = np.load(output), api.load_encoder(checkpoint)
        chosen = generator.choice(_ROWS, 1000, replace=False)
        worst = np.abs(written[chosen] - loaded(np.asarray(vectors[chosen]))).max()
        sys.stdout.write(f"{written.shape} rows in order: largest difference in 1,000 of them {worst:.2g}\n")


def measure(checkpoint: Path, source: Path, output: Path) -> None:
    """Encode, and print what it took beyond the loaded encoder."""
    loaded = api.load_encoder(checkpoint)
    loaded(np.zeros((8192, loaded.dim), np.float32))  # what the first pass allocates once
    before = anonymous()
    most = 0

    def tell(done: int, total: int) -> None:  # noqa: ARG001
        nonlocal most
        most = max(most, anonymous())

    started = time.perf_counter()
    api.embed(loaded, source, output, tell=tell)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held = (most - before) / 1024
    sys.stdout.write(f"{seconds:.1f} s; {held:+.0f} MiB of its own, resident at most {peak:.0f} MiB\n")


def anonymous() -> int:
    """KiB that the process itself holds, mapped files aside."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    main()
