"""The time and the slice that a page of a cascade speaks of; both stand in its address."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from urllib.parse import urlencode

from knowgate._records.records import Window
from store.watching.figure_means import Per

LENGTHS = {"24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
RANGES = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "all": "all"}
USUAL = "7d"
MOST_POINTS = 60  # of a line: of more days some are put together


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What is looked at."""

    word: str  # of RANGES
    window: Window
    slice: str | None = None  # None = all

    @property
    def per(self) -> Per:
        """How fine its charts are."""
        return {"24h": Per.WINDOW, "7d": Per.THREE_HOURS}.get(self.word, Per.DAY)

    @property
    def together(self) -> int:
        """How many days are a point of its charts, where these go by days."""
        return max(1, ceil(self.days / MOST_POINTS))

    @property
    def title(self) -> str:
        """In words.

        >>> from datetime import UTC
        >>> range_of("30d", None, first=None, now=datetime(2026, 3, 1, tzinfo=UTC)).title
        'the last 30 days'
        """
        return "all time" if self.word == "all" else f"the last {RANGES[self.word]}"

    @property
    def days(self) -> float:
        """Its length."""
        return (self.window.end - self.window.start) / timedelta(days=1)

    def query(self, **changes: str | None) -> str:
        """What of an address says this, after a change."""
        said = {"range": self.word, "slice": self.slice} | changes
        return "?" + urlencode({name: value for name, value in said.items() if value})


def range_of(word: str, slice: str | None, *, first: datetime | None, now: datetime) -> Range:
    """The range of this word up to `now`; a word that is none is the usual one. `first`: when the
    cascade's first decision was made, where all of it begins.
    """
    chosen = word if word in RANGES else USUAL
    start = (first or now) - timedelta(days=1) if chosen == "all" else now - LENGTHS[chosen]
    return Range(word=chosen, window=Window(start=min(start, now - timedelta(days=1)), end=now), slice=slice or None)
