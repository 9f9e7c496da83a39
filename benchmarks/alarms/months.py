"""How often do the alarms ring while all is well, and how soon when it is not?

Healthy months lie on the very limit, in the mean over each day: savings at what is promised less
the margin, the drop at ε. The share retained swings by .1 around its mean in a day.
They are looked at every hour by `watch_savings` and `watch_risk`, as they are shipped. Then faults
in traffic that was well inside (savings as promised, a drop of ε/2): savings fall, or answers get
worse, at an hour of its own in each run. `delay_*` are median hours from the fault to the first
ring, those of risk without the label horizon; None where fewer than half of the runs ring before
they end; `_p90` are the hours within which nine in ten do. `_z`, `_ph`, `_evidently` and
`_nannyml` are rivals on the same traffic (`benchmarks.alarms.rivals`).

`false_alarms_*` are of months with 1000 decisions a day, of which .2 are explored and half of these
labelled by coin; `false_alarms_10k_*` of fewer with 10 000, of which .05 are explored. In `1k_week`
and `10k_week` the share retained is lower by .1 at weekends than on other days, and savings are on
the limit over each week alone: what the alarm does not promise to put up with. Ctrl-C ends the
healthy months at 1000 a day, which come last: `months` says how many were counted.

Two processes share the work, each run and each month from a seed of its own.

A name reads `delay_savings_10k_10` (decisions a day, points) and `delay_risk_1k_5_e05_l20` (also
the percentage that is explored, and of these labelled by coin); `_daily`: looked at once a day.
"""

import math
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pool
from multiprocessing.pool import Pool as PoolType
from signal import SIG_IGN, SIGINT, signal

import numpy as np
import pandas as pd

from benchmarks.alarms.rivals import (
    Stream,
    by_evidently,
    by_page_hinkley,
    by_z_test,
    elsewhere,
    risk_stream,
    savings_stream,
)
from benchmarks.alarms.traffic import (
    CHAMPION,
    EPSILON,
    FIRST_DAY,
    PROMISED,
    Setting,
    cohorts,
    month,
)
from benchmarks.shape import Figures
from knowgate.spec import Alarms
from monitoring.alarms.alarm_memory import ALARMS_SHARING_ALPHA, AlarmMemory
from monitoring.alarms.alarms import Promise, watch_risk, watch_savings
from monitoring.rows.cohorts import Cohort

MONTH = 30  # days
PROMISE = Promise(champion=CHAMPION, others=frozenset(), savings_low=PROMISED)
LEVEL = Alarms().alpha / ALARMS_SHARING_ALPHA
LIMIT = Setting(per_day=1_000, exploration=0.2, label_rate=0.5, fault_hour=0, savings_fall=Alarms().savings_margin)
SPANS = {1_000: (10, 28), 10_000: (7, 14), 100_000: (7, 3)}  # per decisions a day: healthy days, days of the fault
LIMIT_10K = replace(LIMIT, per_day=10_000, exploration=0.05, label_rate=1.0)
LIMITS = {
    "10k": LIMIT_10K,
    "10k_week": replace(LIMIT_10K, weekend=0.1),
    "1k_week": replace(LIMIT, weekend=0.1),
}
PROCESSES = 2
HEALTHY_DAYS = 7  # of a month on the limit, that rivals compare the others with
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
    months, others, runs = (4, 1, 2) if quick else (1000, 40, 40)
    faults = [fault for fault in FAULTS if not quick or (fault.per_day == 1_000 and fault.points == 10)]
    with Pool(PROCESSES, initializer=signal, initargs=(SIGINT, SIG_IGN)) as pool:
        delays = {f"delay_{fault.name}": _together(pool, partial(faulty, fault), runs) for fault in faults}
        larger = {name: _together(pool, partial(healthy, limit=limit), others) for name, limit in LIMITS.items()}
        well = _together(pool, healthy, months, may_end=True)
    counted, river_months = len(well), 2 if quick else 20
    figures: dict[str, float | int | str | None] = {"months": counted, "runs": runs, "alpha": Alarms().alpha}
    figures |= {"months_others": others}
    for size, rings in larger.items():
        figures |= {f"false_alarms_{size}_{who}": rate for who, rate in _rates(rings).items()}
    figures["false_alarms_limit"] = Alarms().alpha + 2 * np.sqrt(Alarms().alpha * (1 - Alarms().alpha) / counted)
    figures |= {f"false_alarms_{who}": rate for who, rate in _rates(well).items()}
    figures |= {"river_streams": 2 * river_months, "river_streams_alike": _as_river(river_months)}
    for name, runs_of in delays.items():
        figures |= {f"{name}{who}": delay for who, delay in _hours(runs_of).items()}
    return figures


def _together(pool: PoolType, one: Callable[[int], Rings], number: int, *, may_end: bool = False) -> list[Rings]:
    """Of so many runs or months, in order; of fewer if they may end with Ctrl-C."""
    done: list[Rings] = []
    try:
        for rings in pool.imap(one, range(number)):
            done.append(rings)
            if len(done) % 40 == 0:
                sys.stderr.write(f"{one} {len(done)}: {_hours(done) if '' in rings else _rates(done)}\n")
    except KeyboardInterrupt:
        if not may_end or not done:
            raise
    return done


def healthy(number: int, limit: Setting = LIMIT) -> Rings:
    """Of one month on the limit: when each of the watchers rings."""
    frame, streams = _on_the_limit(number, limit)
    looks = {of: cohorts(frame, limit, MONTH) for of in streams}
    rings = {"savings": rings_of(_watch_savings, looks["savings"]), "risk": rings_of(watch_risk, looks["risk"])}
    return rings | {
        f"{of}{who}": rung
        for of, stream in streams.items()
        for who, rung in _rivals(stream, MONTH, HEALTHY_DAYS).items()
    }


def _on_the_limit(number: int, limit: Setting = LIMIT) -> tuple[pd.DataFrame, dict[str, Stream]]:
    frame = month(limit, MONTH, np.random.default_rng([zlib.crc32(b"healthy"), number]))
    return frame, {"savings": savings_stream(frame), "risk": risk_stream(frame, limit)}


def faulty(fault: Fault, number: int) -> Rings:
    """Of one run with the fault: how many days after it each of the watchers rings."""
    rng = np.random.default_rng([zlib.crc32(fault.name.encode()), number])
    before, after = SPANS[fault.per_day]
    hour, days = 24 * before + int(rng.integers(24)), before + 1 + after
    setting = fault.setting(hour)
    frame = month(setting, days, rng)
    watch: Watch = _watch_savings if fault.alarm == "savings" else watch_risk
    stream = savings_stream(frame) if fault.alarm == "savings" else risk_stream(frame, setting)
    rings = {"": rings_of(watch, cohorts(frame, setting, days), since=hour / 24)} | _rivals(stream, days, before)
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


def _rivals(stream: Stream, days: int, healthy_days: int) -> Rings:
    rings = {
        "_z": by_z_test(stream, days, level=LEVEL),
        "_ph": by_page_hinkley(stream),
        "_evidently": by_evidently(stream, days, healthy_days=healthy_days),
    }
    nannyml = elsewhere("nannyml")
    return rings if nannyml is None else rings | {"_nannyml": nannyml.rings(stream, healthy_days)}


def _as_river(months: int) -> int | None:
    """Over these healthy months, on how many streams the lines of Page–Hinkley here ring as river's
    own do; None where none is at hand.
    """
    river = elsewhere("river")
    if river is None:
        return None
    streams = [stream for number in range(months) for stream in _on_the_limit(number)[1].values()]
    return sum(by_page_hinkley(one) == river.rings(one, HEALTHY_DAYS) for one in streams)


def _rates(months: list[Rings]) -> dict[str, float]:
    """By watcher the share of months in which it rings."""
    return {who: float(np.mean([bool(rings[who]) for rings in months])) for who in sorted(months[0])}


def _hours(runs: list[Rings]) -> Mapping[str, float | None]:
    """By watcher the hours within which half of the runs have their first ring, and for the alarm
    itself nine in ten (`_p90`); None where fewer ring.
    """
    hours = {who: _within(runs, who, 0.5) for who in runs[0]}
    return hours | {"_p90": _within(runs, "", 0.9)}


def _within(runs: list[Rings], who: str, share: float) -> float | None:
    first = sorted(rings[who][0] if rings[who] else np.inf for rings in runs)
    days = first[max(0, math.ceil(share * len(first)) - 1)]
    return None if math.isinf(days) else round(days * 24, 2)
