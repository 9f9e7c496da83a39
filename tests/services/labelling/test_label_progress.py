"""What is labelled for the next certificate, about how much it needs, and when it is tried: in one
line wherever it is asked.
"""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from factories import make_decision, make_label
from knowgate import Attempt, Decision, LabelSource, Role, Window
from services.declaration.cascade_file import parse_cascade
from services.labelling.progress import NO_DECISION, LabelProgress, label_progress
from store.engine import reading, transaction
from store.jobs import job_runs
from store.releases.cascades import apply_cascade
from store.releases.rings import Spoken
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.watching.alerts import AlertRecord, open_alert
from tests.services.conftest import CASCADE, NOW

TURN = datetime(2026, 3, 12, tzinfo=UTC)  # weeks since the epoch end on Thursdays
HORIZON = timedelta(days=7)
LEAST = 2 * 114  # (1 − .02)ⁿ ≤ .1, and half of the prompts teach


@pytest.fixture
def explored(engine: Engine, trivia: str) -> list[Decision]:
    """Six explored decisions, three weeks old: four have trusted labels of both answers, one has
    one of the small tier's, one has a grader's alone.
    """
    made = []
    for row in range(6):
        small = Attempt(tier=0, role=Role.SERVED, model="tiny", answer="a", run_propensity=1.0)
        large = Attempt(tier=1, role=Role.EXPLORATION, model="huge", answer="b", run_propensity=0.25)
        at = NOW - timedelta(days=20, minutes=row)
        made.append(make_decision(at, cascade=trivia, attempts=(small, large), exploration_rate=0.25))
    said = [(row, tier, LabelSource.GOLD) for row in range(4) for tier in (0, 1)]
    said += [(4, 0, LabelSource.HUMAN), (5, 0, LabelSource.JUDGE), (5, 1, LabelSource.JUDGE)]
    with transaction(engine) as session:
        add_decisions(session, made, received_at=NOW - timedelta(days=19))
    for row, tier, source in said:
        label(engine, made[row], tier, source)
    return made


def label(engine: Engine, decision: Decision, tier: int, source: LabelSource = LabelSource.GOLD) -> None:
    """A label of the day before."""
    at = NOW - timedelta(days=1)
    said = make_label(cascade="trivia", source=source, labelled_at=at, decision_id=decision.id, tier=tier)
    with transaction(engine) as session:
        add_labels(session, [said], received_at=at)


def trained(engine: Engine, outcome: str, labels_needed: int | None = None) -> None:
    """What became of the window that ended last Thursday."""
    window = Window(start=TURN - timedelta(days=14), end=TURN - timedelta(days=7))
    with transaction(engine) as session:
        claim = job_runs.claim(session, "train", "trivia", window, owner="a", lease=HORIZON, now=window.end)
        assert claim is not None
        job_runs.finish(session, claim, outcome, now=window.end, labels_needed=labels_needed)


def rang(engine: Engine, rule: str, read_until: datetime, *, since: datetime | None = None) -> None:
    alert = AlertRecord(cascade="trivia", rule=rule, cause="p_t moved", details="{}", opened_at=NOW)
    with transaction(engine) as session:
        open_alert(session, alert, Spoken(since=since, until=read_until))


def progress(engine: Engine) -> LabelProgress:
    with reading(engine) as session:
        return label_progress(session, "trivia", now=NOW)


def test_before_the_first_decision_there_is_nothing_to_count(engine: Engine, trivia: str) -> None:
    found = progress(engine)
    assert (found.sentence, found.labelled, found.needed, found.due) == (NO_DECISION, None, None, False)


def test_before_the_first_attempt_the_fewest_that_show_anything_are_named(
    engine: Engine, explored: list[Decision]
) -> None:
    found = progress(engine)
    assert (found.labelled, found.needed, found.due) == (4, LEAST, True)
    assert found.sentence == "4 of about 228 labels; the next attempt is due now"


def test_what_an_attempt_waits_for_is_named_and_the_count_is_of_now(engine: Engine, explored: list[Decision]) -> None:
    trained(engine, "not_attempted", labels_needed=396)
    found = progress(engine)
    assert found.sentence == "4 of about 400 labels; next attempt Thu 2026-03-12 00:00 UTC"
    assert (found.next_attempt, found.due) == (TURN, False)
    label(engine, explored[4], 1)
    assert progress(engine).labelled == 5


def test_of_a_target_of_accuracy_the_first_tiers_labels_count(engine: Engine, explored: list[Decision]) -> None:
    targets = '[targets]\nkind = "retained_accuracy"\nvalue = 0.95\n[[tiers]]'
    with transaction(engine) as session:
        apply_cascade(session, parse_cascade(CASCADE.replace("[[tiers]]", targets, 1)), now=NOW)
    found = progress(engine)
    assert (found.labelled, found.needed) == (5, 2 * 45)


def test_a_risk_alarm_says_since_when_labels_count(engine: Engine, explored: list[Decision]) -> None:
    trained(engine, "certified")
    rang(engine, "risk", NOW - timedelta(days=10))
    found = progress(engine)
    assert (found.labelled, found.since) == (0, NOW - timedelta(days=10))
    assert found.sentence.startswith("0 of about 228 labels since 2026-02-28 12:00 UTC; next attempt Thu")


def test_what_calls_for_an_attempt_before_its_turn_is_named(engine: Engine, explored: list[Decision]) -> None:
    trained(engine, "certified")
    rang(engine, "savings", NOW, since=NOW - timedelta(days=8))
    found = progress(engine)
    assert "the next attempt is due now, for savings alert of 2026-03-10 12:00 UTC: p_t moved" in found.sentence
    assert found.why is not None and found.why in found.sentence


def test_the_api_says_it_too(client: TestClient, engine: Engine, explored: list[Decision]) -> None:
    trained(engine, "not_attempted", labels_needed=396)
    said = client.get("/v1/cascades/trivia/labels").json()
    assert (said["labelled"], said["needed"], said["reason"]) == (4, 400, "schedule")
    assert said["sentence"] == "4 of about 400 labels; next attempt Thu 2026-03-12 00:00 UTC"
    assert client.get("/v1/cascades/unheard-of/labels").status_code == 404
