"""What pages read in place of rows is kept by a job that goes on where a run was cut off, and that
one which was overtaken does not touch.
"""

from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from factories import make_decision
from knowgate import Attempt, Role, Window
from services.clock import SimulatedClock
from services.jobs.job import JobContext
from services.jobs.sums import count_labels, sum_figures
from services.next_attempt import counted_window, question_of
from services.settings import Settings
from store.engine import reading, transaction
from store.errors import ClaimLost
from store.labelling.known import known_decisions
from store.labelling.known_hours import kept_hours
from store.releases import cascades
from store.traffic.decisions import add_decisions
from store.watching.figure_sums import unsummed_days
from store.watching.figures import FigureRow, put_figures

DAY = timedelta(days=1)


@pytest.fixture
def context(trivia: object, engine: Engine, settings: Settings, clock: SimulatedClock) -> JobContext:
    return JobContext(engine=engine, settings=settings, clock=clock, owner="test")


class Guard:
    """Lets so many transactions through."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __call__(self, session: Session) -> None:
        self.left -= 1
        if self.left < 0:
            raise ClaimLost("sums", 1)


def test_figures_are_summed_a_day_at_a_time(context: JobContext) -> None:
    now = context.clock.now()
    with transaction(context.engine) as session:
        for days in (1, 2, 3):
            window = Window(start=now - days * DAY, end=now - days * DAY + timedelta(hours=1))
            row = FigureRow(cascade="trivia", window=window, name="queries", n=1, mature=True, computed_at=now)
            put_figures(session, [row])
    with pytest.raises(ClaimLost):
        sum_figures(context, Guard(1))
    with reading(context.engine) as session:
        assert len(unsummed_days(session, "trivia", now=now)) == 2
    assert (sum_figures(context, Guard(2)), sum_figures(context, Guard(0))) == (2, 0)


def test_labelled_decisions_are_counted_by_the_hour_as_an_attempt_asks_for_them(context: JobContext) -> None:
    now = context.clock.now()
    same = tuple(
        Attempt(tier=tier, role=role, model=model, answer="Paris")
        for tier, role, model in ((0, Role.SERVED, "tiny"), (1, Role.EXPLORATION, "huge"))
    )
    made = [make_decision(now - days * DAY, cascade="trivia", attempts=same) for days in (40, 50, 60)]
    with transaction(context.engine) as session:
        assert not add_decisions(session, made, received_at=now - 2 * DAY).rejected
    with pytest.raises(ClaimLost):
        count_labels(context, Guard(2))  # the newest day was counted, and stays
    count_labels(context, Guard(100))
    with reading(context.engine) as session:
        spec = cascades.cascade(session, "trivia")
        question, window = question_of(spec), counted_window(session, spec, now=now)
        assert window is not None
        kept = kept_hours(session, question, window, as_of=now)
        asked = {"last": question.last, "as_of": now, "trusted": question.trusted}
        assert sum(kept.values()) == known_decisions(session, "trivia", window, **asked) == 3
        assert len(kept) >= (window.end - window.start) // timedelta(hours=1) - 1
