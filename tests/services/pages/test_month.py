"""A made-up October: what its report says is what is stored, put together by hand here."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from knowgate import Bundle, Window
from knowgate._wire import codec
from services.clock import SimulatedClock
from services.errors import InputInvalid
from services.pages.monthly.month import month_report
from services.pages.monthly.weeks import month_of, weeks_of
from services.pages.report import render_month
from store.engine import reading, transaction
from store.releases import bundles
from store.releases.bundles import BundleStatus
from store.releases.cascades import apply_cascade, cascade
from store.releases.promotions import Outcome, PromotionRecord, add_promotion
from store.releases.rings import answer_ring, rings_of
from store.watching.alert_acts import Act, AlertAct, add_act
from store.watching.alerts import AlertRecord, open_alert, resolve_alert
from store.watching.figures import FigureRow, put_figures
from tests.services.pages.test_pages import page

OCTOBER = Window(start=datetime(2026, 10, 1, tzinfo=UTC), end=datetime(2026, 11, 1, tzinfo=UTC))
LATER = datetime(2026, 12, 1, tzinfo=UTC)


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 10, day, hour, tzinfo=UTC)


def figure(day: int, name: str, value: float, *, half: float | None = None, n: int = 100) -> FigureRow:
    return FigureRow(
        cascade="trivia",
        window=Window(start=at(day), end=at(day) + timedelta(days=1)),
        name=name,
        n=n,
        mature=True,
        computed_at=LATER,
        value=value,
        low=None if half is None else value - half,
        high=None if half is None else value + half,
    )


def october(days: range = range(1, 32)) -> list[FigureRow]:
    """100 queries a day that save 3 USD, give or take 4; 40 % are kept and lose 1 point, give or
    take 5. On the 20th 300 queries, of which 80 % are kept and lose 9; of the 22nd on labels are
    under way.
    """
    rows = []
    for day in days:
        n, kept, lost = (300, 0.8, 0.09) if day == 20 else (100, 0.4, 0.01)
        rows += [
            figure(day, "queries", n, n=n),
            figure(day, "saved_usd", 3.0, half=4.0, n=n),
            figure(day, "savings_usd", 0.25, half=0.05, n=n),
            figure(day, "savings_gflops", 0.25, half=0.05, n=n),
            figure(day, "retained_share", kept, half=0.1, n=n),
            figure(day, "exploration_cost_usd", 0.5, n=n),
            figure(day, "drop", lost, half=0.05, n=n),
        ]
    return [replace(row, mature=row.window.start < at(22)) for row in rows]


@pytest.fixture
def reported(engine: Engine, trivia: str, bundle: Bundle) -> str:
    """October's figures, two alerts, a promotion, a refusal and a new declaration."""
    with transaction(engine) as session:
        put_figures(session, october())
        bundles.add_bundle(
            session,
            bundle.id,
            trivia,
            codec.canonical(bundle.document).decode(),
            bundle.content,
            BundleStatus.CERTIFIED,
            at(4),
        )
        risk = open_alert(
            session, AlertRecord(cascade=trivia, rule="risk", cause="lost 9 %", details="{}", opened_at=at(21, 6))
        )
        (ring,) = rings_of(session, [risk])
        answer_ring(session, ring, "nothing is kept since 06:05", now=at(21, 7))
        add_act(session, AlertAct(alert_id=risk, act=Act.ACKNOWLEDGED, by="ada", reason="looking", at=at(21, 9)))
        resolve_alert(session, trivia, "risk", resolution="no harm is seen", now=at(23, 6))
        drift = AlertRecord(cascade=trivia, rule="drift", cause="p_t moved", details="{}", opened_at=at(30))
        open_alert(session, drift)
        for outcome, day, reason in (
            (Outcome.PROMOTED, 5, "saves 3 points more"),
            (Outcome.REFUSED, 12, "harms: loses 4 points"),
        ):
            generation = 2 if outcome is Outcome.PROMOTED else None
            record = PromotionRecord(
                cascade=trivia,
                bundle=bundle.id,
                previous=None,
                outcome=outcome,
                reason=reason,
                check="{}",
                generation=generation,
                decided_at=at(day),
            )
            add_promotion(session, record)
            add_promotion(session, replace(record, reason="of another month", decided_at=at(day) - timedelta(days=40)))
        spec = cascade(session, trivia)
        apply_cascade(session, replace(spec, targets=replace(spec.targets, value=0.03)), now=at(19))
    return trivia


def test_sums_are_those_of_the_stored_figures(engine: Engine, reported: str) -> None:
    with reading(engine) as session:
        report = month_report(session, reported, OCTOBER, now=LATER)
    facts = {fact.name: fact for fact in report.facts}
    assert facts["Saved"].value == "$93.00"  # 31 · 3
    # Reaches of days add up as squares do: 4 · √31 = 22.27.
    assert facts["Saved"].interval == "$70.73 – $115"
    assert facts["Queries"].value == "3,300"  # 30 · 100 + 300
    # By their rows: (30 · 100 · .4 + 300 · .8) / 3300.
    assert facts["Answers kept by the small model"].value == "43.6 %"
    assert facts["Paid to learn from"].value == "$15.50"
    assert facts["Of what that would have cost"].value == "25.0 %"
    assert facts["Of what that would have cost"].note == "the same of the computation"  # twins are one line
    assert not any("GFLOPs" in name for name in facts)
    assert report.gaps == ()


def test_each_week_says_where_the_promise_stood_under_the_declaration_of_its_time(
    engine: Engine, reported: str
) -> None:
    with reading(engine) as session:
        report = month_report(session, reported, OCTOBER, now=LATER)
    first, second, third, fourth, fifth = report.weeks
    assert [week.window.start.day for week in report.weeks] == [1, 5, 12, 19, 26]  # Mondays, and the first
    assert [week.saved.value for week in report.weeks if week.saved] == [12.0, 21.0, 21.0, 21.0, 18.0]
    # Four days of ±5 points are ±2.5 together, seven ±1.9: more than the 1 point that is left.
    assert (first.word, first.sentence) == ("not yet known", "1.0 points lost (−1.5 – 3.5): too few labels to tell")
    assert (second.word, third.word) == ("not yet known", "not yet known")
    assert fourth.word == "promise broken" and fourth.sentence.startswith("the risk alarm rang on 21 October.")
    assert fifth.sentence == "1.0 points lost (−1.0 – 3.0) so far: labels are still coming in"
    assert report.owed.startswith("at most 3.0 points of accuracy lost against always asking large")


def test_a_week_keeps_the_promise_where_all_of_its_interval_does(engine: Engine, trivia: str) -> None:
    sure = [replace(row, low=0.005, high=0.015) if row.name == "drop" else row for row in october(range(5, 19))]
    lost = [replace(row, value=0.04, low=0.0, high=0.08) if row.name == "drop" else row for row in sure[49:]]
    nothing = [replace(row, value=0.0) for row in october(range(28, 29))]
    with transaction(engine) as session:
        put_figures(session, sure[:49] + lost + nothing)
    with reading(engine) as session:
        report = month_report(session, trivia, OCTOBER, now=LATER)
    assert [week.word for week in report.weeks] == [
        "nothing asked",
        "promise kept",
        "promise at risk",
        "nothing asked",
        "nothing kept",
    ]


def test_alerts_changes_and_judgements_are_those_of_the_month(engine: Engine, reported: str, bundle: Bundle) -> None:
    with reading(engine) as session:
        report = month_report(session, reported, OCTOBER, now=LATER)
    risk, drift = report.alarms
    assert (risk.story.title, risk.state, risk.open_for) == ("Accuracy is worse than promised.", "over", "2 d")
    assert risk.done == (
        "21 October 07:00: knowgate: nothing is kept since 06:05",
        "21 October 09:00: ada acknowledged: looking",
        "23 October 06:00: over: no harm is seen",
    )
    assert (drift.state, drift.open_for) == ("open", "2 d so far")  # as it was when the month ended
    assert [(one.word, one.text) for one in report.changes] == [
        ("Promoted", f"{bundle.id[:8]}: saves 3 points more"),
        (
            "Declaration 2",
            "changed the promise from “at most 2.0 points of accuracy lost against always asking large, with 90 %"
            " confidence” to “at most 3.0 points of accuracy lost against always asking large, with 90 % confidence”",
        ),
    ]
    assert [(one.word, one.reason) for one in report.judged] == [
        ("Promoted", "saves 3 points more"),
        ("Declined", "harms: loses 4 points"),
    ]
    assert report.worries[0].endswith("Open since 30 October, looked after by nobody.")
    assert "The promise was broken in the week from 19 October." in report.worries


def test_the_file_needs_nothing_but_itself(engine: Engine, reported: str) -> None:
    with reading(engine) as session:
        html = render_month(session, reported, OCTOBER, now=LATER)
    assert "$93.00" in html and "<style>" in html
    assert not re.search(r"<script|<link|<img|src=|href=|url\(|https?://", html)


def test_a_month_that_is_not_over_or_partly_watched_says_so(engine: Engine, trivia: str) -> None:
    with transaction(engine) as session:
        put_figures(session, october(range(12, 15)))
    with reading(engine) as session:
        report = month_report(session, trivia, OCTOBER, now=at(20, 9))
        empty = month_report(session, trivia, Window(start=at(1) - timedelta(days=30), end=at(1)), now=LATER)
    assert report.gaps == (
        "The month is not over: this is what is known on 20 October at 09:00 UTC.",
        "It was watched from 12 October 00:00 UTC on; before that nothing is known.",
        "It was watched until 15 October 00:00 UTC; after that nothing is known.",
    )
    assert [week.word for week in report.weeks] == ["nothing asked", "nothing asked", "not yet known", "nothing asked"]
    assert empty.gaps == ("Nothing was watched in this month: no figure is known.",)
    assert {fact.value for fact in empty.facts} == {"not known"}


def test_the_page_is_the_same_report(client: TestClient, clock: SimulatedClock, reported: str) -> None:
    clock.set(LATER)
    shown = page(client, f"/cascades/{reported}/report?month=2026-10")
    for said in (
        "trivia, October 2026",
        "$93.00",
        "promise broken",
        "saves 3 points more",
        "ada acknowledged: looking",
    ):
        assert said in shown
    assert "write it as year and month, e.g. 2026-12" in page(client, f"/cascades/{reported}/report?month=10", 404)
    assert "it has not begun" in page(client, f"/cascades/{reported}/report?month=2027-01", 404)
    assert "December 2026" in page(client, f"/cascades/{reported}/report")
    page(client, "/cascades/nobody/report", 404)


def test_every_day_of_a_month_is_in_one_week() -> None:
    for month in ("2026-02", "2026-06", "2026-12"):
        of = month_of(month, now=datetime(2027, 1, 1, tzinfo=UTC))
        weeks = weeks_of(of, until=of.end)
        assert (weeks[0].start, weeks[-1].end) == (of.start, of.end)
        assert all(one.end == other.start for one, other in pairwise(weeks))
        assert all(one.end.weekday() == 0 for one in weeks[:-1])
    with pytest.raises(InputInvalid, match="2026-13"):
        month_of("2026-13", now=LATER)
