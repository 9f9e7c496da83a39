"""Which figures a page shows, in which order, and what they are called.

A few are tiles, some are charts, and every figure that is stored is in the table at the end, the
unknown ones too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.pages.numbers import between, tell
from store.watching.figures import FigureRow

TILES = ("savings_usd", "savings_gflops", "drop", "accuracy_cascade", "retained_share", "uncertified_share")
# A chart's title and its figures of the whole cascade.
CHARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Savings, USD", ("savings_usd",)),
    ("Savings, GFLOPs", ("savings_gflops",)),
    ("Savings of the whole bill, USD, uncovered requests among it", ("savings_of_all_usd",)),
    ("Not covered by a certificate", ("uncertified_share",)),
    ("Accuracy: the cascade, and its last tier alone", ("accuracy_cascade", "accuracy_last")),
    ("Drop against the last tier", ("drop",)),
    ("Retained and escalated", ("retained_share", "escalated_share")),
    (
        "Escalated by",
        ("escalated_share.p_t", "escalated_share.p_ik", "escalated_share.score", "escalated_share.ood"),
    ),
    ("Labels known", ("label_coverage",)),
)
# The same for each non-last tier.
TIER_CHARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AUROC", ("auroc_p_t", "auroc_p_ik", "auroc_score")),
    ("Calibration error", ("ece",)),
)
# What a person calls a figure. The name that docs, SQL and API have for it stands beside, small.
TITLES = {
    "savings_usd": "Cost saved",
    "savings_gflops": "Computation saved",
    "savings_tokens": "Tokens saved",
    "savings_of_all_usd": "Cost saved of the whole bill",
    "savings_of_all_gflops": "Computation saved of the whole bill",
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
    "ood_only_share": "Sent on only because unlike what the probe has seen",
}
# Why a query was sent on, after its figure's name.
REASONS = {
    "p_ik": "the small model does not know (P(IK))",
    "p_t": "its answer is not probable enough (P(T))",
    "score": "the small model is not sure enough (score)",
    "ood": "unlike what the probe has seen (ood)",
    "missing_signal": "a signal is missing",
    "fingerprint_mismatch": "the hidden state is of another model",
    "p_t_kind_mismatch": "P(T) is of another kind",
    "no_bundle": "no bundle",
    "expired": "the assignment had expired",
    "escalate_all": "nothing is kept: stopped, or the policy says so",
    "observe": "observed, not switched on",
}


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
    'Sent on: unlike what the probe has seen (ood)'
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
        state=f"{state}, n = {row.n:,}, to {row.window.end:%d %b %H:%M}",
        reason=row.not_identified,
    )
