"""Start many trainings at once in one work_dir; none may get in the way of another.

    python -m tests.stress.crowd [--runs 20] [--rounds 3]

First so many processes make run directories as fast as they can. Then so many `pochi train CONFIG` at once:
as many run directories, all complete, with the same weights. Then, in each round, four `pochi train CONFIG
--resume auto` at once where one run of CONFIG has crashed: it is trained by one process, to the end of a run
that never crashed; what the others do is told. Each process needs up to 900 MiB of memory, part of it shared.
About 4 minutes on two cores.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

from pochi_cli.runs.index import Run, open_run, run_directories
from pochi_cli.runs.layout import create_run_directory
from tests.stress.processes import Pochi
from tests.stress.script import parser, say, workplace, write_config
from tests.stress.soundness import Examiner, assert_identical

RESUMING = 4
EPOCHS = 6
PATIENCE_S = 1800.0


def make_directories_together(work_dir: Path, processes: int, each: int = 60) -> None:
    """Make run directories as fast as possible, which meets the same instant far oftener than trainings do.

    Raises:
        AssertionError: Two processes got the same one.
    """
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(processes)
    made: multiprocessing.Queue[list[str]] = context.Queue()

    def make() -> None:
        gate.wait()
        made.put([create_run_directory(work_dir, datetime.now()).name for _ in range(each)])

    members = [context.Process(target=make) for _ in range(processes)]
    for member in members:
        member.start()
    names = [name for _ in members for name in made.get(timeout=PATIENCE_S)]
    for member in members:
        member.join()
    distinct = len(set(names))
    assert distinct == len(names) == processes * each, f"{len(names)} runs got {distinct} directories"
    say(f"{processes} processes at once made {len(names):,} run directories, all distinct")


def train_together(config: Path, count: int) -> Run:
    """Start trainings at once.

    Returns:
        One of them.

    Raises:
        AssertionError: One is not as it must be.
    """
    work_dir = config.parent / "together"
    started = time.monotonic()
    processes = [
        Pochi("train", config, "--work-dir", work_dir, output=config.parent / f"together_{number:02d}.log")
        for number in range(1, count + 1)
    ]
    for process in processes:
        assert process.end(PATIENCE_S) == 0, f"a training failed:\n{process.told}"
    seconds = time.monotonic() - started
    runs = [open_run(directory) for directory in run_directories(work_dir)]
    entries = sorted(path.name for path in work_dir.iterdir())
    assert [run.layout.name for run in runs] == entries, f"not only runs lie in {work_dir}: {entries}"
    assert len(runs) == count, f"{count} processes made {len(runs)} runs"
    identities = {run.record.experiment_id for run in runs}
    assert len(identities) == count, f"{count} runs have {len(identities)} experiment ids"
    assert {run.record.process_id for run in runs} == {process.id for process in processes}
    listed = subprocess.run(
        [sys.executable, "-m", "pochi_cli", "runs", "--json", "--work-dir", str(work_dir)],
        cwd=config.parent,
        capture_output=True,
        check=True,
    )
    names = [run["name"] for run in json.loads(listed.stdout)["runs"]]
    assert names == entries, f"`pochi runs` lists {names} instead of {entries}"
    files = file_names(runs[0])
    for run in runs:
        Examiner().examine(run.directory)
        assert_identical(runs[0], run)
        assert file_names(run) == files, f"{run.directory} has other files than {runs[0].directory}"
    say(f"{count} trainings at once: {len(runs)} runs of {len(files)} files each, all complete and")
    say(f"    bit-identical, {len(identities)} experiment ids, {seconds:.0f} s")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    say(f"    memory: the largest process had {peak:.0f} MiB")
    return runs[0]


def file_names(run: Run) -> list[str]:
    """Names of a run's files; the time of its start, part of some, left out."""
    paths = (path for path in run.directory.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(run.directory)).replace(run.layout.stamp, "*") for path in paths)


def crash(config: Path) -> Path:
    """Kill a training after its first epoch.

    Returns:
        Its work_dir.

    Raises:
        AssertionError: It did not come so far.
    """
    work_dir = config.parent / "crashed"
    process = Pochi("train", config, "--work-dir", work_dir, output=config.parent / "crashed.log")
    while not process.has_ended() and not list(work_dir.glob("*/train_history.json")):
        process.wait(0.05)
    process.signal(signal.SIGKILL)
    process.end()
    (directory,) = run_directories(work_dir)
    status = open_run(directory).status
    assert status == "crashed", f"the run to go on with is {status}: the settings of this script are wrong"
    return work_dir


def resume_together(config: Path, crashed: Path, straight: Run, number: int) -> Counter[str]:
    """Let processes go on with one run at once.

    Returns:
        What they did.

    Raises:
        AssertionError: Two trained one run, or one did something else that it must not.
    """
    work_dir = shutil.copytree(crashed, config.parent / f"round_{number}")
    (crashed_run,) = run_directories(work_dir)
    processes = [
        Pochi(
            *("train", config, "--resume", "auto", "--work-dir", work_dir),
            output=config.parent / f"round_{number}_{member}.log",
        )
        for member in range(1, RESUMING + 1)
    ]
    did: Counter[str] = Counter()
    trained: Counter[str] = Counter()
    for process in processes:
        code, told = process.end(PATIENCE_S), process.told
        assert "Traceback" not in told, f"a traceback was shown:\n{told}"
        if code == 0:
            finished = re.search(r"^run (\S+) finished", told, re.MULTILINE)
            assert finished, f"no run was told to be finished:\n{told}"
            trained[finished[1]] += 1
            did["went on with it" if finished[1] == crashed_run.name else "found it running: new run"] += 1
        else:
            assert code == 1, f"exit code {code}:\n{told}"
            reason = re.search(r"another process is training|is finished, after", told)
            assert reason, f"it failed for another reason:\n{told}"
            did[f'refused: "{reason[0]}"'] += 1
    runs = [open_run(directory) for directory in run_directories(work_dir)]
    assert trained == Counter(run.layout.name for run in runs), f"runs were trained so often: {trained}"
    for run in runs:
        # Each session writes such a line: the one that crashed, and one more.
        sessions = len(re.findall(r": epoch \d+ to \d+, ", run.layout.log.read_text("utf-8")))
        wanted = 2 if run.directory == crashed_run else 1
        assert sessions == wanted, f"{run.directory} was trained in {sessions} sessions instead of {wanted}"
        Examiner().examine(run.directory)
        assert_identical(straight, run)
    return did


def main() -> None:
    """Make directories together, train together, resume together."""
    options = parser(__doc__)
    options.add_argument("--runs", type=int, default=20, help="trainings at once")
    options.add_argument("--rounds", type=int, default=3, help="how often four resume one run")
    given = options.parse_args()
    with workplace(given.keep) as directory:
        config = write_config(
            directory,
            (25, 20, 15, 5),
            (10, 10, 5, 5),
            epochs=EPOCHS,
            save_interval=2,
            checkpoint_every_steps=2,
            scheduler_params={"T_max": EPOCHS - 1},
        )
        make_directories_together(directory / "directories", given.runs)
        straight = train_together(config, given.runs)
        crashed = crash(config)
        for number in range(1, given.rounds + 1):
            did = resume_together(config, crashed, straight, number)
            told = ", ".join(f"{count} {what}" for what, count in sorted(did.items()))
            say(f"round {number}: of {RESUMING} that resume one crashed run at once {told}")
        if given.rounds:
            say("no run was trained by two processes")


if __name__ == "__main__":
    main()
