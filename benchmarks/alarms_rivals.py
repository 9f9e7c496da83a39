"""Other ways to hear of harm, on the same months: what the alarms are compared with.

- a z-test at the end of every day, of the day's mean against what is allowed, at the alarm's own
  level each day: it says nothing of how often it may be repeated;
- Page–Hinkley with river's defaults, on single values in order;
- river's own, in an environment of its own (`KNOWGATE_RIVER_PYTHON` names its Python): the same
  numbers, or these lines are wrong.

They are given more than the alarms see: savings with every row's true cost of the last tier.
"""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from benchmarks.alarms_traffic import EPSILON, FIRST_DAY, PROMISED, Setting
from knowgate._records.arrays import FloatArray
from knowgate.spec import Alarms

MIN_ROWS, SLACK, THRESHOLD, FADING = 30, 0.005, 50.0, 0.9999  # river's defaults


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


def by_river(streams: list[Stream]) -> list[list[float]] | None:
    """When river's Page–Hinkley rings; None where no environment with river is named."""
    python = os.environ.get("KNOWGATE_RIVER_PYTHON")
    if not python:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for number, stream in enumerate(streams):
            np.save(Path(folder) / f"{number}.npy", stream.value)
        script = Path(__file__).with_name("alarms_river.py")
        done = subprocess.run([python, str(script), folder], capture_output=True, text=True, check=True)
    rows: list[list[int]] = json.loads(done.stdout)
    return [[float(stream.at[row]) for row in rung] for stream, rung in zip(streams, rows, strict=True)]


def _days(frame: pd.DataFrame) -> FloatArray:
    since = frame["occurred_at"] - pd.Timestamp(FIRST_DAY)
    return np.asarray(since / pd.Timedelta(days=1), dtype=np.float64)
