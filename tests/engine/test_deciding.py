"""What a run decides by itself: by rule, by measuring, or by what is remembered."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from pochi_cli.data.loaders import create_loaders
from pochi_cli.engine import deciding, runtime
from pochi_cli.engine.building import build_state
from pochi_cli.engine.choice import Choice
from pochi_cli.engine.memory import share_of_memory
from pochi_cli.engine.progress import SilentProgress
from pochi_cli.engine.remembered import Measurement
from pochi_cli.engine.runtime import Runtime, choose_runtime
from pochi_cli.engine.tasks import prepare_task
from pochi_cli.engine.training import resume, train, train_trial
from pochi_cli.engine.tuning import Timing
from pochi_cli.runs.index import Run
from tests.engine.tiny import tiny_config
from tests.engine.trained import EVERYTHING, assert_same_run, going_on

CPU = torch.device("cpu")


class Told(SilentProgress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("POCHI_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bf16, whether this one has it or not."""
    monkeypatch.setattr(runtime, "_processor_has_bf16", lambda: True)


@pytest.fixture
def worth_it(native: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Measuring pays even for the few steps of a test, and takes as long as it likes."""
    monkeypatch.setattr(deciding, "FEWEST_STEPS", 1)
    monkeypatch.setattr("pochi_cli.engine.tuning.SHARE", 1e6)


def speed_of(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.layout.run_json.read_text())["settings"]["speed"]
    return found


def names(possible: tuple[Runtime, ...]) -> list[str]:
    return [candidate.arithmetic for candidate in possible]


@pytest.mark.usefixtures("native", "cache")
@pytest.mark.parametrize(("threshold", "chosen"), [(0, "bf16"), (1e15, "fp32")])
def test_a_short_run_takes_the_rules_choice_and_says_so(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: float, chosen: str
) -> None:
    monkeypatch.setattr(deciding, "HEAVY", threshold)
    told = Told()
    run = train(tiny_config(few_digits, work_dir=str(tmp_path / "runs")), progress=told)
    name = "bf16 channels-last" if chosen == "bf16" else "fp32"
    # 65 images in batches of 16; the last one joins the batch before. Two epochs.
    reason = "8 steps would not pay for measuring"
    assert f"computes in {name}, by rule: {reason}" in told.messages
    assert speed_of(run) == {"choice_from": "rule", "reason": reason}
    assert run.record.settings["precision"] == chosen
    resolved = tomllib.loads(run.layout.config_toml.read_text())
    assert (resolved["precision"], resolved["channels_last"]) == (chosen, chosen == "bf16")


@pytest.mark.usefixtures("worth_it", "cache")
def test_measuring_leaves_no_trace_in_the_training(few_digits: Path, tmp_path: Path) -> None:
    everything = {**EVERYTHING, "stem": None}
    told = Told()
    measured = train(tiny_config(few_digits, work_dir=str(tmp_path / "a"), **everything), progress=told)
    speed = speed_of(measured)
    assert speed["choice_from"] == "measured"
    assert measured.record.settings["precision"] in ("fp32", "bf16")
    assert min(speed["images_per_second"].values()) > 0
    assert any(text.startswith("measuring the fastest of fp32, ") for text in told.messages)
    fixed = {key: getattr(measured.config, key) for key in ("precision", "channels_last")}
    given = train(tiny_config(few_digits, work_dir=str(tmp_path / "b"), **everything, **fixed))
    assert speed_of(given) == {"choice_from": "config"}
    assert_same_run(given, measured)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Measuring finds channels innermost in fp32 the fastest; lists what was to be measured."""
    asked: list[list[str]] = []

    def measure(possible: list[Runtime], _open: Any, _steps: int) -> Timing:
        asked.append(names(tuple(possible)))
        times = {one: 0.5 if one.arithmetic == "fp32 channels-last" else 1.0 for one in possible[:-1]}
        return Timing(times, (possible[-1],), (), is_complete=True, is_steady=True)

    monkeypatch.setattr(deciding, "measure", measure)
    return asked


@pytest.mark.usefixtures("worth_it")
def test_what_was_measured_is_remembered_and_told(
    few_digits: Path, tmp_path: Path, cache: Path, timed: list[list[str]]
) -> None:
    config = tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1)
    told, again = Told(), Told()
    first, second = train(config, progress=told), train(config, progress=again)
    assert timed == [["fp32", "fp32 channels-last", "bf16", "bf16 channels-last"]]
    assert (
        told.messages.index("measuring the fastest of fp32, fp32 channels-last, bf16, bf16 channels-last")
        == 0
    )
    at = told.messages.index("computes in fp32 channels-last, measured (images/s):")
    assert (
        told.messages[at + 1] == "  fp32 channels-last 32, fp32 16, bf16 16; far slower: bf16 channels-last"
    )
    day = speed_of(first)["measured_on"]
    assert f"computes in fp32 channels-last, as measured on {day} (images/s):" in again.messages
    assert all(len(text) <= 79 for text in (*told.messages, *again.messages) if "computes" in text)
    assert speed_of(second) == {**speed_of(first), "choice_from": "remembered"}
    for run in (first, second):
        assert (run.record.settings["precision"], run.record.settings["channels_last"]) == ("fp32", True)
    (cache / "speed.json").write_text("{")
    third = Told()
    train(config, progress=third)
    assert len(timed) == 2
    assert any("speed.json is damaged" in text and "it is passed over" in text for text in third.messages)
    assert speed_of(train(config))["choice_from"] == "remembered"


@pytest.mark.usefixtures("worth_it", "cache")
@pytest.mark.parametrize(
    "changes", [{"batch_size": 17}, {"threads": 1}, {"freeze": ["layer1"]}, {"precision": "fp32"}]
)
def test_something_else_is_measured_again(
    few_digits: Path, tmp_path: Path, timed: list[list[str]], changes: dict[str, Any]
) -> None:
    common = {"work_dir": str(tmp_path / "runs"), "epochs": 1}
    train(tiny_config(few_digits, **common))
    train(tiny_config(few_digits, **common, **changes))
    assert len(timed) == 2


@pytest.mark.usefixtures("worth_it")
@pytest.mark.parametrize("fits", ["fp32 channels-last", ""])
def test_what_does_not_fit_into_memory_is_told_and_not_taken(
    few_digits: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, fits: str
) -> None:
    def measure(possible: list[Runtime], _open: Any, _steps: int) -> Timing:
        times = {one: 1.0 for one in possible if one.arithmetic == fits}
        full = tuple(one for one in possible if one not in times)
        return Timing(times, (), full, is_complete=True, is_steady=True)

    monkeypatch.setattr(deciding, "measure", measure)
    told = Told()
    run = train(tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1), progress=told)
    assert any(text.startswith("not measured, for lack of memory: fp32, ") for text in told.messages)
    assert not (cache / "speed.json").exists()  # another time there may be more
    if fits:
        assert "computes in fp32 channels-last, measured (images/s): fp32 channels-last 16" in told.messages
    else:
        assert speed_of(run) == {"choice_from": "rule", "reason": "none has enough memory for a step"}


@pytest.mark.usefixtures("worth_it", "timed")
def test_a_batch_of_all_images_is_remembered_as_what_it_is(
    few_digits: Path, tmp_path: Path, cache: Path
) -> None:
    train(tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1, batch_size=1000))
    (entry,) = json.loads((cache / "speed.json").read_text())["measurements"]
    assert entry["situation"]["batch_size"] == 65


@pytest.mark.usefixtures("worth_it")
def test_a_cache_that_cannot_be_written_does_no_harm(
    few_digits: Path, tmp_path: Path, cache: Path, timed: list[list[str]]
) -> None:
    cache.write_text("no directory")
    told = Told()
    run = train(tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1), progress=told)
    assert len(timed) == 1
    assert speed_of(run)["choice_from"] == "measured"
    assert any(text.startswith("what was measured is not remembered: ") for text in told.messages)


@pytest.mark.usefixtures("worth_it", "cache")
def test_a_trial_takes_what_is_remembered_and_never_measures(
    few_digits: Path, tmp_path: Path, timed: list[list[str]]
) -> None:
    config = tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1)
    trial = train_trial(config, tmp_path / "one")
    assert (timed, speed_of(trial)["choice_from"]) == ([], "rule")
    train(config)
    assert speed_of(train_trial(config, tmp_path / "two"))["choice_from"] == "remembered"
    assert len(timed) == 1


@pytest.mark.usefixtures("worth_it", "cache")
@pytest.mark.parametrize("changes", [{"compile": True}, {"deterministic": True}])
def test_nothing_is_measured_where_it_would_mislead(
    few_digits: Path, timed: list[list[str]], changes: dict[str, Any]
) -> None:
    config = tiny_config(few_digits, **changes)
    chosen = choose_runtime(config)
    task = prepare_task(config, lambda _: None).resolved(chosen)
    state, _ = build_state(task, chosen, from_scratch=True)
    found = deciding.decide(config, task, chosen, state, may_measure=True, tell=lambda _: None)
    assert timed == []
    assert (found.runtime.precision, found.runtime.channels_last) == ("fp32", False)
    assert found.speed is not None
    assert found.speed["choice_from"] == "rule"


@pytest.mark.usefixtures("worth_it")
def test_a_run_that_goes_on_keeps_its_choice(
    few_digits: Path, tmp_path: Path, cache: Path, timed: list[list[str]]
) -> None:
    config = tiny_config(few_digits, work_dir=str(tmp_path / "runs"), epochs=1)
    run = train(config)
    before = speed_of(run)
    (cache / "speed.json").unlink()
    resumed = resume(run, going_on(run, ["epochs=2"]))
    assert len(timed) == 1
    assert speed_of(resumed) == before
    assert (resumed.record.settings["precision"], resumed.record.settings["channels_last"]) == ("fp32", True)


@pytest.mark.usefixtures("cache")
def test_a_run_that_goes_on_loads_as_before(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pochi_cli.data.loading.usable_cores", lambda: 2)
    monkeypatch.setattr("pochi_cli.engine.image_parts.usable_cores", lambda: 2)
    config = tiny_config(
        few_digits, work_dir=str(tmp_path / "runs"), epochs=1, num_workers="auto", cache="none", batch_size=5
    )
    text = "loads with 2 processes, as the run did before"
    with monkeypatch.context() as patch:
        patch.setattr("pochi_cli.data.loading._WORTH_PROCESSES_S", 0.0)
        patch.setattr("pochi_cli.data.loading._SMALL_SHARE", 0.0)
        first = Told()
        run = train(config, progress=first)
    assert run.record.settings["num_workers"][0] == 2
    assert text not in first.messages
    again = Told()
    resumed = resume(run, going_on(run, ["epochs=2"]), progress=again)
    assert text in again.messages
    assert resumed.record.settings["num_workers"][0] == 2


@pytest.mark.usefixtures("cache")
def test_trials_share_memory_and_cores(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[int] = []
    cores: list[int] = []

    def share(device: torch.device, processes: int) -> int | None:
        shared.append(processes)
        return share_of_memory(device, processes)

    def create(*given: Any, **named: Any) -> Any:
        cores.append(named["cores"])
        return create_loaders(*given, **named)

    monkeypatch.setattr("pochi_cli.engine.image_parts.share_of_memory", share)
    monkeypatch.setattr("pochi_cli.engine.image_parts.create_loaders", create)
    monkeypatch.setattr("pochi_cli.engine.image_parts.usable_cores", lambda: 9)
    train_trial(tiny_config(few_digits, epochs=1), tmp_path / "trial", jobs=4)
    assert set(shared) == {4}
    assert set(cores) == {2}


def test_a_short_choice_is_told_in_one_line() -> None:
    plain = Runtime(CPU, "fp32", False, 1)
    found = Measurement("fp32", {"fp32": 730.4}, ("bf16",), "2026-05-01", None)
    text = "computes in fp32, measured (images/s): fp32 730; far slower: bf16"
    assert Choice(plain, "measured", measurement=found).messages() == (text,)
    assert Choice(plain, "config").messages() == ()
