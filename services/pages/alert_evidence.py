"""What an alert's page shows beside its words: the figures it speaks of over time, with its moments
marked, what a stop costs, and where to look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from knowgate._records.records import Window
from knowgate.spec import CascadeSpec, TargetKind
from monitoring.names import FigureName, Rule
from services.alerts import AlertStory
from services.pages.charts.chart import Chart
from services.pages.charts.lines import Frame, Lines, chart, frame_of, marks_in, values_of
from services.pages.figures_shown import title_of
from services.pages.numbers import points
from store.watching.figures import FigureRow, figures

BEFORE, AFTER = timedelta(days=14), timedelta(days=3)  # of the curve, around the alert
_OF_RULE: Mapping[Rule, tuple[FigureName, ...]] = {
    Rule.SAVINGS: (FigureName.SAVINGS_USD,),
    Rule.RISK: (FigureName.DROP,),
    Rule.OOD_CONSERVATIVENESS: (FigureName.OOD_ONLY_SHARE,),
    Rule.DRIFT: (FigureName.RETAINED_SHARE,),
    Rule.OVERDUE_LABELS: (FigureName.LABEL_COVERAGE,),
    Rule.JUDGE_DRIFT: (FigureName.JUDGE_WRONG_CALLED_RIGHT, FigureName.JUDGE_RIGHT_CALLED_WRONG),
    Rule.STALE_RUNTIME: (),
    Rule.UNDECLARED_MODEL: (FigureName.UNDECLARED_SHARE,),
    Rule.CONSTANT_SIGNAL: (FigureName.RETAINED_SHARE,),
    Rule.LATE_DECISIONS: (FigureName.LATE_DECISIONS,),
    Rule.PROMISE_AT_RISK: (FigureName.DROP,),
    Rule.DEARER_THAN_LAST: (FigureName.SAVINGS_USD,),
    Rule.OVERCONFIDENT: (FigureName.OVERCONFIDENCE,),
    Rule.MISCALIBRATED: (FigureName.ECE,),
    Rule.MISSING_SIGNAL: (FigureName.ESCALATED_BY_MISSING_SIGNAL,),
    Rule.LABEL_STARVATION: (FigureName.LABEL_COVERAGE,),
    Rule.JOB_BEHIND: (),
    Rule.SILENT_RUNTIME: (),
    Rule.UNDELIVERED: (),
}
_WRONG = ("Answers kept and wrong, surest first", "/decisions?verdict=kept&right=wrong&order=surest&range=30d")
_STRANGE = ("Queries unlike anything seen", "/decisions?ood_from=0.99&order=strangest&range=7d")
_BOLDER = ("Escalated though the small model was right", "/decisions?verdict=escalated&right=right&range=30d")
_SLICES = ("The cascade, slice by slice", "/slices?range=7d")
_LABELS, _BUNDLES = ("Its labels", "/labels"), ("Its bundles, to roll back to", "/bundles")
_NEWEST, _REPORTS = ("Its newest decisions", "/decisions?range=24h"), ("Its daily reports", "/reports")
_MISSING = ("Decisions without a signal", "/decisions?reason=missing_signal&range=7d")
_RUNTIMES, _JOBS = ("All runtimes", "//runtimes"), ("All jobs", "//jobs")
_MESSAGES = ("Messages that were given up", "//messages?fate=given_up")
# Where to look first: words, and an address after the cascade's own, or after `/` a whole one.
_CHECKS: Mapping[Rule, Sequence[tuple[str, str]]] = {
    Rule.SAVINGS: (_SLICES, _BOLDER, _BUNDLES),
    Rule.RISK: (_WRONG, _SLICES, _BUNDLES),
    Rule.OOD_CONSERVATIVENESS: (_STRANGE, _BOLDER, _LABELS),
    Rule.DRIFT: (_REPORTS, _STRANGE, _LABELS),
    Rule.OVERDUE_LABELS: (_LABELS, _JOBS, _SLICES),
    Rule.JUDGE_DRIFT: (_WRONG, _LABELS, _SLICES),
    Rule.STALE_RUNTIME: (_RUNTIMES, _BUNDLES, _NEWEST),
    Rule.UNDECLARED_MODEL: (_NEWEST, _RUNTIMES, _SLICES),
    Rule.CONSTANT_SIGNAL: (_NEWEST, _REPORTS, _RUNTIMES),
    Rule.LATE_DECISIONS: (_RUNTIMES, _JOBS, _NEWEST),
    Rule.PROMISE_AT_RISK: (_WRONG, _SLICES, _LABELS),
    Rule.DEARER_THAN_LAST: (_SLICES, _BOLDER, _BUNDLES),
    Rule.OVERCONFIDENT: (_WRONG, _SLICES, _LABELS),
    Rule.MISCALIBRATED: (_WRONG, _REPORTS, _LABELS),
    Rule.MISSING_SIGNAL: (_MISSING, _RUNTIMES, _NEWEST),
    Rule.LABEL_STARVATION: (_LABELS, _JOBS, _SLICES),
    Rule.JOB_BEHIND: (_JOBS, _MESSAGES, _RUNTIMES),
    Rule.SILENT_RUNTIME: (_RUNTIMES, _NEWEST, _JOBS),
    Rule.UNDELIVERED: (_MESSAGES, _JOBS, _RUNTIMES),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to look at."""

    text: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What stands beside an alert's words."""

    charts: tuple[Chart, ...]
    checks: tuple[Check, ...]
    stopped: str | None  # what a stop comes to, in a sentence


def evidence_of(session: Session, story: AlertStory, spec: CascadeSpec | None) -> Evidence:
    """The evidence of one alert; `spec` None: its cascade cannot be read."""
    alert, rule = story.alert, Rule(story.alert.rule)
    ended = alert.resolved_at or max((ring.rang_at for ring in story.rings), default=alert.opened_at)
    names = {name.value for name in _OF_RULE[rule]} | {FigureName.RETAINED_SHARE.value}
    since, until = alert.opened_at - BEFORE, ended + AFTER
    whole = figures(session, alert.cascade, names=sorted(names), since=since, until=until, slices=False)
    return Evidence(
        charts=_charts(whole, rule, story, spec),
        checks=tuple(Check(text=text, href=_address(alert.cascade, href)) for text, href in _CHECKS[rule]),
        stopped=_stopped(story, whole),
    )


def _charts(rows: Sequence[FigureRow], rule: Rule, story: AlertStory, spec: CascadeSpec | None) -> tuple[Chart, ...]:
    """One of the whole cascade, or one of each tier that has the figure."""
    drawn = []
    names = [name.value for name in _OF_RULE[rule]]
    for tier in sorted({-1 if row.tier is None else row.tier for row in rows if row.name in names}):
        of_tier = [row for row in rows if (-1 if row.tier is None else row.tier) == tier]
        lines = {name: values_of([row for row in of_tier if row.name == name]) for name in names}
        called = {name: title_of(name) for name in names}
        of = "" if tier < 0 else f", {spec.tiers[tier].name if spec and tier <= spec.last else f'tier {tier}'}"
        title = f"{called[names[0]] if len(names) == 1 else story.title.rstrip('.')}{of}"
        drawn.append(chart(title, lines, _frame(lines, story), names=called, rules=_promise(rule, spec)))
    return tuple(one for one in drawn if one is not None)


def _frame(lines: Lines, story: AlertStory) -> Frame | None:
    """Wide enough for the alert's moments."""
    frame, marks = frame_of(lines), _marks(story)
    if frame is None:
        return None
    times = [frame.window.start, frame.window.end, *(at for at, _, _ in marks)]
    window = Window(start=min(times), end=max(times))
    return Frame(window=window, marks=marks_in(window, marks))


def _marks(story: AlertStory) -> list[tuple[datetime, str, str]]:
    rang = [(ring.rang_at, "alert", f"rang {ring.rang_at:%-d %b %H:%M} UTC") for ring in story.rings]
    stops = [
        (ring.answered_at, "stop", f"stopped {ring.answered_at:%-d %b %H:%M} UTC")
        for ring in story.rings
        if ring.answered_at is not None and ring.stopped is not None
    ]
    over = story.alert.resolved_at
    opened = (story.alert.opened_at, "alert", f"opened {story.alert.opened_at:%-d %b %H:%M} UTC")
    return [*(rang or [opened]), *stops, *([] if over is None else [(over, "resume", f"over {over:%-d %b %H:%M} UTC")])]


def _promise(rule: Rule, spec: CascadeSpec | None) -> tuple[tuple[float, str], ...]:
    """The line that the figure is to stay below."""
    if spec is None or FigureName.DROP not in _OF_RULE[rule] or spec.targets.kind is not TargetKind.MAX_ACCURACY_DROP:
        return ()
    return ((spec.targets.value, f"promised: at most {points(spec.targets.value)}"),)


def _stopped(story: AlertStory, rows: Sequence[FigureRow]) -> str | None:
    """What a stop comes to: whose load grows, by how much."""
    stops = [ring for ring in story.rings if ring.stopped is not None and ring.answered_at is not None]
    if not stops or stops[0].answered_at is None:
        return None
    since = stops[0].answered_at
    kept = [
        row.value
        for row in rows
        if row.name == FigureName.RETAINED_SHARE and row.tier is None and row.window.end <= since and row.value
    ]
    load = f"; the last tier gets about {1 / (1 - kept[-1]):.1f} × the queries it had" if kept and kept[-1] < 1 else ""
    return f"Nothing is kept since {since:%Y-%m-%d %H:%M} UTC, unless somebody has resumed it{load}."


def _address(cascade: str, href: str) -> str:
    return href[1:] if href.startswith("//") else f"/cascades/{cascade}{href}"
