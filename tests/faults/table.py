"""The table of faults: what is done to the world, and what must hold while it is done. What must
hold afterwards is the same for all (`tests.faults.checks`).
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults import acts
from tests.faults.acts import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the table."""

    name: str
    done: str
    holds: str
    act: Callable[[Run], None]
    on: tuple[str, ...] = ("postgresql", "sqlite")
    needs: Callable[[], bool] = lambda: True


def _preloadable() -> bool:
    return acts.FAKETIME.exists()


TABLE: tuple[Fault, ...] = (
    Fault(
        name="slow network",
        done="every piece to and from the API waits up to 0.3 s, of PostgreSQL up to 0.02 s",
        holds="decisions are acknowledged, questions answered",
        act=acts.slow,
    ),
    Fault(
        name="cut connections",
        done="one piece in five to or from the API is cut half-way, one in a hundred of PostgreSQL",
        holds="what got no answer is sent again and stored once",
        act=acts.cut,
    ),
    Fault(
        name="flipped bits",
        done="in three pieces of ten to or from the API one bit is another",
        holds="what was changed is not taken for what was sent, nor its answer for an acknowledgement",
        act=acts.flip,
    ),
    Fault(
        name="PostgreSQL restarted",
        done="stopped in mid-traffic, and started again",
        holds="the gateway goes on answering; the API takes up again by itself",
        act=acts.restart_postgresql,
        on=("postgresql",),
    ),
    Fault(
        name="two schedulers, one held",
        done="a second scheduler is started; the first and its trainer are held still (SIGSTOP), then let go",
        holds="the second takes the window over; the first, let go, changes nothing",
        act=acts.hold_a_host,
        on=("postgresql",),
    ),
    Fault(
        name="hung trainer",
        done="a trainer is held still (SIGSTOP) under a limit of 8 s",
        holds="it is ended, and its window trained again",
        act=acts.hang_a_trainer,
        on=("postgresql",),
    ),
    Fault(
        name="full disk of the gateway",
        done="its data folder has no free byte",
        holds="it goes on answering, and counts the answers whose decision it cannot keep",
        act=acts.fill_the_gateways_disk,
        on=("postgresql",),
    ),
    Fault(
        name="full disk of the shards",
        done="the folder of hidden states has no free byte",
        holds="decisions with vectors are refused, none is acknowledged without its vector",
        act=acts.fill_the_shards_disk,
        on=("postgresql",),
    ),
    Fault(
        name="full disk of the database",
        done="SQLite's folder has no free byte",
        holds="decisions are refused, none is acknowledged that is not kept",
        act=acts.fill_the_databases_disk,
        on=("sqlite",),
    ),
    Fault(
        name="read-only disk of the shards",
        done="the folder of hidden states is mounted read-only",
        holds="as on a full one",
        act=acts.lock_the_shards_disk,
        on=("postgresql",),
        needs=lambda: os.geteuid() != 0 or shutil.which("mount") is not None,
    ),
    Fault(
        name="read-only disk of the gateway",
        done="its data folder is mounted read-only while it is away",
        holds="it does not start, and says which setting names the folder",
        act=acts.lock_the_gateways_disk,
        on=("postgresql",),
        needs=lambda: os.geteuid() != 0 or shutil.which("mount") is not None,
    ),
    Fault(
        name="shards gone",
        done="all files of hidden states are away for the length of a training, then back",
        holds="decisions are acknowledged, questions answered; no vector is forgotten",
        act=acts.lose_the_shards,
        on=("postgresql",),
    ),
    Fault(
        name="clock back and forth",
        done="the clock of the scheduler and its trainers is set an hour forth, two back, one forth",
        holds="no window takes effect twice, and trainings go on",
        act=acts.set_the_clock,
        on=("postgresql",),
        needs=_preloadable,
    ),
    Fault(
        name="MLflow away for an hour",
        done="killed, and started when the scheduler's clock has gone on by an hour",
        holds="trainings go on; MLflow hears of every bundle once",
        act=acts.be_an_hour_without_mlflow,
        on=("postgresql",),
        needs=_preloadable,
    ),
)
