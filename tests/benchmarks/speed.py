"""All measurements of speed, one after the other: `python tests/benchmarks/speed.py [--data DIR]`.

Takes some hours; each part can also be run by itself, with options of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

PARTS = ("startup", "training", "epoch_profile", "memory", "model_memory", "precision")
ON_IMAGES = ("training", "epoch_profile", "precision")


def main() -> None:
    """Run the parts; ends with 1 if one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="CIFAR-10 as a folder; without it accuracy is left out")
    data = parser.parse_args().data
    failed = []
    for part in PARTS:
        if part == "precision" and data is None:
            continue
        given = ["--data", str(data.absolute())] if data and part in ON_IMAGES else []
        sys.stdout.write(f"\n== {part} {' '.join(given)}\n")
        sys.stdout.flush()
        script = Path(__file__).with_name(f"{part}.py")
        if subprocess.run([sys.executable, str(script), *given], check=False).returncode:
            failed.append(part)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
