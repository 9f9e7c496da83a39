"""Which figures a page shows, in which order, and what they are called.

Every figure that is stored is in the table at the end of a page, the unknown ones too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.words import GATES
from services.pages.numbers import between, tell
from store.watching.figure_means import FigureMean
from store.watching.figures import FigureRow

# What a person calls a figure. The name that docs, SQL and API have for it stands beside, small.
TITLES = {
    "savings_usd": "Cost saved",
    "savings_gflops": "Computation saved",
    "savings_tokens": "Tokens saved",
    "savings_of_all_usd": "Cost saved of the whole bill",
    "savings_of_all_gflops": "Computation saved of the whole bill",
    "saved_usd": "Money saved",
    "drop": "Accuracy lost against always asking the large model",
    "accuracy_cascade": "Accuracy",
    "accuracy_last": "Accuracy of the large model alone",
    "accuracy_retained": "Accuracy of what the small model answered",
    "retained_share": "Answers kept by the small model",
    "escalated_share": "Sent on to the large model",
    "explored_share": "Asked of both to learn from",
    "uncertified_share": "Not covered by a certificate",
    "uncertified_queries": "Queries not covered by a certificate",
    "uncertified_cost_usd": "Cost of queries not covered",
    "exploration_cost_usd": "Cost of exploration",
    "ended_cost_usd": "Cost of prompts read in vain",
    "label_coverage": "Answers that are labelled",
    "labels_known": "Labels known",
    "labels_overdue": "Labels overdue",
    "cbpe": "Accuracy of what the small model answered, by its scores",
    "auroc_p_t": "How well P(T) tells right from wrong",
    "auroc_p_ik": "How well P(IK) tells right from wrong",
    "auroc_score": "How well the score tells right from wrong",
    "ece": "How far scores are from what comes true",
    "overconfidence": "Wrong although the small model was sure",
    "latency_p50_ms": "Half of the answers take at most",
    "latency_p95_ms": "95 % of the answers take at most",
    "escalation_added_p50_ms": "Sending on adds at most, to half of what is sent on",
    "escalation_added_p95_ms": "Sending on adds at most, to 95 % of what is sent on",
    "judge_wrong_called_right": "Wrong answers that the judge calls right",
    "judge_right_called_wrong": "Right answers that the judge calls wrong",
    "undeclared_share": "Answered by another model than is declared",
    "ood_only_share": "Sent on only because unlike what the probe has seen",
}
REASONS = {reason.value: why for reason, why in GATES.items()}  # after its figure's name
ESCALATIONS = tuple(f"escalated_share.{reason}" for reason in REASONS)  # figures, by why


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A figure's newest value, as text."""

    name: str
    title: str
    symbol: str  # its name in docs, SQL and API
    value: str
    interval: str | None
    state: str  # mature, or not yet
    reason: str | None  # why there is no value, or beside one no interval


def title_of(name: str) -> str:
    """What a person calls a figure.

    >>> title_of("escalated_share.ood")
    'Sent on: they are unlike what the probe has seen (ood)'
    """
    base, _, of = name.partition(".")
    if base == "escalated_share" and of in REASONS:
        return f"Sent on: {REASONS[of]}"
    title = TITLES.get(base, base.replace("_", " ").capitalize())
    return f"{title}, {of.replace('_', ' ')}" if of else title


def newest(rows: Sequence[FigureRow], name: str) -> FigureRow | None:
    """The figure of the newest window that has one: a mature one first, since it will not move any
    more.
    """
    named = [row for row in rows if row.name == name]
    known = [row for row in named if row.value is not None] or named
    return max(known, key=lambda row: (row.mature, row.window.end), default=None)


def shown(row: FigureRow | None, name: str) -> Shown:
    """The figure as text; without a row it says that nothing is known yet."""
    if row is None:
        return Shown(
            name=name, title=title_of(name), symbol=name, value="–", interval=None, state="no data yet", reason=None
        )
    interval = between(name, row.low, row.high) or None
    state = "mature" if row.mature else "not mature yet"
    return Shown(
        name=name,
        title=title_of(name),
        symbol=name,
        value="not identified" if row.value is None else tell(name, row.value),
        interval=interval,
        state=f"{state}, n = {row.n:,}, to {row.window.end:%-d %b %H:%M} UTC",
        reason=row.not_identified,
    )


def shown_mean(mean: FigureMean | None, name: str, *, title: str | None = None) -> Shown:
    """A figure over many windows as text; where it has no value, a sentence says why."""
    called = title or title_of(name)
    if mean is None:
        return Shown(
            name=name,
            title=called,
            symbol=name,
            value="–",
            interval=None,
            state="no window of this time yet",
            reason=None,
        )
    return Shown(
        name=name,
        title=called,
        symbol=name,
        value="not identified" if mean.value is None else tell(name, mean.value),
        interval=between(name, mean.low, mean.high) or None,
        state=("" if mean.mature or name in _AT_ONCE else "not mature yet, ") + f"n = {mean.n:,}",
        reason=mean.not_identified if mean.value is None or mean.low is None else None,
    )


_AT_ONCE = ("queries", "retained_share", "savings_usd", "savings_gflops", "saved_usd", "uncertified_share")
