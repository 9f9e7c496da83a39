"""Where a cascade stands against what it promises: a word, a colour, and the figure behind both.

The figure is that of the last mature week: "in any given week" is what is promised, and labels of a
younger one are still coming in. What an alarm proved goes before it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate._records.records import Window
from knowgate.spec import CascadeSpec, TargetKind
from monitoring.names import FigureName, Rule
from services.pages import numbers
from services.promotion.rollout_state import State, state_of
from store.watching.alerts import AlertRecord
from store.watching.figure_means import FigureMean, Wanted, means

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is promised, and how it stands."""

    word: str  # "promise kept"
    tone: str  # good, open, risk, bad: the badge's
    sentence: str  # the figure beside it, or why there is none
    owed: str  # "at most 2.0 points lost, with 90 % confidence in any given week"
    value: float | None
    low: float | None
    high: float | None


def promise_of(
    session: Session,
    spec: CascadeSpec,
    assignment: Assignment | None,
    open_alerts: tuple[AlertRecord, ...],
    *,
    now: datetime,
) -> Promise:
    """How the cascade's promise stands now."""
    seen = _seen(session, spec, now)
    word, tone, sentence = _standing(spec, assignment, {one.rule: one for one in open_alerts}, seen, now)
    known = seen is not None and seen.value is not None
    return Promise(
        word=word,
        tone=tone,
        sentence=sentence,
        owed=owed(spec),
        value=seen.value if seen is not None and known else None,
        low=seen.low if seen is not None else None,
        high=seen.high if seen is not None else None,
    )


def owed(spec: CascadeSpec) -> str:
    """What is promised, in words."""
    target, confidence = spec.targets, f"with {100 * (1 - spec.targets.delta):.3g} % confidence"
    if target.kind is TargetKind.MAX_ACCURACY_DROP:
        what = f"at most {numbers.points(target.value)} of accuracy lost against always asking {spec.tiers[-1].name}"
    else:
        what = f"at least {numbers.percent(target.value)} of what is kept is right"
    return f"{what}, {confidence}"


def figure_of(spec: CascadeSpec) -> FigureName:
    """The figure that the promise is about."""
    drops = spec.targets.kind is TargetKind.MAX_ACCURACY_DROP
    return FigureName.DROP if drops else FigureName.ACCURACY_RETAINED


def _seen(session: Session, spec: CascadeSpec, now: datetime) -> FigureMean | None:
    window = Window(start=now - spec.horizon - WEEK - spec.schedule.monitor_every, end=now)
    found = means(session, Wanted(cascade=spec.name, names=(figure_of(spec).value,), window=window))
    return next((one for one in found if one.mature), None)


def _standing(
    spec: CascadeSpec,
    assignment: Assignment | None,
    alerts: dict[str, AlertRecord],
    seen: FigureMean | None,
    now: datetime,
) -> tuple[str, str, str]:
    state = State.OBSERVING if assignment is None else state_of(assignment)
    figure = _figure(spec, seen)
    rung = alerts.get(Rule.RISK.value)
    if rung is not None:
        done = f"nothing is kept since {_moment(rung.opened_at, now)}" if state is State.STOPPED else "it still decides"
        return "promise broken", "bad", f"{done}; {rung.cause}"
    if state is State.STOPPED:
        return "stopped", "risk", f"nothing is kept, so nothing can be lost. {figure}"
    if state is State.OBSERVING:
        return "observing", "open", "nothing is kept, so nothing is promised yet"
    if seen is None or seen.value is None or seen.low is None or seen.high is None:
        return "not yet known", "open", figure
    word, tone = judged(spec, seen, endangered=Rule.PROMISE_AT_RISK.value in alerts)
    return word, tone, f"{figure}: too few labels to tell" if tone == "open" else figure


def judged(spec: CascadeSpec, seen: FigureMean, *, endangered: bool = False) -> tuple[str, str]:
    """The word and the tone that a mature figure gives by itself; `endangered` where an alert says
    so.
    """
    if seen.value is None or seen.low is None or seen.high is None:
        return "not yet known", "open"
    lost, least, most = _lost(spec, seen.value, seen.low, seen.high)
    allowed = spec.targets.allowed
    if most <= allowed:
        return "promise kept", "good"
    return ("promise at risk", "risk") if lost > allowed or least > allowed or endangered else ("not yet known", "open")


def _lost(spec: CascadeSpec, value: float, low: float, high: float) -> tuple[float, float, float]:
    """The loss that `allowed` speaks of, its least and its most."""
    drops = spec.targets.kind is TargetKind.MAX_ACCURACY_DROP
    return (value, low, high) if drops else (1.0 - value, 1.0 - high, 1.0 - low)


def _figure(spec: CascadeSpec, seen: FigureMean | None) -> str:
    if seen is None:
        days = numbers.span(spec.horizon)
        return f"no week is old enough to be judged yet: labels have {days} to come in"
    if seen.value is None:
        return "the last mature week has no label that would tell"
    interval = numbers.between(figure_of(spec).value, seen.low, seen.high)
    if spec.targets.kind is TargetKind.MAX_ACCURACY_DROP:
        said = f"{numbers.points(seen.value)} lost of {100 * spec.targets.value:.1f} allowed"
    else:
        said = f"{numbers.percent(seen.value)} right, at least {numbers.percent(spec.targets.value)} owed"
    return f"{said} ({interval})" if interval else said


def _moment(at: datetime, now: datetime) -> str:
    return f"{at:%H:%M} UTC" if now - at < timedelta(hours=20) else f"{at:%-d %b %H:%M} UTC"
