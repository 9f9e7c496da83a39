"""What waits to leave the database."""

from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from store.jobs.outbox import Backlog, add_message, backlogs, claim_messages, finish_message, message


def test_a_backlog_is_what_waits_or_was_given_up(session: Session, cast: Any) -> None:
    for number, topic in enumerate(("mlflow", "mlflow", "events")):
        add_message(session, topic, str(number), "{}", now=cast.at(number))
    (done,) = claim_messages(session, "events", owner="a", now=cast.at(5), lease=timedelta(minutes=1))
    finish_message(session, done, now=cast.at(5))
    failed = claim_messages(session, "mlflow", owner="a", now=cast.at(5), lease=timedelta(minutes=1), limit=1)[0]
    finish_message(session, failed, now=cast.at(5), error="MLflow is down")
    assert backlogs(session) == (
        Backlog(topic="mlflow", waiting=2, given_up=0, oldest=cast.at(0), last_error="MLflow is down"),
    )
    found = message(session, "events", "2")
    assert found is not None and found.done_at == cast.at(5)
    assert message(session, "events", "0") is None
