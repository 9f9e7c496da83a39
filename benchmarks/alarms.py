"""How often do the alarms ring while all is well, and how soon when it is not?

Healthy months lie on the very limit: savings at what is promised less the margin, the drop at ε.
They are looked at every hour by `watch_savings` and `watch_risk`, as they are shipped. Then faults
in traffic that was well inside (savings as promised, a drop of ε/2): savings fall, or answers get
worse, at an hour of its own in each run. `delay_*` are median hours from the fault to the first
ring, those of risk without the label horizon; None where fewer than half of the runs ring before
they end. `_z` and `_ph` are rivals on the same traffic (`benchmarks.alarms_rivals`).

A name reads `delay_savings_10k_10` (decisions a day, points) and `delay_risk_1k_5_e05_l20` (also
the percentage that is explored, and of these labelled by coin); `_daily`: looked at once a day.
"""

import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.alarms_rivals import Stream, by_page_hinkley, by_river, by_z_test, risk_stream, savings_stream
from benchmarks.alarms_traffic import (
    CHAMPION,
    EPSILON,
    FIRST_DAY,
    PROMISED,
    Setting,
    cohorts,
    month,
)
from benchmarks.shape import Figures, run
from knowgate.spec import Alarms
from monitoring.alarms.alarm_memory import ALARMS_SHARING_ALPHA, AlarmMemory
from monitoring.alarms.alarms import Promise, watch_risk, watch_savings
from monitoring.rows.cohorts import Cohort

MONTH = 30  # days
PROMISE = Promise(champion=CHAMPION, challenger=None, savings_low=PROMISED)
LEVEL = Alarms().alpha / ALARMS_SHARING_ALPHA
LIMIT = Setting(per_day=1_000, fault_hour=0, savings_fall=Alarms().savings_margin)
SPANS = {1_000: (10, 28), 10_000: (7, 14), 100_000: (2, 5)}  # per decisions a day: healthy days, days of the fault
Rings = dict[str, list[float]]  # by watcher, days from the month's first
Watch = Callable[[AlarmMemory | None, Cohort], AlarmMemory]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is planted, and into what."""

    alarm: str  # savings or risk
    per_day: int
    points: int
    exploration: float = 0.05
    label_rate: float = 1.0

    @property
    def name(self) -> str:
        name = f"{self.alarm}_{self.per_day // 1000}k_{self.points}"
        coins = f"_e{self.exploration * 100:02.0f}_l{self.label_rate * 100:02.0f}"
        return name + (coins if self.alarm == "risk" else "")

    def setting(self, fault_hour: int) -> Setting:
        fall = {"savings_fall" if self.alarm == "savings" else "drop_rise": self.points / 100}
        coins = {"exploration": self.exploration, "label_rate": self.label_rate}
        return Setting(per_day=self.per_day, drop=EPSILON / 2, fault_hour=fault_hour, **coins, **fall)


FAULTS = (
    *(Fault(alarm="savings", per_day=size, points=points) for size in SPANS for points in (10, 20)),
    *(
        Fault(alarm="risk", per_day=size, points=points, exploration=explored, label_rate=labelled)
        for size in SPANS
        for points in (5, 10)
        for explored, labelled in ((0.05, 1.0), (0.05, 0.2), (0.2, 1.0))
    ),
)


def measure(quick: bool) -> Figures:
    months, runs = (4, 2) if quick else (1000, 40)
    faults = [fault for fault in FAULTS if not quick or (fault.per_day == 1_000 and fault.points == 10)]
    pieces: dict[str, Callable[[int], Rings]] = {f"delay_{fault.name}": partial(faulty, fault) for fault in faults}
    with ProcessPoolExecutor(max_workers=1 if quick else 2) as pool:
        well = list(pool.map(healthy, range(months), chunksize=1 if quick else 10))
        sys.stderr.write("healthy months\n")
        delays: dict[str, list[Rings]] = {}
        for name, piece in pieces.items():
            delays[name] = list(pool.map(piece, range(runs)))
            sys.stderr.write(f"{name}\n")
    figures: dict[str, float | int | str | None] = {"months": months, "runs": runs, "alpha": Alarms().alpha}
    figures["false_alarms_limit"] = Alarms().alpha + 2 * np.sqrt(Alarms().alpha * (1 - Alarms().alpha) / months)
    figures |= {f"false_alarms_{who}": rate for who, rate in _rates(well).items()}
    river_months = 2 if quick else 20
    figures |= {"river_streams": 2 * river_months, "river_streams_alike": _as_river(river_months)}
    for name, rings in delays.items():
        figures |= {f"{name}{who}": delay for who, delay in _medians(rings).items()}
    return figures


def healthy(number: int) -> Rings:
    """Of one month on the limit: when each of the watchers rings."""
    frame, streams = _on_the_limit(number)
    looks = {of: cohorts(frame, LIMIT, MONTH) for of in streams}
    rings = {"savings": rings_of(_watch_savings, looks["savings"]), "risk": rings_of(watch_risk, looks["risk"])}
    return rings | {
        f"{of}{who}": rung for of, stream in streams.items() for who, rung in _rivals(stream, MONTH).items()
    }


def _on_the_limit(number: int) -> tuple[pd.DataFrame, dict[str, Stream]]:
    frame = month(LIMIT, MONTH, np.random.default_rng([zlib.crc32(b"healthy"), number]))
    return frame, {"savings": savings_stream(frame), "risk": risk_stream(frame, LIMIT)}


def faulty(fault: Fault, number: int) -> Rings:
    """Of one run with the fault: how many days after it each of the watchers rings."""
    rng = np.random.default_rng([zlib.crc32(fault.name.encode()), number])
    before, after = SPANS[fault.per_day]
    hour, days = 24 * before + int(rng.integers(24)), before + 1 + after
    setting = fault.setting(hour)
    frame = month(setting, days, rng)
    watch: Watch = _watch_savings if fault.alarm == "savings" else watch_risk
    stream = savings_stream(frame) if fault.alarm == "savings" else risk_stream(frame, setting)
    rings = {"": rings_of(watch, cohorts(frame, setting, days), since=hour / 24)} | _rivals(stream, days)
    if fault.label_rate < 1.0:
        rings["_daily"] = rings_of(watch, cohorts(frame, setting, days, hours=24), since=hour / 24)
    return {who: [at - hour / 24 for at in rung if at > hour / 24] for who, rung in rings.items()}


def rings_of(watch: Watch, looks: Iterable[Cohort], *, since: float = 0.0) -> list[float]:
    """When the alarm rings, in days from the first, up to its first ring after `since`."""
    memory: AlarmMemory | None = None
    rings: list[float] = []
    for cohort in looks:
        memory = watch(memory, cohort)
        if memory.raised_at == cohort.window.end:
            rings.append((cohort.window.end - FIRST_DAY).total_seconds() / 86_400)
            if rings[-1] > since:
                break
    return rings


def _watch_savings(memory: AlarmMemory | None, cohort: Cohort) -> AlarmMemory:
    return watch_savings(memory, cohort, PROMISE)


def _rivals(stream: Stream, days: int) -> Rings:
    return {"_z": by_z_test(stream, days, level=LEVEL), "_ph": by_page_hinkley(stream)}


def _as_river(months: int) -> int | None:
    """Over these healthy months, on how many streams the lines of Page–Hinkley here ring as river's
    own do; None where none is at hand.
    """
    streams = [stream for number in range(months) for stream in _on_the_limit(number)[1].values()]
    theirs = by_river(streams)
    return (
        None if theirs is None else sum(by_page_hinkley(one) == rung for one, rung in zip(streams, theirs, strict=True))
    )


def _rates(months: list[Rings]) -> dict[str, float]:
    """By watcher the share of months in which it rings."""
    return {who: float(np.mean([bool(rings[who]) for rings in months])) for who in sorted(months[0])}


def _medians(runs: list[Rings]) -> Mapping[str, float | None]:
    """By watcher the median hours to its first ring; None where fewer than half of them ring."""
    first = {who: [rings[who][0] if rings[who] else np.inf for rings in runs] for who in runs[0]}
    middle = {who: float(np.sort(days)[(len(days) - 1) // 2]) * 24 for who, days in first.items()}
    return {who: None if np.isinf(hours) else hours for who, hours in middle.items()}


if __name__ == "__main__":
    run("alarms", measure)
