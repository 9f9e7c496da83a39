"""The benchmark of the monitor at a small size: every task of it runs on what it fills."""

from pathlib import Path

import pytest

from benchmarks import monitor


@pytest.mark.slow
def test_every_task_runs_in_a_process_of_its_own_and_tells_what_it_cost(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'monitor.db'}"
    monitor.fill(url, 1500, monitor.LONG)
    for task in (monitor.hour, monitor.day, monitor.join, monitor.train):
        cost = monitor.alone(task, url)
        assert cost.cpu_s > 0.0 and cost.peak_mb >= 0.0
