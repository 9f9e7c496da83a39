"""A summary for people: a line per subject, as the terminal and the page show it."""

from collections import Counter

from services.pages.report import Line
from services.simulation.happened import lasted
from services.simulation.summary import Summary, Week


def summary_lines(summary: Summary) -> tuple[Line, ...]:
    """The figures of `summary` for people."""
    accuracy, savings, auroc = summary.accuracy, summary.savings, summary.auroc
    labels, audit = summary.labels, summary.audit
    exploration = f"exploration cost {savings.exploration_usd:.1%} beside it"
    replayed = f"{audit.replayed:,} decisions replayed, {audit.mismatches} mismatches"
    always = f"always large {accuracy.always_large:.2%}, always small {accuracy.always_small:.2%}"
    alone = f"score; p_t alone {_known(auroc.p_t)}, p_ik {_known(auroc.p_ik)}"
    came = f"{labels.late:,} came after the horizon, {labels.mature:,} speak of mature cohorts"
    ended = ", ".join(f"{alert.rule} {lasted(alert.opened_at, alert.resolved_at)}" for alert in summary.alerts)
    lines = (
        *(_week_line(week) for week in summary.weeks),
        ("queries", f"{summary.queries:,}", f"{summary.retained_share:.1%} kept by the small one"),
        ("accuracy", f"{accuracy.cascade:.2%}", always),
        ("saved", f"{savings.usd:.1%}", f"of the large model's USD; {savings.gflops:.1%} of its GFLOPs; {exploration}"),
        ("AUROC", _known(auroc.score), alone),
        ("bundles", str(len(summary.bundles)), _counted([bundle.status for bundle in summary.bundles])),
        ("alerts", str(len(summary.alerts)), ended),
        ("labels", f"{labels.sent:,}", came),
        ("audit", "verified" if audit.verified else "FAILED", f"{audit.entries:,} ledger entries, {replayed}"),
    )
    return tuple(Line(name=name, value=value, note=note) for name, value, note in lines)


def _week_line(week: Week) -> tuple[str, str, str]:
    note = f"kept; {week.savings_usd:.1%} saved, accuracy {-100 * week.accuracy_drop:+.2f} points"
    if week.trained:
        reasons = Counter(text.split(" ")[0] for text in week.trained)
        called = ", ".join(reason if count == 1 else f"{reason} ×{count}" for reason, count in reasons.items())
        note += f"; trained for {called}: {week.promoted} put in force"
    alerts = (text.split(": ")[:2] for text in week.alerts)
    for what, rule in alerts:
        note += f"; {rule} {'alert' if what == 'alert' else 'resolved'}"
    return f"{week.start:%d %b}", f"{week.retained_share:.1%}", note


def _counted(names: list[str]) -> str:
    """Each name with how often it occurs, in order of their first."""
    return ", ".join(f"{count} {name}".replace("_", " ") for name, count in Counter(names).items())


def _known(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
