"""Fail every write of a training in turn; no file may be corrupt, the error clear, and the run go on.

    python -m tests.stress.full_disk [--jobs 2] [--cases N] [--injected-only]

A small training is run with a disk whose n-th writing operation fails, for every n and several kinds of
failure, as a new run and as one that goes on after a crash. Each time the command must end with exit code 1
and the system's reason but no traceback, every file must be whole, and the same command on a sound disk must
come to the end of the run that met no failure, bit for bit. Then the same on a real file system that is too
small, where one can be mounted (Linux, `unshare -rm`). About 20 minutes on two cores.
"""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pochi_cli.runs.atomic import remove_leftovers
from pochi_cli.runs.index import Run, open_run
from tests.stress.faults import KINDS, FaultyDisk, Kind, Outcome, run_forked
from tests.stress.script import parser, say, workplace, write_config
from tests.stress.soundness import Examiner, assert_identical, run_in

SOUND = Kind("no failure", 0)
ON_A_SMALL_DISK = """
disk=$1 out=$2 size=$3
shift 3
mount -t tmpfs -o size="$size" pochi "$disk" || exit 77
for session in 1 2; do
    "$@" > "$out/told_$session.log" 2>&1
    echo $? > "$out/code_$session"
    cp -a "$disk/runs" "$out/runs_$session"
    mount -o remount,size=1g "$disk"
done
"""


@dataclass(frozen=True)
class Bench:
    """What all cases share.

    Attributes:
        directory: Where they work.
        config: File of the training.
        straight: The run that met no failure.
        crashed: A work_dir with a run that crashed half way.
        operations: How many writing operations there are, by whether the run is new.
    """

    directory: Path
    config: Path
    straight: Path
    crashed: Path
    operations: dict[bool, int]

    def command(self, work_dir: Path) -> list[str]:
        """Arguments that begin the run, or go on with it."""
        return ["train", str(self.config), "--resume", "auto", "--work-dir", str(work_dir)]


@dataclass(frozen=True)
class Case:
    """A failure: whether the run is new, of what kind, at which operation."""

    bench: Bench
    is_new: bool
    kind: Kind
    at: int

    def __str__(self) -> str:
        """Tell it."""
        start = "a new run" if self.is_new else "a run that goes on"
        return f"{start}, operation {self.at}, {self.kind.name}"


@dataclass(frozen=True)
class Result:
    """What came of a case: how it ended, or what was wrong."""

    case: Case
    end: str = ""
    wrong: str = ""


def set_up(directory: Path) -> Bench:
    """Train once without failure, and once until half way.

    Raises:
        AssertionError: One of them did not end as it must.
    """
    config = write_config(
        directory,
        (8, 6, 6, 4),
        (3, 3, 2, 2),
        epochs=2,
        batch_size=6,
        checkpoint_every_steps=1,
        save_interval=1,
        log_every_steps=1,
        scheduler_params={"T_max": 2},
        # What makes no other files only costs time here.
        ema_decay=None,
        enable_layer_wise_lr=None,
        layer_wise_lr_config=None,
    )
    operations: dict[bool, int] = {}
    work_dirs = {is_new: directory / ("new" if is_new else "crashed") for is_new in (True, False)}
    bench = Bench(directory, config, work_dirs[True], work_dirs[False], operations)
    straight = run_forked(bench.command(bench.straight), FaultyDisk(bench.straight, SOUND, 0))
    assert straight.code == 0, straight.told
    operations[True] = straight.operations
    half = FaultyDisk(bench.crashed, KINDS[0], straight.operations * 6 // 10)
    assert run_forked(bench.command(bench.crashed), half).code == 1
    crashed = existing(bench.crashed)
    assert crashed.status == "crashed"
    place = Examiner().examine(crashed.directory).place
    assert (1, 0) < place < (3, 0), (
        f"the crashed run stands at {place}: the settings of this script are wrong"
    )
    again = shutil.copytree(bench.crashed, directory / "again")
    resumed = run_forked(bench.command(again), FaultyDisk(again, SOUND, 0))
    assert resumed.code == 0, resumed.told
    assert_identical(existing(bench.straight), existing(again))
    operations[False] = resumed.operations
    return bench


def existing(work_dir: Path) -> Run:
    """The run of a work_dir, which must be there."""
    run = run_in(work_dir)
    assert run is not None, f"there is no run in {work_dir}"
    return run


def examine(case: Case) -> Result:
    """Let a case happen and judge it."""
    work_dir = case.bench.directory / "cases" / f"{case.kind.number}_{case.is_new:d}_{case.at}"
    if not case.is_new:
        shutil.copytree(case.bench.crashed, work_dir)
    outcome = run_forked(case.bench.command(work_dir), FaultyDisk(work_dir, case.kind, case.at))
    try:
        end = judge(case, work_dir, outcome)
    except AssertionError as error:
        return Result(case, wrong=f"{case} ({outcome.failed}): {error}\nit told:\n{outcome.told}")
    shutil.rmtree(work_dir, ignore_errors=True)
    return Result(case, end)


def judge(case: Case, work_dir: Path, outcome: Outcome) -> str:
    """Hold what came of a failure against what must, and go on without it.

    Returns:
        How the session with the failure ended.

    Raises:
        AssertionError: Something is not as it must be.
    """
    assert outcome.failed is not None, "the failure was never met"
    run = run_in(work_dir)
    directories = [path.name for path in work_dir.glob("*") if path.is_dir()]
    assert run or case.kind.keeps or not directories, f"{directories} was left, which is no run"
    if run:
        standing = Examiner().examine(run.directory)
        assert case.kind.keeps or not standing.leftovers, "temporary files are left"
    if outcome.code == 0:
        # Only these have a second way: to copy instead of to link, and a directory that is there already.
        action, _, place = outcome.failed.partition(" ")
        spared = action in ("link", "mkdir") or (action == "replace" and place.endswith(".pth"))
        assert spared and not case.kind.lasts, "it tells success"
        end = "went on all the same"
    else:
        judge_error(outcome, case.kind.reason)
        end = f"error, run {run.status}" if run else "error, no run began"
        assert run is None or run.status in ("failed", "crashed", "finished"), f"the run is {run.status}"
    go_on(case.bench, work_dir, run)
    return end


def judge_error(outcome: Outcome, reason: str) -> None:
    """An expected failure is told in a line with its reason."""
    assert outcome.code == 1, f"exit code {outcome.code}"
    assert "Traceback" not in outcome.told, "a traceback was shown"
    assert "error: cannot " in outcome.told, "no error was told"
    assert reason in outcome.told, f"{reason!r} was not told"


def go_on(bench: Bench, work_dir: Path, run: Run | None) -> None:
    """Go on, on a sound disk, to the end of the run that met no failure."""
    if run is not None and run.status == "finished":
        # Half a figure that a read-only disk kept: only a session that trains would remove it.
        remove_leftovers(run.directory)
        again = run_forked(["plot", "metrics", str(run.directory)])
    else:
        again = run_forked(bench.command(work_dir))
    assert again.code == 0, f"it does not go on: {again.told}"
    after = existing(work_dir)
    assert run is None or after.directory == run.directory, "it did not go on in its directory"
    straight = open_run(next(bench.straight.glob("*/run.json")).parent)
    assert_identical(straight, after)
    Examiner().examine(after.directory)
    figures = [len(list(each.layout.visualization.glob("*.png"))) for each in (straight, after)]
    assert figures[0] == figures[1], f"{figures[1]} figures instead of {figures[0]}"


def inject(bench: Bench, cases: int | None, jobs: int) -> None:
    """Let all cases happen, or some that are spread evenly over them, and print what came of them.

    Raises:
        AssertionError: Some ended otherwise than they must; names them all.
    """
    every = [
        Case(bench, is_new, kind, at)
        for is_new, operations in bench.operations.items()
        for kind in KINDS
        for at in range(1, operations + 1)
    ]
    chosen = (
        every if cases is None else [every[len(every) * (2 * i + 1) // (2 * cases)] for i in range(cases)]
    )
    say(f"writing operations: {bench.operations[True]} of a new run, {bench.operations[False]} of one that")
    say(f"goes on; {len(chosen)} of {len(every)} failures")
    ends: dict[tuple[bool, Kind], Counter[str]] = {}
    wrong = []
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for result in pool.imap_unordered(examine, chosen):
            ends.setdefault((result.case.is_new, result.case.kind), Counter())[result.end or "WRONG"] += 1
            if result.wrong:
                wrong.append(result.wrong)
                say(f"WRONG: {result.wrong}")
    for (is_new, kind), counter in sorted(ends.items(), key=lambda item: (not item[0][0], item[0][1].name)):
        say(f"{'new run' if is_new else 'goes on'}, {kind.name}: {counter.total()}")
        for end, count in sorted(counter.items()):
            say(f"    {count:4} {end}")
    assert not wrong, f"{len(wrong)} of {len(chosen)} failures ended otherwise than they must, see above"
    say("all were resumed to the bit-identical end")


def fill_real_disks(bench: Bench) -> None:
    """Train on file systems that are too small, give them room, and go on.

    Raises:
        AssertionError: Something is not as it must be.
    """
    size = existing(bench.straight).layout.latest_model.stat().st_size
    for room in (1.5, 2.5):
        disk, out = (bench.directory / f"{name}_{room}" for name in ("disk", "out"))
        disk.mkdir()
        out.mkdir()
        command = [sys.executable, "-m", "pochi_cli", *bench.command(disk / "runs")]
        arguments = [str(disk), str(out), str(int(size * room)), *command]
        try:
            done = subprocess.run(
                ["unshare", "-rm", "sh", "-c", ON_A_SMALL_DISK, "sh", *arguments],
                cwd=bench.directory,
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            say("real disks: NOT DONE, there is no unshare here")
            return
        if not (out / "code_1").exists():
            say(f"real disks: NOT DONE, none can be mounted: {done.stderr.strip()}")
            return
        first, second = (
            Outcome(int((out / f"code_{n}").read_text()), (out / f"told_{n}.log").read_text()) for n in (1, 2)
        )
        judge_error(first, KINDS[0].reason)
        run = existing(out / "runs_1")
        standing = Examiner().examine(run.directory)
        assert not standing.leftovers, "temporary files are left"
        assert second.code == 0, f"it does not go on: {second.told}"
        assert_identical(existing(bench.straight), existing(out / "runs_2"))
        say(
            f"a disk with room for {room} checkpoints: {run.status} at epoch {standing.place[0]}, batch "
            f"{standing.place[1]}; with more room resumed to the bit-identical end"
        )


def warm_up() -> None:
    """Import, before any fork, what a training needs; to compute with torch would start threads."""
    import matplotlib.backends.backend_agg  # noqa: F401
    import torch._dynamo  # some functions of torch import it when they are called first

    import pochi_cli.display
    import pochi_cli.engine.training
    import pochi_cli.plots.metrics
    import pochi_cli.runs.summary  # noqa: F401

    torch.set_num_threads(1)


def main() -> None:
    """Inject failures, then fill real disks."""
    options = parser(__doc__)
    options.add_argument("--jobs", type=int, default=2, help="cases at once")
    options.add_argument("--cases", type=int, help="only so many, spread evenly over all")
    options.add_argument("--injected-only", action="store_true", help="mount no file system")
    given = options.parse_args()
    warm_up()
    with workplace(given.keep) as directory:
        bench = set_up(directory)
        inject(bench, given.cases, given.jobs)
        if not given.injected_only:
            fill_real_disks(bench)


if __name__ == "__main__":
    main()
