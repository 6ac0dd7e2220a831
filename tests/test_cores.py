"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pochi_cli import cores
from pochi_cli.cores import granted_cores, usable_cores
from tests.kernel_files import kernel_files


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, [], id="no groups"),
        pytest.param({"proc/self/cgroup": "0::/a\n", "cgroup/a/cpu.max": "max 100000\n"}, [], id="no limit"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/user/job\n",
                "cgroup/user/job/cpu.max": "max 100000\n",
                "cgroup/user/cpu.max": "150000 100000\n",
                "cgroup/cpu.max": "800000 100000\n",
            },
            [1.5, 8.0],
            id="version 2, groups around",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/../other\n", "cgroup/cpu.max": "20000 50000\n"},
            [0.4],
            id="version 2, a container's own root",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "5:cpuset:/\n4:cpu,cpuacct:/job\n0::/\n",
                "cgroup/cpu/job/cpu.cfs_quota_us": "300000\n",
                "cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
                "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            [3.0],
            id="version 1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "1:cpuset:/\u0085x\n?\n0::/job\n",
                "cgroup/unified/job/cpu.max": "200000 100000\n",
                "cgroup/job/cpu.max": "700000 100000\n",
            },
            [2.0],
            id="version 2 beside version 1, and odd names",
        ),
        pytest.param({"proc/self/cgroup": "0::/\n", "cgroup/cpu.max": "5\n"}, [], id="unknown"),
    ],
)
def test_time_that_control_groups_grant(tmp_path: Path, files: dict[str, str], expected: list[float]) -> None:
    assert list(granted_cores(*kernel_files(tmp_path, files))) == expected


@pytest.mark.parametrize(
    ("granted", "expected"),
    [([], 6), ([8.0], 6), ([2.0, 4.0], 2), ([1.5], 2), ([0.4], 1), ([0.0], 1)],
)
def test_the_least_counts(monkeypatch: pytest.MonkeyPatch, granted: list[float], expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(6)), raising=False)
    monkeypatch.setattr(cores, "granted_cores", lambda _proc, _cgroups: iter(granted))
    assert usable_cores() == expected


def test_where_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(cores, "granted_cores", lambda _proc, _cgroups: iter(()))
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1
