"""Months of made-up traffic that the two alarms watch, in the tables that `monitoring` pairs.

Decisions, lengths, the share retained and the drop cycle with the day, each with a phase of its
own. What a healthy month saves and loses is exact in expectation over every day, and over every
week where weekends differ; a fault moves one of the two from its hour on. Two slices differ in how
much the last tier writes; costs are of 600 tokens a query in the mean where 4096 are declared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from knowgate._records.arrays import BoolArray, FloatArray
from knowgate._records.records import Window
from knowgate.spec import Alarms, CascadeSpec, Price, Targets, TierSpec
from monitoring.rows.cohorts import Cohort

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
EPSILON, PROMISED = 0.02, 0.4  # the drop allowed, and s0
CHAMPION = "champion"
SMALL, LAST = (0.25, 1.0), (2.5, 10.0)  # USD per million tokens in and out
TOKENS_IN, TOKENS_OUT, SPREAD = 400.0, 200.0, 0.5  # means, and the lognormal's sigma
WRITES = (0.7, 1.3)  # of the last tier per slice, beside the small one
DISAGREE, GAIN = 0.15, 0.03  # of retained answers: other than the last tier's; right where that is wrong
CYCLE = {"rate": 0.6, "length": 0.3, "drop": 0.5 * EPSILON}  # amplitudes; that of retained is the setting's swing
PHASES = ("rate", "length", "retained", "drop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a month is like."""

    per_day: int
    exploration: float = 0.05
    label_rate: float = 1.0
    drop: float = EPSILON  # while healthy
    fault_hour: int | None = None  # from the month's first hour on; None: healthy
    savings_fall: float = 0.0  # by the fault
    drop_rise: float = 0.0
    swing: float = 0.1  # by which the share retained lies above and below its mean in a day
    weekend: float = 0.0  # by which it is lower at weekends than on other days


def spec_of(setting: Setting) -> CascadeSpec:
    """The cascade whose traffic it is."""
    tiers = tuple(
        TierSpec(name=name, model=name, parameters=parameters, prices=(_price(*usd),))
        for name, parameters, usd in (("small", 8e9, SMALL), ("large", 70e9, LAST))
    )
    targets = Targets(value=EPSILON)
    return CascadeSpec(name="made", tiers=tiers, targets=targets, alarms=Alarms(), exploration_rate=setting.exploration)


def _price(usd_in: float, usd_out: float) -> Price:
    since = datetime(2020, 1, 1, tzinfo=UTC)
    return Price(since=since, usd_per_million_tokens_in=usd_in, usd_per_million_tokens_out=usd_out)


def month(setting: Setting, days: int, rng: np.random.Generator) -> pd.DataFrame:
    """A row per decision, in order; `true_last_usd` is what no alarm sees."""
    phase = dict(zip(PHASES, rng.random(len(PHASES)), strict=True))
    at = _times(setting.per_day * days, days, phase["rate"], rng)
    n, broken = len(at), _after_fault(at, setting)
    length = (1.0 + _wave(at, phase["length"], CYCLE["length"])) * rng.lognormal(-(SPREAD**2) / 2, SPREAD, n)
    kind = rng.integers(0, 2, n)
    writes = np.array(WRITES)[kind] * rng.lognormal(-0.02, 0.2, n)
    small = length * (TOKENS_IN * SMALL[0] + TOKENS_OUT * SMALL[1]) / 1e6
    expected = length * (TOKENS_IN * LAST[0] + TOKENS_OUT * LAST[1]) / 1e6
    last = length * (TOKENS_IN * LAST[0] + TOKENS_OUT * writes * LAST[1]) / 1e6
    share = _share_retained(setting, phase) + _wave(at, phase["retained"], setting.swing) + _week(at, setting.weekend)
    retained = rng.random(n) < share - setting.savings_fall * broken
    explored = retained & (rng.random(n) < setting.exploration)
    x = _losses(at, setting, phase, share, broken, rng)
    settled = ~retained | (explored & np.isnan(x))  # nothing to label: an escalation, or equal answers
    labelled = explored & ~settled & (rng.random(n) < setting.label_rate)
    known, coin = np.nan_to_num(x), np.where(labelled, setting.label_rate, np.nan)
    return pd.DataFrame(
        {
            "occurred_at": pd.Timestamp(FIRST_DAY) + pd.to_timedelta((at * 86_400e6).astype(np.int64), unit="us"),
            "bundle": np.full(n, CHAMPION, dtype=object),
            "slice": np.array(["terse", "wordy"], dtype=object)[kind],
            "retained": retained,
            "explored": explored,
            "last_ran": ~retained | explored,
            "run_propensity": np.where(retained, setting.exploration, 1.0),
            "x": np.where(settled, 0.0, np.where(labelled, known, np.nan)),
            "correct_kept": np.where(labelled, (known < 0.0).astype(np.float64), np.nan),
            "correct_last": np.where(labelled, (known > 0.0).astype(np.float64), np.nan),
            "label_propensity": np.where(settled, 1.0, coin),
            "kept_label_propensity": coin,
            "last_label_propensity": coin,
            "forecast_x": np.nan,
            "usd": small + np.where(retained, 0.0, last),
            "last_usd": np.where(~retained | explored, last, np.nan),
            "expected_last_usd": expected,
            "true_last_usd": last,
        }
    )


def cohorts(frame: pd.DataFrame, setting: Setting, days: int, *, hours: int = 1) -> Iterator[Cohort]:
    """The month as cohorts of so many hours each."""
    spec, none = spec_of(setting), pd.DataFrame()
    starts = [FIRST_DAY + timedelta(hours=hour) for hour in range(0, 24 * days + 1, hours)]
    edges = frame["occurred_at"].searchsorted(pd.DatetimeIndex(starts))
    for number, start in enumerate(starts[:-1]):
        window = Window(start=start, end=starts[number + 1])
        rows = frame.iloc[edges[number] : edges[number + 1]]
        yield Cohort(spec=spec, window=window, as_of=window.end, decisions=rows, attempts=none)


def _wave(at: FloatArray, phase: float, amplitude: float) -> FloatArray:
    return np.asarray(amplitude * np.sin(2 * np.pi * (at + phase)))


def _week(at: FloatArray, fall: float) -> FloatArray:
    """0 over a week that begins on a Monday, as the first day is one."""
    return np.asarray(np.where(at % 7 >= 5, -5 / 7, 2 / 7) * fall)


def _times(n: int, days: int, phase: float, rng: np.random.Generator) -> FloatArray:
    """[n] days since the first, in order, more of them at some hours than at others."""
    grid = np.linspace(0.0, days, 288 * days + 1)
    rate = np.cumsum(np.concatenate([[0.0], 1.0 + _wave(grid[:-1], phase, CYCLE["rate"])]))
    return np.asarray(np.interp(np.sort(rng.random(n)) * rate[-1], rate, grid))


def _after_fault(at: FloatArray, setting: Setting) -> BoolArray:
    if setting.fault_hour is None:
        return np.zeros(len(at), dtype=np.bool_)
    return np.asarray(at >= setting.fault_hour / 24, dtype=np.bool_)


def _share_retained(setting: Setting, phase: dict[str, float]) -> float:
    """The mean share at which a day saves what is promised: weighted by decisions and lengths."""
    at = np.arange(2880) / 2880
    weight = (1.0 + _wave(at, phase["rate"], CYCLE["rate"])) * (1.0 + _wave(at, phase["length"], CYCLE["length"]))
    small, last = (TOKENS_IN * usd[0] + TOKENS_OUT * usd[1] for usd in (SMALL, LAST))
    return PROMISED + small / last - float(np.average(_wave(at, phase["retained"], setting.swing), weights=weight))


def _losses(
    at: FloatArray,
    setting: Setting,
    phase: dict[str, float],
    share: FloatArray,
    broken: BoolArray,
    rng: np.random.Generator,
) -> FloatArray:
    """[n] correct_last − correct_kept were it retained; NaN where the answers are the same."""
    day = np.arange(2880) / 2880
    rate = 1.0 + _wave(day, phase["rate"], CYCLE["rate"])
    level = setting.drop - float(np.average(_wave(day, phase["drop"], CYCLE["drop"]), weights=rate))
    drop = level + _wave(at, phase["drop"], CYCLE["drop"]) + setting.drop_rise * broken
    lost = drop / share + GAIN
    u = rng.random(len(at))
    value = np.where(u < lost, 1.0, np.where(u < lost + GAIN, -1.0, 0.0))
    return np.where(u < np.maximum(DISAGREE, lost + GAIN), value, np.nan)
