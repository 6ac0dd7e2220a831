"""Search by three processes on one study, one of which is killed: `python -m tests.stress.shared_study URL`.

URL is a storage as Optuna takes it, of a database server: an empty PostgreSQL database, for which
`psycopg2-binary` has to be installed, is what several machines would share. Twelve trials are to be there at
the end, all trained, all of other parameters, none lost with the process. About two minutes on two cores.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import optuna

from tests.stress.processes import Pochi
from tests.stress.script import parser, say, workplace, write_config

TRIALS = 12
PROCESSES = 3
PATIENCE_S = 900.0
STUDY = "shared"


def search(config: Path, number: int) -> Pochi:
    """Take part in the search, with an output directory of one's own, as on a machine of one's own."""
    home = config.parent / f"machine_{number}"
    home.mkdir()
    return Pochi("optimize", config, "--set", f"work_dir={home}", output=home / "output.log")


def trained(url: str) -> list[optuna.trial.FrozenTrial]:
    """The trials that are there."""
    try:
        return optuna.load_study(study_name=STUDY, storage=url).get_trials()
    except KeyError:
        return []


def main() -> None:
    """Search, kill, count."""
    options = parser(__doc__)
    options.add_argument("url", help="storage, such as postgresql://user@localhost/db")
    given = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = {
        "study_name": STUDY,
        "storage": given.url,
        "n_trials": TRIALS,
        "optuna_epochs": 2,
        "pruner": "none",
        "search_space": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}},
    }
    with workplace(given.keep) as directory:
        config = write_config(directory, (12, 12), (6, 6), optuna=table, enable_tensorboard=False)
        started = time.monotonic()
        processes = [search(config, number) for number in range(PROCESSES)]
        complete = optuna.trial.TrialState.COMPLETE
        while sum(trial.state == complete for trial in trained(given.url)) < 2:
            assert time.monotonic() - started < PATIENCE_S, f"no trials: {processes[0].told}"
            assert not any(process.has_ended() for process in processes), processes[0].told
            time.sleep(0.2)
        processes[0].signal(signal.SIGKILL)
        say(f"killed one of {PROCESSES} processes")
        for process in processes[1:]:
            code = process.end(PATIENCE_S)
            assert code == 0, f"a search ended with {code}:\n{process.told}"
        trials = trained(given.url)
        done = [trial for trial in trials if trial.state == complete]
        parameters = {json.dumps(trial.params) for trial in done}
        left = [trial.number for trial in trials if not trial.state.is_finished()]
        assert len(done) == TRIALS, f"{len(done)} trials are trained, not {TRIALS}"
        assert len(parameters) == TRIALS, f"{len(parameters)} of {TRIALS} trials have parameters of their own"
        assert not left, f"trials {left} were never finished"
        seconds = time.monotonic() - started
        say(f"{len(done)} trials of distinct parameters, {len(trials)} in all, {seconds:.0f} s")


if __name__ == "__main__":
    main()
