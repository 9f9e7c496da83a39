"""Which figures a page shows, in which order, and what they are called.

A figure that monitoring stores and this list does not know is shown all the same, after the known ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.pages.charts import tell
from store.figures import FigureRow

TILES = ("savings_usd", "savings_gflops", "drop", "accuracy_cascade", "retained_share")
CHARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Savings, USD", ("savings_usd",)),
    ("Savings, GFLOPs", ("savings_gflops",)),
    ("Accuracy: the cascade, and its last tier alone", ("accuracy_cascade", "accuracy_last")),
    ("Drop against the last tier", ("drop",)),
    ("Retained and escalated", ("retained_share", "escalated_share")),
)
NAMES = {
    "savings_usd": "Savings, USD",
    "savings_gflops": "Savings, GFLOPs",
    "savings_tokens": "Savings, tokens",
    "drop": "Accuracy drop",
    "accuracy_cascade": "Accuracy",
    "accuracy_last": "Accuracy of the last tier",
    "retained_share": "Retained",
    "escalated_share": "Escalated",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A figure's newest value, as text."""

    name: str
    title: str
    value: str
    interval: str | None
    state: str  # mature, or not yet
    reason: str | None  # why there is no value


def title_of(name: str) -> str:
    """What a figure is called."""
    return NAMES.get(name, name.replace("_", " ").capitalize())


def newest(rows: Sequence[FigureRow], name: str) -> FigureRow | None:
    """The figure of the newest window that has one: a mature one first, since it will not move any more."""
    held = [row for row in rows if row.name == name]
    known = [row for row in held if row.value is not None] or held
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
