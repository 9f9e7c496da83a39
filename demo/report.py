"""The demo's page and table: what really happened, beside what the service could tell from its
labels.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from demo.plan import CHAPTERS, START
from knowgate import Window
from services.pages.charts.chart import Chart
from services.pages.charts.lines import chart, frame_of, values_of
from services.pages.report import Event, Story
from services.simulation.play import Played, Truth
from services.simulation.summary import Summary
from services.simulation.summary_lines import summary_lines
from store.releases.promotions import Outcome, PromotionRecord
from store.watching.figures import FigureRow

LEAD = (
    "Two small language models that really know places, a probe that really is trained, and a service that does what "
    "it does in production; only the clock is simulated. Nothing below is edited: it is what happened."
)


def story_of(summary: Summary, played: Played, decided: Sequence[PromotionRecord]) -> Story:
    """The demo as a page tells it."""
    return Story(
        title="The story of a deployment",
        lead=LEAD,
        lines=summary_lines(summary),
        events=tuple(sorted(_events(played), key=lambda event: event.at)),
        charts=_charts(played, [row.decided_at for row in decided if row.outcome is Outcome.PROMOTED]),
    )


def _events(played: Played) -> list[Event]:
    events = []
    start = START
    for chapter in CHAPTERS:
        events.append(Event(at=start, what="traffic", text=chapter.title))
        start += timedelta(days=chapter.days)
    return [*events, *played.events]


def _charts(played: Played, promoted: Sequence[datetime]) -> tuple[Chart, ...]:
    days = _per_day(played)
    wanted: tuple[tuple[str, dict[str, Callable[[Truth], float]]], ...] = (
        (
            "Accuracy: the cascade, and always the large model",
            {
                "accuracy_cascade": lambda truth: truth.share(truth.right_cascade),
                "accuracy_large": lambda truth: truth.share(truth.right_last),
            },
        ),
        (
            "Savings in USD, exploration apart",
            {"savings": lambda truth: 1.0 - truth.cost_usd / truth.cost_usd_last if truth.cost_usd_last else 0.0},
        ),
        (
            "Kept by the small model, and its accuracy on everything",
            {
                "retained_share": lambda truth: truth.share(truth.retained),
                "accuracy_small": lambda truth: truth.share(truth.right_first),
            },
        ),
    )
    marks = [(at, "promotion", f"promoted {at:%-d %b %H:%M} UTC") for at in promoted]
    drawn = []
    for title, lines in wanted:
        values = {name: values_of(_rows(name, days, value)) for name, value in lines.items()}
        drawn.append(chart(title, values, frame_of(values, marks)))
    return tuple(one for one in drawn if one is not None)


def _per_day(played: Played) -> list[tuple[datetime, Truth]]:
    days: dict[datetime, Truth] = {}
    for end, truth in played.blocks:
        if truth.queries:
            day = (end - timedelta(seconds=1)).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            days[day] = truth + days.get(day, Truth())
    return sorted(days.items())


def _rows(name: str, days: Sequence[tuple[datetime, Truth]], value: Callable[[Truth], float]) -> list[FigureRow]:
    return [
        FigureRow(
            cascade="",
            window=Window(start=end - timedelta(days=1), end=end),
            name=name,
            n=truth.queries,
            mature=True,
            computed_at=end,
            value=value(truth),
        )
        for end, truth in days
    ]
