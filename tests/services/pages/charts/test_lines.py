"""Lines over time: gaps, maturity, scales; and layers of a stack."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from knowgate import Window
from services.pages.charts.chart import Chart
from services.pages.charts.lines import Frame, Value, chart, frame_of, stack, values_of
from services.pages.charts.scales import nice_ticks, time_ticks
from store.watching.figures import FigureRow
from tests.services.pages.test_pages import NOW, figure

DAY = timedelta(days=1)


def drawn(*rows: FigureRow) -> Chart | None:
    lines = {"drop": values_of(rows)}
    return chart("Drop", lines, frame_of(lines))


@pytest.mark.parametrize(
    ("low", "high"),
    [
        *((0.0, 1.0), (0.31, 0.33), (-0.02, 0.05), (5.0, 5.0), (0.0, 0.0), (1e-9, 2e-9), (0, 12345.0)),
        *((0.3, 0.3 + 1e-16), (0.0, 1e-15), (0.33, 0.33 + 3e-14), (140.0, 140.0 + 1e-11)),  # equal but for rounding
    ],
)
def test_ticks_are_round_few_and_enclose_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize("days", [1, 7, 30, 400, 4000])
def test_times_are_marked_at_round_places_and_few(days: int) -> None:
    ticks = time_ticks(Window(start=NOW - days * DAY, end=NOW))
    assert 2 <= len(ticks) <= 9 or days == 4000
    assert [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)
    assert len({tick.text for tick in ticks}) == len(ticks)
    assert all(0 <= tick.at <= 100 for tick in ticks)


def test_a_window_without_a_value_leaves_a_gap() -> None:
    made = drawn(*(figure("drop", day, None if day == 2 else 0.01) for day in range(5)))
    assert made is not None
    (series,) = made.series
    assert len(series.lines) == 2 and len(series.dots) == 4
    assert [row.cells[1] for row in made.rows][2] == "–"


def test_what_is_not_mature_is_drawn_apart_and_gives_way_to_what_is() -> None:
    rows = [figure("drop", day, 0.01, mature=day < 3) for day in range(5)]
    made = drawn(*rows, figure("drop", 1, 0.5, mature=False))
    assert made is not None
    (series,) = made.series
    assert (len(series.lines), len(series.faint)) == (1, 1)
    assert len(series.dots) == 5 and not any("50.0" in dot.text for dot in series.dots)
    assert made.rows[-1].cells[1] == "1.0 points (−1.0 – 3.0), not mature yet"


def test_means_that_rounding_alone_tells_apart_are_a_level_line() -> None:
    rows = [figure("drop", day, 0.1 + 0.2 if day % 2 else 0.3) for day in range(4)]
    made = drawn(*(replace(row, low=None, high=None) for row in rows))
    assert made is not None
    (series,) = made.series
    assert len({dot.y for dot in series.dots}) == 1 and len(made.y_ticks) >= 2


def test_a_chart_of_nothing_is_none() -> None:
    assert drawn() is None
    assert drawn(figure("drop", 1, None)) is None


def test_a_single_point_is_drawn_inside() -> None:
    made = drawn(figure("drop", 1, 0.0))
    assert made is not None
    (dot,) = made.series[0].dots
    assert 0 < dot.x < 100 and 0 <= dot.y <= made.height


def test_charts_of_one_frame_share_their_axis() -> None:
    frame = Frame(window=Window(start=NOW - 30 * DAY, end=NOW))
    made = [chart("Drop", {"drop": values_of([figure("drop", day, 0.1)])}, frame) for day in (2, 12)]
    first, second = (one.series[0].dots[0].x for one in made if one is not None)
    assert second - first == pytest.approx(100 / 3, abs=0.1)


def test_layers_lie_one_upon_the_other_and_those_that_never_were_are_left_out() -> None:
    at = datetime(2026, 3, 9, tzinfo=UTC)
    shares = {"escalated_share.p_t": 0.2, "escalated_share.ood": 0.0, "escalated_share.p_ik": 0.3}
    lines = {name: [Value(at=at + hour * DAY / 24, value=share) for hour in range(3)] for name, share in shares.items()}
    frame = Frame(window=Window(start=at, end=at + DAY))
    made = stack("Why", lines, frame, names={"escalated_share.p_t": "not probable"})
    assert made is not None
    assert [one.name for one in made.series] == ["not probable", "escalated_share.p_ik"]
    below, above = (one.band[0] for one in made.series)
    top = below.removeprefix("M").split("L")[0].split()[1]
    assert above.removesuffix("Z").split("L")[-1].split()[1] == top  # the next begins where the first ends
    assert made.rows[0].cells[1:] == ("20.0 %", "30.0 %")
