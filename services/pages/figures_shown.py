"""Which figures a page shows, in which order, and what they are called.

A few are tiles, some are charts, and every figure that is stored is in the table at the end, the
unknown ones too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.pages.charts import tell
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
NAMES = {
    "savings_usd": "Savings, USD",
    "savings_gflops": "Savings, GFLOPs",
    "savings_tokens": "Savings, tokens",
    "drop": "Accuracy drop",
    "accuracy_cascade": "Accuracy",
    "accuracy_last": "Accuracy of the last tier",
    "accuracy_retained": "Accuracy of what was retained",
    "uncertified_share": "Not covered by a certificate",
    "uncertified_queries": "Queries not covered by a certificate",
    "uncertified_cost_usd": "Cost of queries not covered, USD",
    "savings_of_all_usd": "Savings of the whole bill, USD",
    "retained_share": "Retained",
    "escalated_share": "Escalated",
    "label_coverage": "Labels known",
    "auroc_p_t": "AUROC of P(T)",
    "auroc_p_ik": "AUROC of P(IK)",
    "auroc_score": "AUROC of the score",
    "ece": "Expected calibration error",
    "cbpe": "Accuracy of what was retained, by its scores",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A figure's newest value, as text."""

    name: str
    title: str
    value: str
    interval: str | None
    state: str  # mature, or not yet
    reason: str | None  # why there is no value, or beside one no interval


def title_of(name: str) -> str:
    """What a figure is called."""
    base, _, reason = name.partition(".")
    title = NAMES.get(base, base.replace("_", " ").capitalize())
    return f"{title} by {reason.replace('_', ' ')}" if reason else title


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
        return Shown(name=name, title=title_of(name), value="–", interval=None, state="no data yet", reason=None)
    interval = None
    if row.low is not None and row.high is not None:
        interval = f"{tell(name, row.low)} to {tell(name, row.high)}"
    state = "mature" if row.mature else "not mature yet"
    return Shown(
        name=name,
        title=title_of(name),
        value="not identified" if row.value is None else tell(name, row.value),
        interval=interval,
        state=f"{state}, n = {row.n:,}, to {row.window.end:%d %b %H:%M}",
        reason=row.not_identified,
    )
