"""A year of figures and a million decisions in a minute or two: rows as SQLite keeps them (and as
PostgreSQL reads them), past the ORM and the ledger, which a measurement of reading has no use for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

HOUR = timedelta(hours=1)
Floats = npt.NDArray[np.float64]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# name: level, its swing over a day, what is noise, half the interval, whether labels are awaited
FIGURES: dict[str, tuple[float, float, float, float, bool]] = {
    "savings_usd": (0.33, 0.05, 0.02, 0.06, False),
    "savings_gflops": (0.36, 0.05, 0.02, 0.06, False),
    "retained_share": (0.42, 0.06, 0.03, 0.09, False),
    "escalated_share.p_t": (0.24, -0.03, 0.02, 0.08, False),
    "escalated_share.p_ik": (0.27, -0.03, 0.02, 0.08, False),
    "escalated_share.ood": (0.07, 0.0, 0.01, 0.05, False),
    "uncertified_share": (0.02, 0.0, 0.004, 0.01, False),
    "drop": (0.011, 0.002, 0.03, 0.06, True),
    "accuracy_cascade": (0.872, 0.0, 0.02, 0.06, True),
    "accuracy_last": (0.883, 0.0, 0.02, 0.06, True),
    "accuracy_retained": (0.941, 0.0, 0.015, 0.04, True),
    "label_coverage": (0.28, 0.02, 0.02, 0.08, False),
    "latency_p50_ms": (1240.0, 110.0, 60.0, 150.0, False),
    "latency_p95_ms": (3900.0, 300.0, 160.0, 420.0, False),
    "escalation_added_p50_ms": (331.0, 20.0, 8.0, 15.0, False),
    "escalation_added_p95_ms": (607.0, 40.0, 20.0, 60.0, False),
}
OF_TIER: dict[str, tuple[float, float, float, float, bool]] = {
    "auroc_p_t": (0.74, 0.0, 0.02, 0.06, True),
    "auroc_p_ik": (0.81, 0.0, 0.02, 0.05, True),
    "auroc_score": (0.84, 0.0, 0.02, 0.05, True),
    "ece": (0.041, 0.0, 0.008, 0.02, True),
    "latency_p50_ms": (331.0, 20.0, 8.0, 15.0, False),
    "latency_p95_ms": (607.0, 40.0, 20.0, 60.0, False),
}
OF_LAST: dict[str, tuple[float, float, float, float, bool]] = {
    "latency_p50_ms": (2075.0, 180.0, 60.0, 150.0, False),
    "latency_p95_ms": (4220.0, 320.0, 160.0, 420.0, False),
}
OF_SLICE = ("queries", "retained_share", "savings_usd", "saved_usd", "drop")
_FIGURE = "cascade, name, window_start, window_end, tier, slice, mature, value, low, high, n, computed_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A time in which something was otherwise: how far figures moved, by name."""

    start: datetime
    end: datetime
    moved: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What is made of one cascade."""

    cascade: str
    start: datetime
    end: datetime
    hourly: float  # decisions
    dear: float = 0.15  # USD that the large model takes for one
    episodes: tuple[Episode, ...] = ()
    slices: Sequence[str] = ()
    horizon: timedelta = timedelta(days=7)
    seed: int = 0

    @cached_property
    def times(self) -> list[tuple[str, str, str, bool, bool]]:
        """Per window its start and end, when its labels were there, whether they are, and whether
        it is of the last month, in which its figures of before are kept too.
        """
        made = []
        for start in self.starts:
            end = start + HOUR
            judged = end + self.horizon
            made.append((text(start), text(end), text(judged), judged <= self.end, end + 30 * HOUR * 24 > self.end))
        return made

    @cached_property
    def starts(self) -> list[datetime]:
        """Of its windows, an hour each."""
        return [self.start + hour * HOUR for hour in range(int((self.end - self.start) / HOUR))]


def text(at: datetime) -> str:
    """A time as SQLite keeps it."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def add_figures(engine: Engine, of: Traffic) -> int:
    """The cascade's figures, window by window; how many rows."""
    return _insert(engine, "cohort_figure", _FIGURE, _figures(of))


def _figures(of: Traffic) -> Iterator[tuple[Any, ...]]:
    rng = np.random.default_rng(of.seed)
    starts = of.starts
    hours = np.array([start.hour for start in starts])
    wave = np.cos((hours - 14) / 24 * 2 * np.pi)
    queries = rng.poisson(of.hourly * (1.0 + 0.7 * wave)).astype(float)
    columns = _columns(of, starts, wave, queries, rng, FIGURES)
    for name, (value, half, awaited) in columns.items():
        yield from _rows(of, name, value, half, queries * (0.08 if awaited else 1.0), -1, "")
    saved = columns["savings_usd"][0] * queries * of.dear
    yield from _rows(of, "queries", queries, None, queries, -1, "")
    yield from _rows(of, "saved_usd", saved, np.maximum(0.2 * saved, 0.4), queries, -1, "")
    for tier, kinds in enumerate((OF_TIER, OF_LAST)):
        for name, (value, half, _) in _columns(of, starts, wave, queries, rng, kinds).items():
            yield from _rows(of, name, value, half, queries * 0.08, tier, "")
    for place, part in enumerate(of.slices):
        share = 1.0 / len(of.slices) * (0.4 + 1.2 * ((7 * place) % len(of.slices)) / len(of.slices))
        shift = 0.25 * np.sin(place)
        for name in OF_SLICE:
            level = {"queries": queries * share, "saved_usd": saved * share}.get(name)
            level = columns[name][0] * (1.0 + shift) if level is None else level
            reach = None if name == "queries" else 0.1 * level
            yield from _rows(of, name, level, reach, queries * share, -1, part)


def _columns(
    of: Traffic, starts: list[datetime], wave: Floats, queries: Floats, rng: np.random.Generator, kinds: dict[str, Any]
) -> dict[str, tuple[Floats, Floats, bool]]:
    made = {}
    for name, (level, swing, noise, half, awaited) in kinds.items():
        value = level + swing * wave + rng.normal(0.0, noise, len(starts))
        for episode in of.episodes:
            inside = np.array([episode.start <= start < episode.end for start in starts])
            value = value + inside * episode.moved.get(name, 0.0)
        reach = half * np.sqrt(of.hourly / np.maximum(queries, 1.0))
        share = name != "drop" and not name.endswith("_ms")
        made[name] = (np.clip(value, 0.0, 1.0) if share else value, reach, awaited)
    return made


def _rows(
    of: Traffic,
    name: str,
    value: Floats,
    half: Floats | None,
    n: Floats,
    tier: int,
    part: str,
) -> Iterator[tuple[Any, ...]]:
    known = value.tolist()
    bounds: list[tuple[float | None, float | None]] = []
    if half is not None:
        bounds = list(zip((value - half).tolist(), (value + half).tolist(), strict=True))
    rows = np.maximum(n, 1).astype(int).tolist()
    pairs = bounds or [(None, None)] * len(known)
    shown = [(one, *pair, count) for one, pair, count in zip(known, pairs, rows, strict=True)]
    for place, (start, end, judged, mature, young) in enumerate(of.times):
        key = (of.cascade, name, start, end, tier, part)
        if mature:
            yield (*key, 1, *shown[place], judged)
        if not mature or (young and not part):
            yield (*key, 0, *shown[place], end)


_DECISION = (
    "id, cascade, occurred_at, received_at, external_id, slice, generation, bundle, exploration_rate, served_tier,"
    " spec_version"
)
_ATTEMPT = (
    "decision_id, tier, role, model, action, gates, answer, gflops, p_t_kind, tokens_in, tokens_out, latency_ms,"
    " cost_usd, run_propensity, p_t, p_ik, score, ood, reason, fallback"
)
_LABEL = "decision_id, tier, source, digest, arrival, correct, labelled_at, received_at, label_propensity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Decisions of a cascade, evenly over its time."""

    traffic: Traffic
    count: int
    bundle: str
    models: tuple[str, str]
    labelled: float = 0.3  # of them are labelled, where they are old enough


def add_decisions(engine: Engine, asked: Asked) -> int:
    """Decisions with their attempts and labels; how many decisions."""
    rng = np.random.default_rng(asked.traffic.seed + 1)
    chunk = 50_000
    for first in range(0, asked.count, chunk):
        rows = _decisions(asked, range(first, min(first + chunk, asked.count)), rng)
        for table, columns, made in zip(
            ("decision", "attempt", "label"), (_DECISION, _ATTEMPT, _LABEL), rows, strict=True
        ):
            _insert(engine, table, columns, iter(made))
    return asked.count


def _decisions(asked: Asked, numbers: range, rng: np.random.Generator) -> tuple[list[Any], list[Any], list[Any]]:
    of, n = asked.traffic, len(numbers)
    length = (of.end - of.start) / asked.count
    knows = rng.beta(2.0, 1.1, n)  # the chance that the small model is right
    columns = zip(
        numbers,
        np.clip(knows + rng.normal(0, 0.1, n), 0, 1).tolist(),  # p_ik
        np.clip(knows + rng.normal(0, 0.15, n), 0, 1).tolist(),  # p_t
        np.clip(knows + rng.normal(0, 0.06, n), 0, 1).tolist(),  # score
        (rng.random(n) < knows).tolist(),
        (rng.random(n) < np.clip(knows * 0.55 + 0.42, 0, 1)).tolist(),
        rng.random((n, 3)).tolist(),
        rng.integers(200, 1800, n).tolist(),
        rng.gamma(2.0, 1.0, (n, 2)).tolist(),
        strict=True,
    )
    decisions: list[Any] = []
    attempts: list[Any] = []
    labels: list[Any] = []
    for number, p_ik, p_t, score, right, large_right, coins, tokens, waits in columns:
        when = of.start + number * length
        key = id_of(when, number + of.seed * 10_000_000)
        reason = "p_ik" if p_ik < 0.6 else "p_t" if p_t < 0.62 else None
        kept = reason is None
        part = of.slices[number % len(of.slices)] if of.slices else None
        at, soon = text(when), text(when + timedelta(seconds=2))
        served = 0 if kept else 1
        decisions.append((key, of.cascade, at, soon, f"q-{number}", part, 3, asked.bundle, 0.1, served, 1))
        role, action = ("served", "retain") if kept else ("superseded", "escalate")
        gates = f'[["p_ik",{p_ik:.4f},0.6,{"true" if p_ik >= 0.6 else "false"}]]'
        small = (key, 0, role, asked.models[0], action, gates, "yes", 16.0 * tokens, "first_token", tokens, 40)
        attempts.append((*small, 180 + 90 * waits[0], 0.02 * of.dear, 1.0, p_t, p_ik, score, coins[0], reason, 0))
        both = not kept or coins[1] < 0.1
        if both:
            role, chance = ("exploration", 0.1) if kept else ("served", 1.0)
            large = (key, 1, role, asked.models[1], None, None, "no", 140.0 * tokens, "first_token", tokens, 60)
            attempts.append((*large, 900 + 700 * waits[1], of.dear, chance, None, None, None, None, None, 0))
        if coins[2] < asked.labelled and when + of.horizon < of.end:
            made = when + timedelta(days=2)
            arrived = (id_of(made, number + of.seed * 10_000_000), text(made))
            for tier, truth in ((0, right), (1, large_right))[: 2 if both else 1]:
                digest = f"{number:063x}{tier}"
                labels.append(
                    (key, tier, "gold", digest, arrived[0], float(truth), arrived[1], arrived[1], asked.labelled)
                )
    return decisions, attempts, labels


def id_of(at: datetime, number: int) -> str:
    """A UUIDv7 of this time, as SQLite keeps it."""
    millis = int((at - _EPOCH) / timedelta(milliseconds=1))
    return f"{millis:012x}7{number % 4096:03x}8{number:015x}"


def _insert(engine: Engine, table: str, columns: str, rows: Iterator[tuple[Any, ...]]) -> int:
    names = columns.split(", ")
    statement = f"INSERT INTO {table} ({columns}) VALUES ({','.join('?' * len(names))})"
    raw = engine.raw_connection()
    try:
        cursor: Any = raw.cursor()
        if engine.dialect.name == "postgresql":
            count = _copy(cursor, f"COPY {table} ({columns}) FROM STDIN", rows)
        else:
            cursor.executemany(statement, rows)  # takes what comes one by one
            count = int(cursor.rowcount)
        raw.commit()
    finally:
        raw.close()
    return count


def _copy(cursor: Any, statement: str, rows: Iterator[tuple[Any, ...]]) -> int:
    """What SQLite keeps PostgreSQL reads: ids of 32 digits, times in UTC, 0 and 1 for truths."""
    count = 0
    with cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count
