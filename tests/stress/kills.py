"""Kill one training again and again at random instants; it must end as if nothing had happened.

    python -m tests.stress.kills [--kills 50] [--workers 0 1 2]

`pochi train CONFIG --resume auto` is started, killed (SIGKILL, SIGTERM or Ctrl-C, drawn by chance; one in
five while it starts up), and started again. After every kill all files must be whole, nothing that was there
may be lost, and exit code and status must be right. At the end every checkpoint, the history and the CSV must
be bit-identical to those of a run that was never killed. About 6 minutes on two cores for each number of
workers.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pochi_cli.runs.index import Run
from tests.engine.trained import checkpoint
from tests.stress.processes import Pochi, survivors
from tests.stress.script import parser, say, workplace, write_config
from tests.stress.soundness import Examiner, Standing, assert_identical, run_in

EPOCHS = 20
TRAIN, VAL = (70, 60, 50, 20), (10, 10, 5, 5)
BATCH_SIZE = 10
BATCHES = sum(TRAIN) // BATCH_SIZE
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STARTING_SHARE = 0.2
"""Of the kills, those that come while the process starts up."""
WRITING_SHARE = 0.5
"""Of the SIGKILLs while it trains, those that wait until a file is being written."""


@dataclass
class Tally:
    """What happened to one training."""

    workers: int
    seconds: float = 0.0
    sessions: int = 0
    within_an_epoch: int = 0
    signals: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)

    def tell(self) -> None:
        """Print it."""
        signals = ", ".join(f"{count} {name}" for name, count in sorted(self.signals.items()))
        say(f"{self.workers} workers: {sum(self.signals.values())} kills ({signals})")
        for place, count in sorted(self.places.items()):
            say(f"    {count:4} {place}")
        say(f"    {self.sessions:4} sessions, of which {self.within_an_epoch} went on within an epoch")
        say(f"    {self.seconds:4.0f} s; bit-identical: yes")


class Torture:
    """One training that is killed.

    Args:
        config: Its file.
        workers: Processes that load its images.
        kills: How many times.
        batch_s: About how long a batch takes.
        rng: Draws signals and instants.
    """

    def __init__(self, config: Path, workers: int, kills: int, batch_s: float, rng: random.Random) -> None:
        self.work_dir = config.parent / f"runs_{workers}"
        self.tally = Tally(workers)
        self._config, self._kills, self._batch_s, self._rng = config, kills, batch_s, rng
        self._examiner = Examiner()
        self._standing = Standing()
        self._record = b""
        self._starting_s = 5.0
        self._groups: set[int] = set()

    def run(self) -> Run:
        """Kill it as often as wanted, then let it end.

        Raises:
            AssertionError: Something was not as it must be.
        """
        started = time.monotonic()
        for left in range(self._kills, 0, -1):
            self._kill_once(left)
        process = self._start()
        code = process.end(1800)
        assert code == 0, f"the last session ended with exit code {code}:\n{process.told}"
        alive = survivors(self._groups)
        assert not alive, f"processes {alive} are still alive"
        self.tally.seconds = time.monotonic() - started
        run = run_in(self.work_dir)
        assert run is not None, f"there is no run in {self.work_dir}"
        if beside := len(list(self.work_dir.iterdir())) - 1:
            self.tally.places["of them left a directory that never became a run"] = beside
        return run

    def _start(self) -> Pochi:
        self.tally.sessions += 1
        self.tally.within_an_epoch += self._standing.place[1] > 0
        process = Pochi(
            *("train", self._config, "--resume", "auto", "--work-dir", self.work_dir),
            *("--set", f"num_workers={self.tally.workers}"),
            output=self._config.parent / f"session_{self.tally.workers}_{self.tally.sessions:03d}.log",
        )
        self._groups.add(process.id)
        return process

    def _kill_once(self, left: int) -> None:
        process = self._start()
        starting = self._rng.random() < STARTING_SHARE
        if starting:
            process.wait(self._rng.uniform(0, self._starting_s))
        else:
            process.wait_until_it_trains(self.work_dir)
            self._starting_s = process.age_s()
            process.wait(self._delay_s(left))
        number = self._rng.choice(SIGNALS)
        if not starting and number == signal.SIGKILL and self._rng.random() < WRITING_SHARE:
            process.wait_until_it_writes(self.work_dir)
        process.signal(number)
        code = process.end()
        where = f"after kill {self._kills - left + 1} ({number.name}, process {process.id})"
        try:
            assert code != 0, ENDED
            place = self._judge(process, number, code)
            assert starting or place != STARTING, f"{process.id} stopped training on its own"
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}\nit told:\n{process.told}") from error
        self.tally.signals[number.name] += 1
        self.tally.places[place] += 1

    def _delay_s(self, left: int) -> float:
        """Draw how long it may train, so that a few sessions' work is left after the last kill."""
        epoch, batches = self._standing.place
        to_do = (EPOCHS - epoch + 1) * BATCHES - batches
        return self._rng.uniform(0, 2) * to_do / (left + 3) * self._batch_s

    def _judge(self, process: Pochi, number: signal.Signals, code: int) -> str:
        """Hold exit code, status and files against what they must be; tell where the kill came."""
        before, record, run = self._standing, self._record, run_in(self.work_dir)
        if run is None:
            assert not record, "the run vanished"
        else:
            self._record = run.layout.run_json.read_bytes()
            self._standing = self._examiner.examine(run.directory)
        now = self._standing
        assert now.epochs >= before.epochs, f"{before.epochs} epochs were on disk, and now {now.epochs}"
        assert now.place >= before.place, f"it stood at {before.place}, and now at {now.place}"
        assert now.has_best or not before.has_best, "best_model.pth vanished"
        if run is None or run.record.process_id != process.id:
            assert code in (-number, 128 + number), f"exit code {code} while it starts up"
            assert self._record == record, "run.json was changed by a session that had not begun"
            return STARTING
        wanted = -number if number == signal.SIGKILL else 128 + number
        assert code == wanted, f"exit code {code} instead of {wanted}"
        assert run.status != "finished", ENDED
        status = "crashed" if number == signal.SIGKILL else "interrupted"
        assert run.status == status, f"the run is {run.status} instead of {status}"
        # The processes that load images may complain that the main one vanished.
        quiet = number == signal.SIGKILL or "Traceback" not in process.told
        assert quiet, "a traceback was shown"
        assert not now.leftovers or number == signal.SIGKILL, "it left temporary files"
        if now.leftovers:
            return "while a file was being written"
        return "after an epoch's last step (validation)" if now.place[1] == BATCHES else "while training"


STARTING = "while it started up"
ENDED = "the training ended before the last kill: the settings of this script are wrong"


def main() -> None:
    """Train once without kills, then once for each number of workers with them."""
    options = parser(__doc__)
    options.add_argument("--kills", type=int, default=50, help="for each number of workers")
    options.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    options.add_argument("--seed", type=int, default=0, help="of signals and instants")
    given = options.parse_args()
    with workplace(given.keep) as directory:
        config = write_config(
            directory,
            TRAIN,
            VAL,
            epochs=EPOCHS,
            batch_size=BATCH_SIZE,
            checkpoint_every_steps=4,
            save_interval=2,
            scheduler_params={"T_max": EPOCHS - 1},
        )
        process = Pochi(
            *("train", config, "--work-dir", directory / "straight"), output=directory / "straight.log"
        )
        code = process.end(1800)
        assert code == 0, f"the run without kills ended with exit code {code}:\n{process.told}"
        straight = run_in(directory / "straight")
        assert straight is not None
        assert checkpoint(straight.layout.latest_model)["sampler_state"]["epoch"] == EPOCHS + 1
        seconds = straight.record.duration_s
        say(f"without kills: {EPOCHS} epochs of {BATCHES} batches in {seconds:.0f} s, seed {given.seed}")
        for workers in given.workers:
            rng = random.Random(f"{given.seed}/{workers}")
            torture = Torture(config, workers, given.kills, seconds / (EPOCHS * BATCHES), rng)
            assert_identical(straight, torture.run())
            torture.tally.tell()


if __name__ == "__main__":
    main()
