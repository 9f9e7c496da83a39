"""How the cascade decides, seen in its newest decisions: what each part costs, what more or fewer
kept answers would lose, whether scores come true, and how long answers take.

A sample of bounded size, read when somebody asks, with the same pairing and weights as the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy.orm import Session

from evidence.errors import EvidenceError
from evidence.signals.calibration import calibration_of
from knowgate._records.arrays import FloatArray
from knowgate._records.records import Role, Window
from knowgate.spec import CascadeSpec, TargetKind
from monitoring.figures.cost_figures import saved_usd
from monitoring.figures.latency_figures import waits_of
from monitoring.rows.attempts import COLUMNS
from monitoring.rows.cohorts import Cohort, cohort_of
from services.pages.cascades.promise import figure_of
from services.pages.cascades.ranges import Range
from services.pages.charts.bars import Bar, Step, waterfall
from services.pages.charts.chart import Chart
from services.pages.charts.curves import Place, reliability, risk_coverage
from services.pages.numbers import percent, points
from store.traffic.examples import labelled
from store.traffic.newest import newest_window

NEWEST = 1000  # decisions that are read for costs and times
MATURE = 1500  # and for what labels say: the newest that are older than the label horizon
LOOKED_BACK = timedelta(days=30)
_FEWEST = 30  # labelled rows from which on a curve says something
_STEPS = 40  # places of a curve
_BINS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long answers took, in ms."""

    name: str
    n: int
    half: float  # p50
    most: float  # p95


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A chart, or a sentence on why there is none."""

    chart: Chart | None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the newest decisions show."""

    n: int
    window: Window | None  # of the newest; None = there is none
    labelled: Window | None  # of those that labels speak of
    bars: tuple[Bar, ...]  # per 1,000 queries, in USD
    bars_missing: str
    curve: Drawn
    scores: Drawn
    latencies: tuple[Latency, ...]


def sample_of(session: Session, spec: CascadeSpec, chosen: Range, *, now: datetime) -> Sample:
    """The newest decisions of a range, of its slice where it names one; and for what labels say the
    newest that are old enough.
    """
    fresh = _cohort(session, spec, chosen, chosen.window, NEWEST, now)
    end = now - spec.horizon
    start = min(chosen.window.start, end - LOOKED_BACK)
    old = _cohort(session, spec, chosen, Window(start=start, end=end), MATURE, now)
    none = Drawn(chart=None, missing="No decision is old enough yet to have its labels.")
    bars, missing = ((), "No decision was made in this time.") if fresh is None else _bars(fresh)
    return Sample(
        n=0 if fresh is None else fresh.size,
        window=None if fresh is None else fresh.window,
        labelled=None if old is None else old.window,
        bars=bars,
        bars_missing=missing,
        curve=none if old is None else _curve(old),
        scores=none if old is None else _scores(old),
        latencies=() if fresh is None else _latencies(fresh),
    )


def _cohort(
    session: Session, spec: CascadeSpec, chosen: Range, within: Window, most: int, now: datetime
) -> Cohort | None:
    window = newest_window(session, spec.name, within, most=most)
    if window is None:
        return None
    examples = labelled(session, spec.name, window, as_of=now, columns=COLUMNS, trusted=spec.targets.trusted)
    cohort = cohort_of(examples, spec, window, as_of=now)
    if chosen.slice is not None:
        cohort = cohort.of_slice(chosen.slice)
    return cohort if cohort.size else None


def _bars(cohort: Cohort) -> tuple[tuple[Bar, ...], str]:
    saved = saved_usd(cohort)
    if saved.value is None:
        return (), f"Not identified: {saved.not_identified}."
    rows, last = cohort.decisions, cohort.spec.tiers[-1].name
    per = 1000.0 / cohort.size
    cost, explored = float(rows["usd"].sum()), float(rows["exploration_usd"].sum())
    large = float(rows.loc[~rows["retained"], "last_usd"].sum())
    steps = [
        Step(name=f"Always asking {last}", amount=(cost + saved.value) * per, total=True),
        Step(name="answers kept by a smaller model", amount=-(cost + saved.value - large) * per),
        Step(name="asking the smaller model first", amount=(cost - large) * per),
        Step(name="The cascade", amount=cost * per, total=True),
    ]
    if explored > 0.0:
        steps += [
            Step(name="asking both, to learn", amount=explored * per),
            Step(name="Paid", amount=(cost + explored) * per, total=True),
        ]
    return waterfall(steps), ""


def _curve(cohort: Cohort) -> Drawn:
    spec = cohort.spec
    drops = spec.targets.kind is TargetKind.MAX_ACCURACY_DROP
    rows = cohort.attempts[cohort.attempts["tier"] == 0]
    at = rows["decision"].to_numpy()
    last = cohort.attempts[cohort.attempts["tier"] == spec.last].set_index("decision")
    paired = pd.DataFrame(
        {
            "signal": _surest(rows),
            "lost": (last["correct"].reindex(at).to_numpy() if drops else 1.0) - rows["correct"].to_numpy(),
            "weight": _weights(rows, last.reindex(at) if drops else None),
            "retained": rows["retained"].to_numpy(),
        }
    ).dropna()
    if len(paired) < _FEWEST:
        what = "answers that both models gave and somebody labelled" if drops else "answers that are labelled"
        return Drawn(chart=None, missing=f"{len(paired)} {what} in the sample; {_FEWEST} make a curve.")
    allowed = spec.targets.value
    promised = f"promised: at most {points(allowed)}" if drops else f"promised: at least {percent(allowed)}"
    places, today = _places(paired, drops)
    return Drawn(chart=risk_coverage(places, name=figure_of(spec).value, today=today, rule=(allowed, promised)))


def _surest(rows: pd.DataFrame) -> FloatArray:
    """What the answers are put in order by: the score, P(IK) or P(T), the first that most have."""
    for name in ("score", "p_ik", "p_t"):
        if rows[name].notna().mean() > 0.5:
            return rows[name].to_numpy(dtype=np.float64)
    return rows["p_t"].to_numpy(dtype=np.float64)


def _weights(rows: pd.DataFrame, last: pd.DataFrame | None) -> FloatArray:
    """1 over the chance that all of it is known."""
    chance = rows["label_propensity"].to_numpy(dtype=np.float64)
    if last is not None:
        chance = np.minimum(chance, last["label_propensity"].to_numpy(dtype=np.float64))
        chance = chance * np.where(rows["retained"], last["run_propensity"].to_numpy(dtype=np.float64), 1.0)
    with np.errstate(divide="ignore"):
        return np.where(chance > 0.0, 1.0 / chance, np.nan)


def _places(paired: pd.DataFrame, drops: bool) -> tuple[list[Place], Place]:
    """The curve, the surest answers first, and where today's gate stands on these rows."""
    ordered = paired.sort_values("signal", ascending=False, kind="stable")
    weight, lost = ordered["weight"].to_numpy(), ordered["lost"].to_numpy()
    kept, harm = np.cumsum(weight), np.cumsum(weight * lost)
    total = float(kept[-1])
    up = harm / total if drops else 1.0 - harm / kept
    chosen = np.unique(np.linspace(0 if drops else _FEWEST // 3, len(ordered) - 1, _STEPS).astype(int))
    places = [Place(across=float(kept[at] / total), up=float(up[at])) for at in chosen]
    if drops:
        places.insert(0, Place(across=0.0, up=0.0))
    now = paired["retained"].to_numpy(dtype=bool)
    share = float(paired["weight"][now].sum() / total)
    harm_now = float((paired["weight"] * paired["lost"])[now].sum())
    up_now = harm_now / total if drops else 1.0 - harm_now / max(float(paired["weight"][now].sum()), 1e-12)
    return places, Place(across=share, up=up_now, n=int(now.sum()))


def _scores(cohort: Cohort) -> Drawn:
    rows = cohort.attempts[(cohort.attempts["tier"] == 0) & (cohort.attempts["role"] != Role.SKIPPED)]
    rows = rows[rows["score"].notna() & rows["correct"].notna()]
    if len(rows) < _FEWEST:
        said = f"{len(rows)} labelled answers of the sample have a score; {_FEWEST} make a diagram."
        return Drawn(chart=None, missing=said)
    try:
        found = calibration_of(rows["score"].to_numpy(), rows["correct"].to_numpy(), bins=_BINS)
    except EvidenceError as error:
        return Drawn(chart=None, missing=f"{error}.")
    bins = [Place(across=one.mean_score, up=one.accuracy, n=one.n) for one in found.reliability]
    return Drawn(chart=reliability(bins))


def _latencies(cohort: Cohort) -> tuple[Latency, ...]:
    waits, last = waits_of(cohort), cohort.spec.tiers[-1].name
    said: Sequence[tuple[str, FloatArray]] = (
        ("kept by a smaller model", waits.whole[waits.retained]),
        ("sent on", waits.whole[~waits.retained]),
        (f"of that, before {last} was asked", waits.before_last[~waits.retained]),
    )
    return tuple(
        Latency(name=name, n=len(ms), half=float(np.quantile(ms, 0.5)), most=float(np.quantile(ms, 0.95)))
        for name, times in said
        if len(ms := times[~np.isnan(times)])
    )
