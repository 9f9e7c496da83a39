"""Two workers of a cluster fit the probe that one process fits, also when one is killed, and refuse
what it refuses.
"""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from training.engines.choice import RaySettings
from training.engines.ray_training import RayFit
from training.errors import TrainingRefused
from training.probes.fit import FittedProbe, fit_probe
from training.probes.probe_settings import FitSettings
from training.rows.row_blocks import ArrayBlocks, MappedBlocks, StreamedRows

TOLERANCE = 1e-3  # of a logit: sums over two shares of the rows are rounded in another order
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]


def rows_of(file: Path, n: int, seed: int) -> StreamedRows:
    """Rows that lie in a file, which whoever fits has to open."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 3, 24)).astype(np.float32)
    np.save(file, x)
    p = 1.0 / (1.0 + np.exp(-(1.5 * x[:, 1, 0] - x[:, 1, 1])))
    y, weight = (draw.random(n) < p).astype(float), draw.uniform(0.5, 2.0, n)
    return StreamedRows(x=MappedBlocks(path=file, layer_first=False), y=y, weight=weight)


def kill_who_reads(file: Path, over: threading.Event, killed: list[int]) -> None:
    """Kill the first process beside this one that is seen with the file mapped."""
    while not over.is_set() and not killed:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                reads = str(file) in (process / "maps").read_text()
            except OSError:
                continue  # it ended, or is not ours
            if reads and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
                killed.append(int(process.name))
                return
        time.sleep(0.002)


def assert_same(ours: FittedProbe, expected: FittedProbe, file: Path) -> None:
    x = np.load(file)
    assert (ours.layer, ours.probe.kind, ours.chosen.penalty) == (1, expected.probe.kind, expected.chosen.penalty)
    np.testing.assert_allclose(*(fitted.logits(ArrayBlocks(x=x)) for fitted in (ours, expected)), atol=TOLERANCE)
    for one, other in zip(ours.all_figures, expected.all_figures, strict=True):
        assert (one.layer, one.kind, one.penalty) == (other.layer, other.kind, other.penalty)
        assert one.auroc == pytest.approx(other.auroc, abs=1e-3)
        assert one.log_loss == pytest.approx(other.log_loss, abs=1e-3)


def test_two_workers_fit_the_probe_that_one_process_fits_though_one_is_killed(ray_address: str, tmp_path: Path) -> None:
    fit, validation = rows_of(tmp_path / "fit.npy", 6001, 0), rows_of(tmp_path / "validation.npy", 301, 1)
    settings = FitSettings(max_epochs=40)
    on_cluster = RayFit(RaySettings(address=ray_address, workers=2, cpus=2))  # a node each
    over, killed = threading.Event(), list[int]()
    killer = threading.Thread(target=kill_who_reads, args=(tmp_path / "fit.npy", over, killed))
    killer.start()
    try:
        ours = on_cluster(fit, validation, settings)
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1
    assert_same(ours, fit_probe(fit, validation, settings), tmp_path / "validation.npy")


def test_what_a_worker_refuses_is_refused_in_the_same_words(ray_address: str, tmp_path: Path) -> None:
    fit, other = (
        rows_of(tmp_path / "fit.npy", 100, 0),
        StreamedRows(x=ArrayBlocks(x=np.zeros((9, 1, 24), dtype=np.float32)), y=np.eye(9)[0]),
    )
    with pytest.raises(TrainingRefused) as alone:
        fit_probe(fit, other)
    with pytest.raises(TrainingRefused) as refused:
        RayFit(RaySettings(address=ray_address))(fit, other, FitSettings())
    assert str(refused.value) == str(alone.value)
