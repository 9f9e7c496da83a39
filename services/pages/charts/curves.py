"""Charts whose axis across is a share: risk over coverage, and how far scores come true."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.pages.charts.chart import Chart, Dot, Mark, Row, Rule, Series
from services.pages.charts.scales import HEIGHT, Scale, Tick, across, upward
from services.pages.numbers import percent, tell, tick, unit

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A point of a curve; both are shares."""

    across: float
    up: float
    n: int = 0  # rows behind it


def risk_coverage(curve: Sequence[Place], *, name: str, today: Place | None, rule: tuple[float, str]) -> Chart:
    """What would be lost (`name` is its figure) over the share that is kept, the surest first, with
    today's point and the promise; `curve` has at least two places.
    """
    x = across(0.0, 1.0)
    up = [place.up for place in (*curve, *((today,) if today else ()))]
    y, ticks = upward([*up, rule[0], 0.0])
    path = "M" + "L".join(f"{10 * x(place.across):.1f} {y(place.up)}" for place in curve)
    dots = () if today is None else (_today(name, today, x, y),)
    return Chart(
        title="What would be lost, were more or fewer answers kept",
        symbol=name + unit(name),
        series=(Series(name="by the gate's own order", tone=0, lines=(path,)), *dots),
        x_ticks=tuple(Tick(at=x(share), text=tick("share", share)) for share in _SHARES[1:-1]),
        y_ticks=tuple(Tick(at=y(mark), text=tick(name, mark)) for mark in ticks),
        zero=y(0.0) if ticks[0] < 0 < ticks[-1] else None,
        rules=(Rule(y=y(rule[0]), text=rule[1]),),
        marks=() if today is None else (Mark(at=x(today.across), kind="place", text="today"),),
        columns=("Kept", tell_title(name)),
        rows=tuple(Row(x=x(place.across), cells=(percent(place.across), tell(name, place.up))) for place in curve),
        below="share of answers kept by the small model",
    )


def reliability(bins: Sequence[Place]) -> Chart:
    """How often answers of a score are right; on the diagonal they come true. `bins` has at least
    one, `across` its mean score.
    """
    x, y = across(0.0, 1.0), Scale(low=0.0, high=1.0, start=float(HEIGHT), end=6.0)
    diagonal = f"M0 {y(0.0)}L1000 {y(1.0)}"
    path = "M" + "L".join(f"{10 * x(one.across):.1f} {y(one.up)}" for one in bins)
    dots = tuple(
        Dot(x=x(one.across), y=y(one.up), text=f"score {percent(one.across)}: {percent(one.up)} right, n = {one.n:,}")
        for one in bins
    )
    return Chart(
        title="Do scores come true?",
        symbol="score",
        series=(
            Series(name="as they came true", tone=0, lines=(path,) if len(bins) > 1 else (), dots=dots),
            Series(name="as they should", tone=3, faint=(diagonal,)),
        ),
        x_ticks=tuple(Tick(at=x(share), text=tick("share", share)) for share in _SHARES[1:-1]),
        y_ticks=tuple(Tick(at=y(share), text=tick("share", share)) for share in _SHARES),
        columns=("Score", "Right", "Labels"),
        rows=tuple(Row(x=x(one.across), cells=(percent(one.across), percent(one.up), f"{one.n:,}")) for one in bins),
        below="how sure the small model was",
    )


def tell_title(name: str) -> str:
    """What is up, for the table's head."""
    return "Accuracy lost" if name == "drop" else "Accuracy of what is kept"


def _today(name: str, today: Place, x: Scale, y: Scale) -> Series:
    text = f"today {percent(today.across)} kept, {tell(name, today.up)}"
    return Series(name="today", tone=1, dots=(Dot(x=x(today.across), y=y(today.up), text=text),))
