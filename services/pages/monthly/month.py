"""All that the report of a month says, in the order in which it says it: saved, risked, changed,
alarmed, judged, and what is open.

Every number is a stored figure, or several put together by their rows; nothing is computed anew
from decisions. What was not watched is said to be so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from knowgate._records.records import Window
from knowgate.spec import CascadeSpec
from monitoring.names import FigureName
from services.alerts import AlertStory, stories
from services.pages.cascades.promise import owed
from services.pages.monthly.changes import Change, Judged, changes_of, judged_of
from services.pages.monthly.weeks import Week, read, week_of, weeks_of
from services.pages.numbers import between, count, percent, span, tell, usd
from store.releases.cascades import cascade, declarations
from store.watching.alert_acts import Act
from store.watching.alerts import alerts
from store.watching.figure_means import FigureMean

_SAVED = (
    FigureName.SAVED_USD,
    FigureName.SAVINGS_USD,
    FigureName.SAVINGS_GFLOPS,
    FigureName.QUERIES,
    FigureName.RETAINED_SHARE,
    FigureName.EXPLORATION_COST_USD,
    FigureName.UNCERTIFIED_QUERIES,
    FigureName.UNCERTIFIED_COST_USD,
    FigureName.LABELS_OVERDUE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line of what was saved."""

    name: str
    value: str
    interval: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alert that was open in the month."""

    story: AlertStory
    state: str  # at the end of what is reported: over, looked after, open
    open_for: str  # "3 h", "5 d so far"
    done: tuple[str, ...]  # what the service did, and what people did, in order


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthReport:
    """The whole report."""

    cascade: str
    month: Window
    until: datetime  # the end of what is reported: the month's, or now
    spec: CascadeSpec  # in force at that end
    owed: str
    gaps: tuple[str, ...]  # what of the month is not reported, in sentences
    short: tuple[str, ...]  # all of it in a few sentences
    facts: tuple[Fact, ...]
    weeks: tuple[Week, ...]
    changes: tuple[Change, ...]
    alarms: tuple[Alarm, ...]
    judged: tuple[Judged, ...]
    worries: tuple[str, ...]

    @property
    def most_saved(self) -> float:
        """The most that a week saved, in USD; 0 where none saved anything."""
        return max((week.saved.value or 0.0 for week in self.weeks if week.saved is not None), default=0.0)


def month_report(session: Session, name: str, month: Window, *, now: datetime) -> MonthReport:
    """The report of a month that has begun. Raises CascadeUnknown."""
    until = min(month.end, now)
    alert_stories = stories(
        session, [one for one in alerts(session, name) if _open_in(one.opened_at, one.resolved_at, month)]
    )
    versions = declarations(session, name)
    figures = read(session, name, month, *_SAVED)
    current = cascade(session, name)
    specs = [one.spec for one in versions if one.spec is not None and one.applied_at < until]
    weeks = []
    for window in weeks_of(month, until=until):
        of_week = [one.spec for one in versions if one.spec is not None and one.applied_at < window.end]
        weeks.append(week_of(session, of_week[-1] if of_week else current, window, alert_stories))
    spec, judged = specs[-1] if specs else current, judged_of(session, name, month)
    alarms = tuple(_alarm(one, until) for one in alert_stories)
    return MonthReport(
        cascade=name,
        month=month,
        until=until,
        spec=spec,
        owed=owed(spec),
        gaps=tuple(_gaps(figures[FigureName.QUERIES], month, now)),
        short=tuple(_short(spec, figures, weeks, alarms, judged)),
        facts=tuple(_facts(figures)),
        weeks=tuple(weeks),
        changes=changes_of(session, name, month, versions),
        alarms=alarms,
        judged=judged,
        worries=tuple(_worries(figures, weeks, alarms)),
    )


def _open_in(opened: datetime, resolved: datetime | None, month: Window) -> bool:
    return opened < month.end and (resolved is None or resolved >= month.start)


def _gaps(queries: FigureMean | None, month: Window, now: datetime) -> list[str]:
    """What of the month is missing."""
    said = []
    if now < month.end:
        said.append(f"The month is not over: this is what is known on {now:%-d %B at %H:%M} UTC.")
    if queries is None:
        return [*said, "Nothing was watched in this month: no figure is known."]
    if queries.window.start > month.start:
        said.append(f"It was watched from {queries.window.start:%-d %B %H:%M} UTC on; before that nothing is known.")
    if queries.window.end < min(month.end, now):
        said.append(f"It was watched until {queries.window.end:%-d %B %H:%M} UTC; after that nothing is known.")
    return said


def _facts(figures: dict[FigureName, FigureMean | None]) -> list[Fact]:
    """What was saved, and what it took; twins that say the same are one line."""
    saved = figures[FigureName.SAVED_USD]
    facts = [_fact("Saved", saved, note=f"against asking the large model alone{_known_for(saved, figures)}")]
    cost, computation = figures[FigureName.SAVINGS_USD], figures[FigureName.SAVINGS_GFLOPS]
    alike = _shown(cost) == _shown(computation)
    if cost is not None and cost.value is not None:
        facts.append(_fact("Of what that would have cost", cost, note="the same of the computation" if alike else ""))
    if computation is not None and not (alike and cost is not None and cost.value is not None):
        facts.append(_fact("Of the computation (GFLOPs)", computation))
    facts.append(_fact("Queries", figures[FigureName.QUERIES]))
    facts.append(_fact("Answers kept by the small model", figures[FigureName.RETAINED_SHARE]))
    facts.append(_fact("Paid to learn from", figures[FigureName.EXPLORATION_COST_USD], note="not in what was saved"))
    uncovered = figures[FigureName.UNCERTIFIED_QUERIES]
    if uncovered is not None and uncovered.value:
        cost = figures[FigureName.UNCERTIFIED_COST_USD]
        paid = "" if cost is None or cost.value is None else f"; the large model took {usd(cost.value)} for them"
        facts.append(_fact("Queries that no certificate covers", uncovered, note=f"not in what was saved{paid}"))
    return facts


def _known_for(saved: FigureMean | None, figures: dict[FigureName, FigureMean | None]) -> str:
    """Of how many queries it is known, where it is not of all."""
    queries = figures[FigureName.QUERIES]
    if saved is None or saved.value is None or queries is None or not queries.value or saved.n >= queries.value:
        return ""
    return f"; known for {count(saved.n)} of {count(queries.value)} queries"


def _fact(name: str, figure: FigureMean | None, *, note: str = "") -> Fact:
    if figure is None or figure.value is None:
        return Fact(name=name, value="not known", note=(figure.not_identified if figure else None) or "")
    interval = between(figure.name, figure.low, figure.high)
    return Fact(name=name, value=tell(figure.name, figure.value), interval=interval, note=note)


def _shown(figure: FigureMean | None) -> str:
    return "" if figure is None else tell("savings_usd", figure.value)


def _short(
    spec: CascadeSpec,
    figures: dict[FigureName, FigureMean | None],
    weeks: Sequence[Week],
    alarms: Sequence[Alarm],
    judged: Sequence[Judged],
) -> list[str]:
    """The month in a few sentences."""
    queries, kept = figures[FigureName.QUERIES], figures[FigureName.RETAINED_SHARE]
    said = []
    if queries is not None and queries.value:
        share = "" if kept is None else f", of which the small model answered {percent(kept.value)}"
        said.append(f"{count(queries.value)} queries were answered{share}.")
    saved, part = figures[FigureName.SAVED_USD], figures[FigureName.SAVINGS_USD]
    if saved is not None and saved.value is not None:
        interval = between("saved_usd", saved.low, saved.high)
        of = "" if part is None or part.value is None else f", {percent(part.value)} of what it would have cost"
        verb = "saved" if saved.value >= 0.0 else "cost more than it saved: "
        said.append(f"That {verb} {usd(abs(saved.value))}{f' ({interval})' if interval else ''}{of}.")
    judged_weeks = [week for week in weeks if week.tone != "plain"]
    if judged_weeks:
        words = [week.word for week in judged_weeks]
        listed = ", ".join(f"{word.removeprefix('promise ')} in {words.count(word)}" for word in dict.fromkeys(words))
        said.append(f"The promise ({owed(spec)}), by weeks: {listed}.")
    said.append(_alarmed(alarms))
    if judged:
        promoted = sum(one.word == "Promoted" for one in judged)
        said.append(f"{promoted} of {len(judged)} challengers that were judged went into force.")
    return said


def _alarmed(alarms: Sequence[Alarm]) -> str:
    if not alarms:
        return "No alert was open."
    still = sum(one.state != "over" for one in alarms)
    were = "1 alert was" if len(alarms) == 1 else f"{len(alarms)} alerts were"
    return f"{were} open; {still or 'none'} of them still {'are' if still > 1 else 'is'}."


def _alarm(story: AlertStory, until: datetime) -> Alarm:
    alert = story.alert
    ended = alert.resolved_at if alert.resolved_at is not None and alert.resolved_at <= until else None
    seen = any(act.act is Act.ACKNOWLEDGED and act.at <= until for act in story.acts)
    done = [(ring.answered_at, f"knowgate: {ring.answer}") for ring in story.rings if ring.answer and ring.answered_at]
    done += [(act.at, f"{act.by} {act.said}") for act in story.acts]
    length = span((ended or until) - alert.opened_at)
    lines = tuple(f"{at:%-d %B %H:%M}: {text}" for at, text in sorted(done) if at <= until)
    if ended is not None:
        lines = (*lines, f"{ended:%-d %B %H:%M}: over: {alert.resolution}")
        return Alarm(story=story, state="over", open_for=length, done=lines)
    return Alarm(story=story, state="looked after" if seen else "open", open_for=f"{length} so far", done=lines)


def _worries(figures: dict[FigureName, FigureMean | None], weeks: Sequence[Week], alarms: Sequence[Alarm]) -> list[str]:
    """What somebody should look after."""
    worries = [
        f"{one.story.title} Open since {one.story.alert.opened_at:%-d %B}, "
        f"{'looked after' if one.state == 'looked after' else 'looked after by nobody'}."
        for one in alarms
        if one.state != "over"
    ]
    for word, said in (
        ("promise broken", "The promise was broken"),
        ("promise at risk", "The promise was at risk"),
        ("not yet known", "Whether the promise was kept is not known"),
    ):
        days = [f"{week.window.start:%-d %B}" for week in weeks if week.word == word]
        if days:
            worries.append(f"{said} in the week{'s' if len(days) > 1 else ''} from {', '.join(days)}.")
    overdue = figures[FigureName.LABELS_OVERDUE]
    if overdue is not None and overdue.value:
        worries.append(f"{count(overdue.value)} labels are overdue: without them no harm is heard.")
    return worries
