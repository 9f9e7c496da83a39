"""What a run reads: a week of labels in few columns says what whole rows say."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from knowgate._records.records import Reason, Window
from monitoring.figures.accuracy_figures import accuracy_retained, drop
from monitoring.figures.ood_figures import ood_figures
from monitoring.figures.tier_figures import calibration_seen, overconfidence, score_figures, signal_figures
from monitoring.rows.cohorts import Cohort
from monitoring.watching.daily_rules import assess_week
from monitoring.watching.reader import Reader
from store.engine import transaction
from store.releases.cascades import apply_cascade

DAYS, N = 3, 600


def asked_of(cast: Any) -> list[Any]:
    """Queries of every kind: kept, explored, escalated, ended early, labelled or not, judged, not
    covered, and larger than a query may be.
    """
    rng = np.random.default_rng(7)
    reasons = (None, None, Reason.P_IK, Reason.P_T, Reason.OOD)
    return [
        cast.Asked(
            at=cast.DAY + i * timedelta(days=DAYS) / N,
            reason=reasons[i % 5],
            explored=i % 3 == 0,
            early=i % 35 == 2,
            uncertified=i % 41 == 7,
            small=float(rng.random() < 0.7) if rng.random() < 0.8 else None,
            large=float(rng.random() < 0.9) if rng.random() < 0.8 else None,
            label_propensity=0.8,
            verdicts=(float(rng.random() < 0.7), None),
            answers=("yes", "yes" if rng.random() < 0.6 else "no"),
            score=float(rng.random()) if i % 11 else None,
            ood=float(rng.random()),
            tokens_out=100_000 if i % 29 == 0 else 0,
            bundle=f"b{i % 2}",
            slice=f"s{i % 3}",
        )
        for i in range(N)
    ]


@pytest.fixture
def reader(cast: Any, engine: Engine) -> Reader:
    """On both databases, a month after the decisions."""
    with transaction(engine) as session:
        apply_cascade(session, cast.spec_of(), now=cast.DAY - timedelta(days=1))
        cast.store_asked(session, asked_of(cast))
    return Reader(engine, "cities", now=cast.DAY + timedelta(days=30))


def said_of(cohort: Cohort) -> list[object]:
    small = cohort.attempts[cohort.attempts["tier"] == 0]
    known = [drop(cohort), accuracy_retained(cohort), calibration_seen(small), overconfidence(small)]
    return [*known, ood_figures(cohort, 0), score_figures(small), assess_week(cohort)]


def test_a_week_of_labels_says_what_whole_rows_say(cast: Any, reader: Reader) -> None:
    week = Window(start=cast.DAY, end=cast.DAY + timedelta(days=DAYS))
    whole, labels = reader.cohort(week), reader.labels(week)
    assert labels.size == whole.size > N / 2
    assert whole.attempts["cut"].any()
    for few, all_of_it in ((labels, whole), (labels.of_bundle("b1"), whole.of_bundle("b1"))):
        assert [repr(one) for one in said_of(few)] == [repr(one) for one in said_of(all_of_it)]
    small = whole.attempts[whole.attempts["tier"] == 0]
    every, of_score = signal_figures(small), score_figures(small)
    assert of_score == {name: every[name] for name in of_score}
    assert set(labels.decisions) < set(whole.decisions)
