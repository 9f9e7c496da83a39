"""A summary for people: a line per subject, as the terminal and the page show it."""

from services.pages.report import Line
from services.simulation.summary import Summary


def summary_lines(summary: Summary) -> tuple[Line, ...]:
    """The figures of `summary` for people."""
    accuracy, savings, auroc, labels, audit = (
        summary.accuracy,
        summary.savings,
        summary.auroc,
        summary.labels,
        summary.audit,
    )
    statuses = ", ".join(bundle.status for bundle in summary.bundles)
    return (
        Line(name="queries", value=f"{summary.queries:,}", note=f"{summary.retained_share:.1%} kept by the small one"),
        Line(
            name="accuracy",
            value=f"{accuracy.cascade:.2%}",
            note=f"always large {accuracy.always_large:.2%}, always small {accuracy.always_small:.2%}",
        ),
        Line(
            name="saved",
            value=f"{savings.usd:.1%}",
            note=f"of the large model's USD; {savings.gflops:.1%} of its GFLOPs; "
            f"exploration cost {savings.exploration_usd:.1%} beside it",
        ),
        Line(
            name="AUROC",
            value=_known(auroc.score),
            note=f"score; p_t alone {_known(auroc.p_t)}, p_ik {_known(auroc.p_ik)}",
        ),
        Line(name="bundles", value=str(len(summary.bundles)), note=statuses),
        Line(name="alerts", value=str(len(summary.alerts)), note=", ".join(alert.rule for alert in summary.alerts)),
        Line(
            name="labels",
            value=f"{labels.sent:,}",
            note=f"{labels.late:,} came after the horizon, {labels.mature:,} speak of mature cohorts",
        ),
        Line(
            name="audit",
            value="verified" if audit.verified else "FAILED",
            note=f"{audit.entries:,} ledger entries, {audit.replayed:,} decisions replayed, "
            f"{audit.mismatches} mismatches",
        ),
    )


def _known(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
