"""Every source's own word on an answer, as it was known at a time; precedence decides only which is
in force.
"""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from knowgate._records.records import LabelSource
from knowgate.spec import Horizons
from store.traffic.decisions import add_decisions
from store.traffic.examples import labelled
from store.traffic.label_sources import labels_by_source, others_labelled
from store.traffic.labels import add_labels


def test_sources_stand_side_by_side_and_the_latest_of_each_counts(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    judge = {"source": LabelSource.JUDGE, "label_propensity": 1.0}
    add_labels(session, [cast.label(sent, 10, correct=1.0, **judge)], received_at=cast.at(20))
    add_labels(session, [cast.label(sent, 11, correct=0.0, **judge)], received_at=cast.at(30))
    add_labels(session, [cast.label(sent, 12, correct=0.5, label_propensity=0.25)], received_at=cast.at(50))
    labels = labels_by_source(session, "geo", cast.window(), as_of=cast.at(60))
    rows = {
        source: (correct, propensity, delay)
        for source, correct, propensity, delay in zip(
            labels.source, labels.correct, labels.label_propensity, labels.first_delay_s, strict=True
        )
    }
    assert rows == {"judge": (0.0, 1.0, 1200.0), "gold": (0.5, 0.25, 3000.0)}
    assert {(one, tier) for one, tier in zip(labels.decision_id, labels.tier, strict=True)} == {(sent.id, 0)}
    earlier = labels_by_source(session, "geo", cast.window(), as_of=cast.at(25))
    assert (earlier.source.tolist(), earlier.correct.tolist()) == (["judge"], [1.0])
    assert labels_by_source(session, "other", cast.window(), as_of=cast.at(60)).source.shape == (0,)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_stronger_source_is_in_force_in_whatever_order_labels_come(
    session: Session, cast: Any, order: tuple[int, ...]
) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    sources = list(LabelSource)
    for minute, which in enumerate(order):
        label = cast.label(sent, 5, source=sources[which], correct=which / 4)
        add_labels(session, [label], received_at=cast.at(10 + minute))
    for known in range(1, 5):
        examples = labelled(session, "geo", cast.window(), as_of=cast.at(10 + known - 1))
        strongest = min(order[:known])
        assert examples.label_source[0] == sources[strongest].value
        assert examples.correct[0] == strongest / 4


def test_whether_others_than_the_trusted_have_labelled_is_known_from_one_row(session: Session, cast: Any) -> None:
    sent, window, trusted = cast.retained(), cast.window(), (LabelSource.GOLD, LabelSource.HUMAN)
    add_decisions(session, [sent], received_at=cast.at(1))

    def spoke(minutes: float, cascade: str = "geo", sources: tuple[LabelSource, ...] = trusted) -> bool:
        return others_labelled(session, cascade, window, as_of=cast.at(minutes), trusted=sources)

    add_labels(session, [cast.label(sent, 10)], received_at=cast.at(20))
    assert not spoke(60)
    add_labels(session, [cast.label(sent, 30, source=LabelSource.JUDGE)], received_at=cast.at(40))
    assert spoke(60)
    assert not spoke(39)
    assert not spoke(60, cascade="other")
    assert not spoke(60, sources=(LabelSource.GOLD, LabelSource.JUDGE))


def test_a_label_made_after_the_time_asked_for_is_not_known_then(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    add_labels(session, [cast.label(sent, 30.9)], received_at=cast.at(30))  # its maker's clock is ahead
    assert np.isnan(labelled(session, "geo", cast.window(), as_of=cast.at(30.5)).correct[0])
    assert labels_by_source(session, "geo", cast.window(), as_of=cast.at(30.5)).source.shape == (0,)
    assert labelled(session, "geo", cast.window(), as_of=cast.at(31)).correct[0] == 1.0


def test_a_cohort_is_as_old_as_the_slowest_source_that_is_waited_for() -> None:
    horizons = Horizons(
        gold=timedelta(days=7), feedback=timedelta(hours=12), sources=(LabelSource.FEEDBACK, LabelSource.JUDGE)
    )
    assert horizons.longest == timedelta(days=1)
    assert Horizons(sources=(LabelSource.FEEDBACK, LabelSource.GOLD)).longest == timedelta(days=7)


def test_what_is_not_trusted_stands_beside_as_a_forecast(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    judge, feedback = LabelSource.JUDGE, LabelSource.FEEDBACK
    labels = [
        cast.label(sent, 5, source=judge, correct=0.0),
        cast.label(sent, 6, source=feedback, correct=0.5),
        cast.label(sent, 7, correct=1.0),
    ]
    add_labels(session, labels, received_at=cast.at(10))
    trusted = (LabelSource.GOLD, LabelSource.HUMAN)
    examples = labelled(session, "geo", cast.window(), as_of=cast.at(20), trusted=trusted)
    assert (examples.correct[0], examples.forecast[0], examples.forecast_source[0]) == (1.0, 0.0, "judge")
    assert np.isnan(examples.forecast[1]) and np.isnan(examples.correct[1])
    early = labelled(session, "geo", cast.window(), as_of=cast.at(6.5), trusted=trusted)
    assert np.isnan(early.forecast[0])  # received later
    everything = labelled(session, "geo", cast.window(), as_of=cast.at(20))
    assert everything.correct[0] == 1.0 and np.isnan(everything.forecast).all()
    of_users = labelled(session, "geo", cast.window(), as_of=cast.at(20), trusted=(feedback,))
    assert (of_users.correct[0], of_users.forecast[0], of_users.forecast_source[0]) == (0.5, 1.0, "gold")
