"""A month, its weeks, and where the promise stood in each.

A week is Monday to Sunday, cut off at the ends of the month, so that every day is in one week. What
is said of it are its stored figures, put together by their rows (`store.watching.figure_means`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from knowgate._records.records import Window
from knowgate.spec import CascadeSpec
from monitoring.names import FigureName, Rule
from services.alerts import AlertStory
from services.errors import InputInvalid
from services.pages.cascades.promise import figure_of, judged
from services.pages.numbers import between, percent, points
from store.watching.figure_means import FigureMean, Wanted, joined, means

SUMMED = ("saved_usd", "exploration_cost_usd", "uncertified_cost_usd", "queries", "uncertified_queries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """One week of the month."""

    window: Window
    saved: FigureMean | None  # saved_usd
    queries: FigureMean | None
    kept: FigureMean | None  # retained_share
    word: str  # where the promise stood: a badge's word, and its tone
    tone: str
    sentence: str  # the figure beside it, or why there is none

    @property
    def last_day(self) -> datetime:
        """The day that it ends with."""
        return self.window.end - timedelta(days=1)


def month_of(text: str, *, now: datetime) -> Window:
    """The month that is written 2026-10, in UTC. Raises InputInvalid."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text) or text.startswith("0000"):
        raise InputInvalid(f"month is {text!r}: write it as year and month, e.g. {now:%Y-%m}")
    start = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    if start > now:
        raise InputInvalid(f"month is {text}: it has not begun; name one that has")
    return Window(start=start, end=(start + timedelta(days=32)).replace(day=1))


def months_since(first: datetime | None, now: datetime) -> tuple[datetime, ...]:
    """The beginnings of the months from the one of `first` on, the newest first; none without it.

    >>> first, now = datetime(2025, 12, 7, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    >>> [str(one.date()) for one in months_since(first, now)]
    ['2026-01-01', '2025-12-01']
    """
    found: list[datetime] = []
    start = None if first is None else datetime(first.year, first.month, 1, tzinfo=UTC)
    while start is not None and start <= now:
        found.append(start)
        start = (start + timedelta(days=32)).replace(day=1)
    return tuple(reversed(found))


def weeks_of(month: Window, *, until: datetime) -> tuple[Window, ...]:
    """The weeks of a month that had begun by `until`."""
    found, start = [], month.start
    while start < min(month.end, until):
        end = min(start + timedelta(days=7 - start.weekday()), month.end)
        found.append(Window(start=start, end=end))
        start = end
    return tuple(found)


def read(session: Session, cascade: str, window: Window, *names: FigureName) -> dict[FigureName, FigureMean | None]:
    """These figures of the whole cascade over a window, the mature ones and those whose labels are
    under way; None where no window has it.
    """
    wanted = Wanted(cascade=cascade, names=[name.value for name in names], window=window, summed=SUMMED)
    found = means(session, wanted)
    return {
        name: joined([one for one in found if one.name == name.value], summed=name.value in SUMMED) for name in names
    }


def week_of(session: Session, spec: CascadeSpec, window: Window, alerts: Sequence[AlertStory]) -> Week:
    """One week, under the declaration in force at its end."""
    promised = figure_of(spec)
    names = (FigureName.SAVED_USD, FigureName.QUERIES, FigureName.RETAINED_SHARE)
    found = read(session, spec.name, window, *names, promised)
    word, tone, sentence = _standing(spec, found[promised], found[FigureName.RETAINED_SHARE])
    rung = _rings(alerts, window)
    if rung:
        word, tone, sentence = "promise broken", "bad", f"the risk alarm rang on {rung}. {sentence}"
    saved, queries, kept = (found[name] for name in names)
    return Week(window=window, saved=saved, queries=queries, kept=kept, word=word, tone=tone, sentence=sentence)


def _standing(spec: CascadeSpec, seen: FigureMean | None, kept: FigureMean | None) -> tuple[str, str, str]:
    """Word, tone and sentence, from what labels say."""
    if kept is None or kept.value is None:
        return "nothing asked", "plain", "no query was watched"
    if kept.value == 0.0:
        return "nothing kept", "plain", "the large model answered everything, so nothing could be lost"
    if seen is None or seen.value is None:
        return "not yet known", "open", (seen.not_identified if seen else None) or "no label tells"
    drops = figure_of(spec) is FigureName.DROP
    interval = between(figure_of(spec).value, seen.low, seen.high)
    said = f"{points(seen.value)} lost" if drops else f"{percent(seen.value)} right"
    said += f" ({interval})" if interval else ""
    if not seen.mature:
        return "not yet known", "open", f"{said} so far: labels are still coming in"
    word, tone = judged(spec, seen)
    return word, tone, f"{said}: too few labels to tell" if tone == "open" else said


def _rings(alerts: Sequence[AlertStory], window: Window) -> str:
    """The days of the week on which the risk alarm rang."""
    rang = [ring.rang_at for one in alerts if one.alert.rule == Rule.RISK.value for ring in one.rings]
    return " and ".join(f"{at:%-d %B}" for at in sorted(rang) if window.start <= at < window.end)
