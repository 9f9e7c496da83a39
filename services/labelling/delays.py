"""How long labels take, by source: what a horizon is chosen by, and what an immature figure is
missing.

Every answer of the window is watched from its decision on, labelled or not. Most have had no time
yet for a late label, so the share is a product-limit estimate (`evidence.estimation.delays`), not
the share of labels seen.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy.orm import Session

from evidence.estimation.delays import arrival_curve
from knowgate._records.records import LabelSource, Window
from knowgate.spec import CascadeSpec
from services.durations import format_duration
from store.releases import cascades
from store.traffic.examples import labelled
from store.traffic.label_sources import labels_by_source

AGES = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24, 48, 72, 120, 168, 336, 672))


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayPoint:
    """The share of a source's labels that are in by one age of the decision."""

    source: LabelSource
    age: str  # a duration, as cascade.toml has it
    share: float | None  # of all answers that ran; None = no answer has been watched so long
    low: float | None
    high: float | None
    of_horizon: float | None  # share relative to the share at the source's horizon
    watched: int  # answers as old as this, or labelled before
    horizon: bool  # this age is the source's horizon in the cascade
    awaited: bool  # the cascade waits for this source


def delay_curves(
    session: Session, cascade: str, window: Window, *, as_of: datetime, ages: tuple[timedelta, ...] = AGES
) -> tuple[DelayPoint, ...]:
    """Curves of every source that the cascade waits for or that has labelled anything, youngest age
    first.

    Raises CascadeUnknown.
    """
    spec = cascades.cascade(session, cascade)
    examples = labelled(session, cascade, window, as_of=as_of, columns=("role", "occurred_at"))
    if examples.rows == 0:
        return ()
    labels = labels_by_source(session, cascade, window, as_of=as_of)
    answered = examples.answered
    watched = _seconds_since(examples.occurred_at, as_of)
    place = {key: at for at, key in enumerate(zip(examples.uuids(), examples.tier.tolist(), strict=True))}
    points: list[DelayPoint] = []
    for source in LabelSource:
        of_source = labels.source == source.value
        if not of_source.any() and source not in spec.horizons.sources:
            continue
        age, arrived = watched.copy(), np.zeros(examples.rows, dtype=bool)
        for row in np.flatnonzero(of_source):
            at = place[(labels.decision_id[row], int(labels.tier[row]))]
            age[at], arrived[at] = max(labels.first_delay_s[row], 0.0), True
        points.extend(_curve(spec, source, age[answered], arrived[answered], ages))
    return tuple(points)


def _curve(
    spec: CascadeSpec,
    source: LabelSource,
    age: "np.typing.NDArray[np.float64]",
    arrived: "np.typing.NDArray[np.bool_]",
    ages: tuple[timedelta, ...],
) -> list[DelayPoint]:
    horizon = spec.horizons.of(source)
    wanted = sorted({*ages, horizon})
    curve = arrival_curve(age, arrived, [one.total_seconds() for one in wanted])
    at_horizon = curve[wanted.index(horizon)].share
    return [
        DelayPoint(
            source=source,
            age=format_duration(one),
            share=point.share,
            low=point.lower,
            high=point.upper,
            of_horizon=point.share / at_horizon if point.share is not None and at_horizon else None,
            watched=point.watched,
            horizon=one == horizon,
            awaited=source in spec.horizons.sources,
        )
        for one, point in zip(wanted, curve, strict=True)
    ]


def _seconds_since(times: "np.typing.NDArray[np.datetime64]", as_of: datetime) -> "np.typing.NDArray[np.float64]":
    now = np.datetime64(int(as_of.timestamp() * 1e6), "us")
    seconds: np.typing.NDArray[np.float64] = (now - times).astype("timedelta64[us]").astype(np.float64) / 1e6
    return np.maximum(seconds, 0.0)
