"""What a rule says of one window: an assessment with a cause. The rules are pure functions of
figures, alarms and what runtimes and jobs said; they stand beside this module, by subject.

A rule says `raised`, `clear`, or `unknown`: without enough rows it changes nothing, so that an
alert is not resolved by a quiet night. The two alarms hold their false-alarm rate however often one
looks (`monitoring.alarms.alarms`); the others are thresholds with a margin, each stated in
docs/monitoring.md, and how often they must be beyond it `monitoring.rules.patience`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from monitoring.alarms.alarm_memory import AlarmMemory
from monitoring.names import Rule
from store.releases.rings import Spoken


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
