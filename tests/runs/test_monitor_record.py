"""The files of the monitor: what is written is read, and how much is kept."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from pochi_cli.errors import RunError
from pochi_cli.runs.layout import RunLayout, create_run_directory
from pochi_cli.runs.monitor_record import MonitorEpoch, MonitorFiles, read_monitor_epochs
from tests.inspection.monitored import healthy_losses, make_epochs


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return create_run_directory(tmp_path, datetime(2026, 11, 20))


def assert_same(one: MonitorEpoch, other: MonitorEpoch) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


def test_what_is_written_is_read_to_the_last_digit(layout: RunLayout) -> None:
    epochs = make_epochs(healthy_losses(2, 7), ratios=(1e-3, 1 / 3))
    epochs[0].losses[2], epochs[0].grad_norms[3] = np.nan, np.inf
    epochs[0].is_passed_over[3] = True
    epochs[1].samples_per_second[:] = np.nan
    epochs[1].update_ratios[1, 0] = np.nan
    files = MonitorFiles(layout, 0, 2)
    for epoch in epochs:
        files.add(epoch)
    found = read_monitor_epochs(layout)
    for one, other in zip(found, epochs, strict=True):
        assert_same(one, other)
    before = layout.monitor_steps.read_bytes(), layout.monitor_updates.read_bytes()
    MonitorFiles(layout, 1, 2).add(found[1])  # the second is cut off, and written again
    assert (layout.monitor_steps.read_bytes(), layout.monitor_updates.read_bytes()) == before


def test_of_a_long_epoch_the_peaks_stay() -> None:
    losses = healthy_losses(1, 5000)
    losses[0, 1234] = 50.0
    norms = np.ones_like(losses)
    norms[0, 4321] = 70.0
    (epoch,) = make_epochs(losses, norms)
    kept = epoch.thinned(100, 30)
    assert len(kept.steps) in (101, 102)
    assert (kept.steps[0], kept.steps[-1], len(kept.update_steps)) == (1, 5000, 30)
    assert (kept.losses.max(), kept.grad_norms.max()) == (50.0, 70.0)
    assert kept.steps[int(kept.losses.argmax())] == 1235
    assert_same(epoch.thinned(5000, 5000), epoch)


def test_a_file_that_is_none_is_an_error(layout: RunLayout) -> None:
    assert read_monitor_epochs(layout) == ()
    (epoch,) = make_epochs(healthy_losses(1, 4))
    MonitorFiles(layout, 0, 1).add(epoch)
    for path in (layout.monitor_steps, layout.monitor_updates):  # the updates are read first
        path.write_text("epoch,step\n1,2,3\n")
        with pytest.raises(RunError, match=f"{path.name} is damaged: row 2 is none of its"):
            read_monitor_epochs(layout)
