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
from services.pages.cascades.series import values_over
from services.pages.charts.chart import Chart
from services.pages.charts.lines import Frame, Lines, chart, frame_of, marks_in
from services.pages.figures_shown import title_of
from services.pages.numbers import points
from services.promotion.rollout_state import State, described, state_of
from store.releases import assignments
from store.watching.figure_means import FigureMean, Per, Wanted, means

BEFORE, AFTER = timedelta(days=14), timedelta(days=3)  # of the curve, around the alert
_FEWEST_DAYS = 4  # of figures that are drawn as days, as alarms read them; of fewer every window is drawn
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
class Stopped:
    """A stop that an alert led to."""

    sentence: str  # what it comes to
    lasts: bool  # nobody has ended it yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What stands beside an alert's words."""

    charts: tuple[Chart, ...]
    daily: bool  # a point of them is a day
    checks: tuple[Check, ...]
    stopped: Stopped | None


def evidence_of(session: Session, story: AlertStory, spec: CascadeSpec | None) -> Evidence:
    """The evidence of one alert; `spec` None: its cascade cannot be read."""
    rule = Rule(story.alert.rule)
    whole, per = _figures(session, story, None)
    read: dict[int | None, Sequence[FigureMean]] = {None: whole}
    if spec is not None and not any(row.name in _OF_RULE[rule] for row in whole):
        read = {tier: _figures(session, story, tier)[0] for tier in range(spec.last + 1)}
    drawn = [_chart(rows, story, spec, tier) for tier, rows in read.items()]
    return Evidence(
        charts=tuple(one for one in drawn if one is not None),
        daily=per is Per.DAY,
        checks=tuple(Check(text=text, href=_address(story.alert.cascade, href)) for text, href in _CHECKS[rule]),
        stopped=_stopped(session, story, whole),
    )


def _figures(session: Session, story: AlertStory, tier: int | None) -> tuple[tuple[FigureMean, ...], Per]:
    """The rule's figures around the alert, and what of them is put together: days, of whose noise
    a shift stands out; windows, where there are too few days.
    """
    ended = story.alert.resolved_at or max((ring.rang_at for ring in story.rings), default=story.alert.opened_at)
    window = Window(start=story.alert.opened_at - BEFORE, end=ended + AFTER)
    names = {name.value for name in _OF_RULE[Rule(story.alert.rule)]} | {FigureName.RETAINED_SHARE.value}
    wanted = Wanted(cascade=story.alert.cascade, names=sorted(names), window=window, tier=tier)
    days = means(session, wanted, per=Per.DAY)
    if len({row.window.start.date() for row in days}) >= _FEWEST_DAYS:
        return days, Per.DAY
    return means(session, wanted, per=Per.WINDOW), Per.WINDOW


def _chart(rows: Sequence[FigureMean], story: AlertStory, spec: CascadeSpec | None, tier: int | None) -> Chart | None:
    """Of the whole cascade, or of one tier; None where it has no such figure."""
    rule = Rule(story.alert.rule)
    names = [name.value for name in _OF_RULE[rule]]
    lines = {name: values_over([row for row in rows if row.name == name]) for name in names}
    called = {name: title_of(name) for name in names}
    of = "" if tier is None or spec is None else f", {spec.tiers[tier].name}"
    title = f"{called[names[0]] if len(names) == 1 else story.title.rstrip('.')}{of}"
    return chart(title, lines, _frame(lines, story), names=called, rules=_promise(rule, spec))


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


def _stopped(session: Session, story: AlertStory, rows: Sequence[FigureMean]) -> Stopped | None:
    """What the newest stop comes to: where every query goes, whose load grows and by how much; and
    what decides now, where somebody has ended it.
    """
    stops = [ring for ring in story.rings if ring.stopped is not None and ring.answered_at is not None]
    if not stops or stops[-1].answered_at is None:
        return None
    since, current = stops[-1].answered_at, assignments.assignment(session, story.alert.cascade)
    began = f"knowgate stopped the cascade by itself at {since:%Y-%m-%d %H:%M} UTC"
    if current is not None and state_of(current) is not State.STOPPED:
        return Stopped(sentence=f"{began}. That is over: {described(current)} now.", lasts=False)
    sentence = f"{began}. Since then nothing is kept: every query goes to the last tier{_load(rows, since)}."
    return Stopped(sentence=sentence, lasts=True)


def _load(rows: Sequence[FigureMean], since: datetime) -> str:
    """How much more the last tier gets, by what was kept last before a stop; empty if unknown."""
    before = [row for row in rows if row.name == FigureName.RETAINED_SHARE and row.window.end <= since and row.value]
    kept = max(before, key=lambda row: row.window.end).value if before else None
    return f", which gets about {1 / (1 - kept):.1f} × the queries it had" if kept and kept < 1 else ""


def _address(cascade: str, href: str) -> str:
    return href[1:] if href.startswith("//") else f"/cascades/{cascade}{href}"
