"""When is something said? Pure functions of figures, alarms and acknowledgements to an assessment
with a cause.

A rule says `raised`, `clear`, or `unknown`: without enough rows it changes nothing, so that an
alert is not resolved by a quiet night. The two alarms hold their false-alarm rate however often one
looks (`monitoring.alarms.alarms`); the others are thresholds with a margin, each stated in
docs/monitoring.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from knowgate._bundles.assignment import Assignment
from monitoring.alarms.alarm_memory import AlarmMemory
from monitoring.drift.drift import DriftRecord
from monitoring.drift.signal_tables import SignalSpread
from monitoring.figures.estimates import Estimated
from monitoring.names import Rule
from monitoring.rules.causes import drift_cause
from store.releases.assignments import RuntimeState
from store.releases.rings import Spoken
from store.watching.figures import FigureRow

OOD_ROWS = 100  # decisions at the tier; with fewer the rule is silent
OOD_MARGIN = 0.05  # beyond what reference traffic escalates by its own percentile
FAR_DRIFT = 2.0  # thresholds; one column that far, or two columns at all
LATE_ROWS = 20  # decisions that came after their window was watched
LATE_SHARE = 0.01  # of the decisions of those windows; the last seconds of a window always come a little late
OVERDUE_ROWS = 20  # decisions past the horizon that should be labelled
OVERDUE_SHARE = 0.5  # of the labels that were to be there
ACKNOWLEDGE_WITHIN = timedelta(hours=1)  # a generation older than this is expected everywhere
# What makes a signal one value, and what to do about it.
_CONSTANT_TOKENS = (
    "the engine reports its sampler's log-probabilities, which are certain of what was chosen, not the model's own; set"
    " them (vLLM: --logprobs-mode raw_logprobs) and escalate all until they vary"
)
_CONSTANT_STATE = (
    "it is made of hidden states that are all alike, or scored by a damaged bundle; check the layer and position that"
    " the engine returns"
)
_CONSTANT_CURE = {"p_t": _CONSTANT_TOKENS, "entropy": _CONSTANT_TOKENS}
FORGET_RUNTIME_AFTER = timedelta(days=7)  # one that is silent for this long is gone, not stale


class Standing(StrEnum):
    """`unknown` leaves an open alert open, and opens none."""

    RAISED = "raised"
    CLEAR = "clear"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What one rule says of one window."""

    rule: Rule
    standing: Standing
    cause: str = ""  # in plain words: why it is raised, or why it is clear
    details: Mapping[str, str | float] = field(default_factory=dict)
    ring: Spoken | None = None  # what an alarm that rang speaks of; the other rules only stand raised
    # What was looked at, where a rule looks at several things: a clear word resolves no alert about
    # anything else, and an alert names what it is about in its details, under `columns`. None = the
    # rule looks at one thing.
    covers: frozenset[str] | None = None

    def speaks_of(self, details: Mapping[str, object]) -> bool:
        """Whether this assessment looked at all that an alert with these details is about.

        What is compared with another champion's training window is another question: the former one
        is closed then.
        """
        if self.covers is None or details.get("champion") != self.details.get("champion"):
            return True
        return {name for name in str(details.get("columns", "")).split(", ") if name} <= self.covers


def assess_alarm(
    memory: AlarmMemory,
    cause: Callable[[], str],
    accused: Callable[[], tuple[str, ...]] = tuple,
    *,
    late: int = 0,
) -> Assessment:
    """The savings or the risk alarm after its last block; `cause` and `accused` are asked if it
    rang in that block.

    `late` decisions of the time it has watched came after it had passed.
    """
    if memory.raised_at is None:
        return Assessment(rule=memory.rule, standing=Standing.CLEAR, cause=_why_quiet(memory))
    if memory.raised_at != memory.consumed_until:
        return Assessment(rule=memory.rule, standing=Standing.UNKNOWN, cause="still raised")
    details: dict[str, str | float] = {"raised_at": memory.raised_at.isoformat()}
    details |= {"basis": memory.basis} if memory.basis else {}
    details |= {"unit": memory.unit} if memory.unit else {}
    if memory.rule is Rule.SAVINGS:  # what the forecast rests on: docs/decisions/0090
        details |= {"forecast_ratio": memory.forecast_ratio, "forecast_rows": memory.forecast_rows}
    why = cause()
    if late:
        details |= {"late_decisions": late}
        why += f"; {late} decisions of that time came too late to be heard"
    ring = Spoken(since=memory.harm_since, until=memory.raised_at, accused=accused())
    return Assessment(rule=memory.rule, standing=Standing.RAISED, cause=why, details=details, ring=ring)


def assess_ood(
    share: Estimated, as_good: Estimated, *, threshold: float | None, tier: str, cause: Callable[[], str]
) -> Assessment:
    """Whether the ood gate alone escalates more than the reference traffic would by chance, 1 −
    τ_ood, and a margin.

    Raised only where the share's exact interval lies above that; clear where the share itself does
    not.
    """
    rule = Rule.OOD_CONSERVATIVENESS
    if threshold is None or share.value is None or share.low is None or share.n < OOD_ROWS:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    expected = 1.0 - threshold
    if share.low <= expected + OOD_MARGIN:
        clear = Standing.CLEAR if share.value <= expected + OOD_MARGIN else Standing.UNKNOWN
        return Assessment(rule=rule, standing=clear, cause=f"the ood gate alone escalates {share.value:.1%}")
    why = f"{cause()}; the ood gate alone escalates {share.value:.1%} at tier {tier}, expected {expected:.1%}"
    if as_good.value is not None:
        why += f"; on {as_good.value:.0%} of them the tier was as good as the last ({as_good.n} labels)"
    details: dict[str, str | float] = {"tier": tier, "share": share.value, "low": share.low, "expected": expected}
    return Assessment(rule=rule, standing=Standing.RAISED, cause=why, details=details)


def assess_drift(record: DriftRecord | None, *, tier: str, champion: str | None = None) -> Assessment:
    """Raised where a column went missing, two columns drifted, or one by twice its threshold; clear
    where none did.
    """
    if record is None:
        return Assessment(rule=Rule.DRIFT, standing=Standing.UNKNOWN)
    drifted, gone = record.drifted, [shift for shift in record.missing if shift.drifted]
    compared = [column.column for column in record.columns] + [f"missing.{one.column}" for one in record.missing]
    covers = frozenset(f"{tier}.{name}" for name in compared)
    details: dict[str, str | float] = {} if champion is None else {"champion": champion}
    if not drifted and not gone:
        clear = "no column drifts"
        return Assessment(rule=Rule.DRIFT, standing=Standing.CLEAR, cause=clear, details=details, covers=covers)
    far = bool(drifted) and drifted[0].score >= FAR_DRIFT * drifted[0].threshold
    if len(drifted) < 2 and not far and not gone:
        return Assessment(rule=Rule.DRIFT, standing=Standing.UNKNOWN)
    about = [f"{tier}.missing.{one.column}" for one in gone] + [f"{tier}.{column.column}" for column in drifted]
    details |= {"tier": tier, "reference_rows": record.reference_rows, "columns": ", ".join(about)}
    details |= {column.column: column.score for column in drifted}
    details |= {f"missing.{one.column}": one.current_share for one in gone}
    cause = f"at tier {tier} {drift_cause(record)}"
    return Assessment(rule=Rule.DRIFT, standing=Standing.RAISED, cause=cause, details=details, covers=covers)


def assess_constant(spreads: Sequence[SignalSpread]) -> Assessment:
    """Raised where a signal that at least 20 attempts have is one value in all of them: it then
    tells nothing.

    Nothing retained by such a signal is retained for a reason, so one window is enough.
    """
    rule, covers = Rule.CONSTANT_SIGNAL, frozenset(f"{one.tier}.{one.signal}" for one in spreads)
    constant = [one for one in spreads if one.constant]
    if not spreads:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if not constant:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause="every signal varies", covers=covers)
    seen = [f"{one.signal} is {one.low:.6g} in all {one.attempts} attempts at tier {one.tier}" for one in constant]
    cures = [_CONSTANT_CURE.get(signal, _CONSTANT_STATE) for signal in dict.fromkeys(one.signal for one in constant)]
    details: dict[str, str | float] = {"columns": ", ".join(f"{one.tier}.{one.signal}" for one in constant)}
    details |= {f"{one.tier}.{one.signal}": one.low for one in constant}
    cause = f"{'; '.join(seen)}: {'; '.join(dict.fromkeys(cures))}"
    return Assessment(rule=rule, standing=Standing.RAISED, cause=cause, details=details, covers=covers)


def assess_overdue(labelled: int, expected: float, decisions: int, horizon: timedelta) -> Assessment:
    """Raised where fewer than half of the labels came that were to be there once the horizon had
    passed.

    `decisions` were explored and need labels of both tiers; `expected` of them were to be drawn,
    `labelled` are.
    """
    rule = Rule.OVERDUE_LABELS
    if decisions < OVERDUE_ROWS or expected <= 0.0:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if labelled >= OVERDUE_SHARE * expected:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause=f"{labelled} of {expected:.0f} labels are there")
    hours = horizon.total_seconds() / 3600
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause=(
            f"{labelled} of {expected:.0f} labels came for {decisions} explored queries older than the horizon of"
            f" {hours:.0f} hours; risk cannot be watched without them"
        ),
        details={"labelled": labelled, "expected": expected, "decisions": decisions},
    )


def assess_late(rows: Sequence[FigureRow]) -> Assessment:
    """Raised where many decisions came after their window was watched; a row of `late_decisions`
    per window.
    """
    rule, total = Rule.LATE_DECISIONS, sum(row.n for row in rows)
    late = [row for row in rows if row.value]
    count = int(sum(row.value or 0.0 for row in late))
    if not total:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if count < max(LATE_ROWS, LATE_SHARE * total):
        return Assessment(rule=rule, standing=Standing.CLEAR, cause=f"{count} of {total} decisions came late")
    first, last = min(row.window.start for row in late), max(row.window.end for row in late)
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause=(
            f"{count} of {total} decisions came after their window was watched, those of {first:%Y-%m-%d %H:%M} to"
            f" {last:%Y-%m-%d %H:%M} UTC: figures are computed again, the savings alarm has not heard them; see whether"
            " a runtime was cut off or the service was down"
        ),
        details={"late": count, "decisions": total, "from": first.isoformat(), "to": last.isoformat()},
    )


def assess_runtimes(
    assignment: Assignment | None, acknowledgements: Sequence[RuntimeState], *, now: datetime
) -> Assessment:
    """Raised where a runtime that was heard of lately refused the generation in force, or never
    took it up.
    """
    rule = Rule.STALE_RUNTIME
    if assignment is None:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    known = [ack for ack in acknowledgements if now - ack.at <= FORGET_RUNTIME_AFTER]
    late = now - assignment.issued_at > ACKNOWLEDGE_WITHIN
    refusing = [ack for ack in known if not ack.accepted]
    stale = [ack for ack in known if ack.accepted and ack.generation < assignment.generation and late]
    if not refusing and not stale:
        waits = not late and any(ack.generation < assignment.generation for ack in known)
        standing = Standing.UNKNOWN if waits or not known else Standing.CLEAR
        return Assessment(rule=rule, standing=standing, cause=f"generation {assignment.generation} is everywhere")
    faults = [f"{a.runtime} refused generation {assignment.generation} ({a.detail or 'no reason'})" for a in refusing]
    faults += [f"{a.runtime} serves generation {a.generation}, {assignment.generation} is in force" for a in stale]
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause="; ".join(faults[:5]) + (f"; and {len(faults) - 5} more runtimes" if len(faults) > 5 else ""),
        details={"generation": assignment.generation, "runtimes": len(faults)},
    )


def assess_models(attempts: int, undeclared: Mapping[tuple[str, str, str], int]) -> Assessment:
    """Raised where any attempt ran another model than its tier declares.

    `undeclared` counts them by the tier's name, the model that ran and the one that is declared.
    Nothing is learned or certified from such attempts, so even a few deserve a look.
    """
    rule = Rule.UNDECLARED_MODEL
    if not attempts:
        return Assessment(rule=rule, standing=Standing.UNKNOWN)
    if not undeclared:
        return Assessment(rule=rule, standing=Standing.CLEAR, cause="every attempt ran the model that is declared")
    count = sum(undeclared.values())
    faults = [
        f"{number} attempts at tier {tier} ran {model!r}, {declared!r} is declared"
        for (tier, model, declared), number in sorted(undeclared.items(), key=lambda item: -item[1])
    ]
    return Assessment(
        rule=rule,
        standing=Standing.RAISED,
        cause="; ".join(faults[:3]) + "; nothing is learned from them: correct what the gateway sends, or cascade.toml",
        details={"attempts": attempts, "undeclared": count},
    )


def worst(assessments: Sequence[Assessment]) -> Assessment:
    """One assessment of several tiers: raised where one is, clear where all are, else unknown.

    >>> one = Assessment(rule=Rule.DRIFT, standing=Standing.CLEAR)
    >>> worst([one, Assessment(rule=Rule.DRIFT, standing=Standing.UNKNOWN)]).standing.value
    'unknown'
    """
    order = (Standing.RAISED, Standing.UNKNOWN, Standing.CLEAR)
    worst_one = min(assessments, key=lambda assessment: order.index(assessment.standing))
    parts = [assessment.covers for assessment in assessments if assessment.covers is not None]
    return replace(worst_one, covers=frozenset().union(*parts) if parts else None)


def _why_quiet(memory: AlarmMemory) -> str:
    if memory.idle is not None:
        return memory.idle
    if memory.rule is Rule.SAVINGS:
        return "savings are back at what the champion in force promises, or a new one is in force"
    return "no harm is seen since the alarm"
