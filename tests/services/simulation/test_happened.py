"""What happened to a cascade reads in order: what called, the training, what followed from it."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from knowgate._records.records import Window
from services.declaration.cascade_file import parse_cascade
from services.simulation.happened import happened, lasted
from store.engine import reading, transaction
from store.jobs import job_runs
from store.jobs.occasions import Occasion, TrainingReason
from store.releases import cascades, promotions
from store.releases.promotions import Outcome, PromotionRecord
from store.watching import alerts
from store.watching.alerts import AlertRecord
from tests.services.deployment_of_jobs import TWO_TIERS

DAY = timedelta(days=1)
START = datetime(2026, 3, 5, tzinfo=UTC)


def test_an_alert_stands_before_the_training_that_it_called_for_and_that_before_what_came_of_it(
    engine: Engine,
) -> None:
    occasion = Occasion(reason=TrainingReason.DRIFT, why="drift alert of 2026-03-05: p_t moved", key="ring:1")
    with transaction(engine) as session:
        cascades.apply_cascade(session, parse_cascade('name = "quiz"' + TWO_TIERS), now=START)
        window, lease = Window(start=START - DAY, end=START), timedelta(minutes=2)
        run = job_runs.claim(session, "train", "quiz", window, owner="a", lease=lease, now=START, occasion=occasion)
        assert run is not None
        job_runs.finish(session, run, "not_attempted", now=START + DAY, labels_needed=1200)
        promotions.add_promotion(
            session,
            PromotionRecord(
                cascade="quiz",
                bundle=None,
                previous=None,
                outcome=Outcome.STOPPED,
                reason="it lapsed",
                check="{}",
                generation=None,
                decided_at=START,
            ),
        )
        alerts.open_alert(
            session, AlertRecord(cascade="quiz", rule="drift", cause="p_t moved", details="{}", opened_at=START)
        )
        alerts.resolve_alert(session, "quiz", "drift", resolution="no column drifts", now=START + DAY)
    with reading(engine) as session:
        events = happened(session, "quiz")
    assert [(event.what, event.text) for event in events] == [
        ("alert", "drift: p_t moved"),
        (
            "trained",
            "drift (drift alert of 2026-03-05): not attempted: it waits for about 1,200 more labelled decisions, and"
            " what is in force stays so",
        ),
        ("stopped", "escalate all: it lapsed"),
        ("resolved", "drift: no column drifts"),
    ]


def test_an_alert_that_nobody_resolved_is_open() -> None:
    assert lasted(START, None) == "open"
    assert lasted(START, START + DAY) == "resolved after 1 day"
