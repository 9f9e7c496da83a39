"""Other ways to hear of harm, on the same months: what the alarms are compared with.

- a z-test at the end of every day, of the day's mean against what is allowed, at the alarm's own
  level each day: it says nothing of how often it may be repeated;
- Page–Hinkley with river's defaults, on single values in order;
- Evidently's default drift test of each day's values against those of the healthy days;
- NannyML's alert on each day's mean, against those of the healthy days.

river and NannyML want environments of their own: `KNOWGATE_RIVER_PYTHON` and
`KNOWGATE_NANNYML_PYTHON` name their Python. river's own is asked whether the lines here ring as it
does. All are given more than the alarms see: savings with every row's true cost of the last tier.
"""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from benchmarks.alarms.traffic import EPSILON, FIRST_DAY, PROMISED, Setting
from knowgate._records.arrays import FloatArray
from knowgate.spec import Alarms

MIN_ROWS, SLACK, THRESHOLD, FADING = 30, 0.005, 50.0, 0.9999  # river's defaults
MOST_ROWS = 50_000  # that Evidently is given on a side


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """Values in order of time, above 0 on average where there is harm."""

    at: FloatArray  # [n] days since the month's first
    value: FloatArray


def savings_stream(frame: pd.DataFrame) -> Stream:
    """(C − what is allowed of the true C_last) / the mean C_last of a healthy query."""
    allowed = 1.0 - PROMISED + Alarms().savings_margin
    last = frame["true_last_usd"].to_numpy()
    return Stream(at=_days(frame), value=(frame["usd"].to_numpy() - allowed * last) / last[:1000].mean())


def risk_stream(frame: pd.DataFrame, setting: Setting) -> Stream:
    """Of the explored decisions (A/π)·X times the share retained so far, less ε."""
    retained = frame["retained"].to_numpy()
    share = np.cumsum(retained) / np.arange(1, len(frame) + 1)
    seen = frame["explored"].to_numpy()
    weighed = np.nan_to_num(frame["x"].to_numpy()) / frame["label_propensity"].fillna(1.0).to_numpy()
    return Stream(at=_days(frame)[seen], value=(weighed * share)[seen] - EPSILON)


def by_z_test(stream: Stream, days: int, *, level: float) -> list[float]:
    """The ends of the days whose mean is above 0 by the level's normal quantile."""
    limit, rings = float(ndtri(1.0 - level)), list[float]()
    edges = np.searchsorted(stream.at, np.arange(days + 1))
    for day in range(days):
        values = stream.value[edges[day] : edges[day + 1]]
        if len(values) > 1 and values.mean() > limit * values.std(ddof=1) / np.sqrt(len(values)):
            rings.append(float(day + 1))
    return rings


def by_page_hinkley(stream: Stream) -> list[float]:
    """When it rings, each time starting anew."""
    rings, n, mean, total, least = list[float](), 0, 0.0, 0.0, np.inf
    for at, value in zip(stream.at.tolist(), stream.value.tolist(), strict=True):
        n += 1
        mean += (value - mean) / n
        total = FADING * total + value - mean - SLACK
        least = min(least, total)
        if n >= MIN_ROWS and total - least > THRESHOLD:
            rings.append(at)
            n, mean, total, least = 0, 0.0, 0.0, np.inf
    return rings


def by_evidently(stream: Stream, days: int, *, healthy_days: int) -> list[float]:
    """The ends of the days that Evidently, by the test and threshold it takes by itself, calls
    drifted.
    """
    from evidently.legacy.calculations.stattests import get_stattest  # seconds to import

    edges = np.searchsorted(stream.at, np.arange(days + 1))
    reference, rings = _thinned(stream.value[: edges[healthy_days]]), list[float]()
    for day in range(healthy_days, days):
        values = _thinned(stream.value[edges[day] : edges[day + 1]])
        test = get_stattest(reference, values, "num", None)
        if len(values) > 1 and test(reference, values, "num", None).drifted:
            rings.append(float(day + 1))
    return rings


class Elsewhere:
    """A rival in an environment of its own, asked stream by stream."""

    def __init__(self, python: str, rival: str) -> None:
        script = str(Path(__file__).with_name("elsewhere.py"))
        self._process = subprocess.Popen(
            [python, script, rival], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def rings(self, stream: Stream, healthy_days: int) -> list[float]:
        """The days at which it rings."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None and answered is not None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "stream.npz"
            np.savez(path, at=stream.at, value=stream.value, healthy_days=healthy_days)
            asked.write(f"{path}\n")
            answer = answered.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}: see what it wrote above")
        return [float(day) for day in json.loads(answer)]


@cache
def elsewhere(rival: str) -> Elsewhere | None:
    """river or nannyml; None where no environment that has it is named."""
    python = os.environ.get(f"KNOWGATE_{rival.upper()}_PYTHON")
    return Elsewhere(python, rival) if python else None


def _thinned(values: FloatArray) -> "pd.Series[float]":
    """At most 50 000 of them, evenly spaced: more change no conclusion."""
    return pd.Series(values[:: max(1, -(-len(values) // MOST_ROWS))])


def _days(frame: pd.DataFrame) -> FloatArray:
    since = frame["occurred_at"] - pd.Timestamp(FIRST_DAY)
    return np.asarray(since / pd.Timedelta(days=1), dtype=np.float64)
