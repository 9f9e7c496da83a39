"""Attempts as columns: those that were named, wherever they were read."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store.engine import reading, transaction
from store.traffic.decisions import add_decisions
from store.traffic.example_columns import example_schema, examples_of
from store.traffic.examples import labelled


def test_answers_are_compared_by_their_keys(session: Session, cast: Any) -> None:
    small, large = cast.retained(0).attempts
    unsaid = replace(cast.retained(1), attempts=(small, replace(large, answer=None)))
    other = replace(cast.retained(2), attempts=(small, replace(large, answer="Paris \u2013 in France")))
    add_decisions(session, [cast.retained(0), unsaid, other], received_at=cast.at(3))
    found = labelled(session, "geo", cast.window(), as_of=cast.at(60), columns=["answer", "answer_key"])
    alike = found.answer_key[:, None] == found.answer_key
    assert (alike == (found.answer[:, None] == found.answer)).all() and not alike.all()
    assert ((found.answer_key == -1) == (found.answer == np.array(None))).all()


def test_only_what_is_named_is_read(geo: Engine, cast: Any) -> None:
    with transaction(geo) as session:
        add_decisions(session, [cast.retained(0), cast.escalated(1)], received_at=cast.at(2))
    with reading(geo) as session:
        found = labelled(session, "geo", cast.window(), as_of=cast.at(60), columns=["model"])
        with pytest.raises(ValueError, match=r"columns: there is no colour; name some of answer, .*"):
            labelled(session, "geo", cast.window(), as_of=cast.at(60), columns=["colour"])
    assert found.model.tolist() == ["small", "large"] * 2 and found.tier.tolist() == [0, 1, 0, 1]
    assert found.model[0] is found.model[2]  # one object per text
    assert not found.p_t.size and not found.answer.size


def test_a_sample_is_the_same_whenever_it_is_drawn_and_whole_decisions(session: Session, cast: Any) -> None:
    sent = [cast.retained(minutes / 10) for minutes in range(300)]
    add_decisions(session, sent, received_at=cast.at(30))

    def drawn(at_most: int) -> list[Any]:
        return labelled(session, "geo", cast.window(), as_of=cast.at(60), columns=["role"], at_most=at_most).uuids()

    some = drawn(100)
    assert some == drawn(100) and 40 < len(set(some)) < 180 and len(some) == 2 * len(set(some))
    assert set(drawn(20)) <= set(some)  # fewer are some of them
    assert len(drawn(300)) == 600


def test_columns_are_made_of_arrow_wherever_it_was_read() -> None:
    """Plain texts, a time zone and smaller numbers are what readers of files give."""
    id_bytes = [bytes([at]) * 15 + b"\0" for at in (1, 1, 2)]  # a zero at the end is part of an id
    columns = ["role", "occurred_at", "correct", "retained", "p_t_kind"]
    table = pa.table(
        {
            "spec_version": pa.array([1, 1, 2], pa.int32()),
            "role": ["superseded", "served", "served"],
            "occurred_at": pa.array([5, 5, None], pa.timestamp("ms", tz="UTC")),
            "correct": pa.array([1, None, 0], pa.float32()),
            "retained": [None, False, True],
            "p_t_kind": ["mean", None, None],
            "tier": pa.array([0, 1, 0], pa.int16()),
            "ids": pa.array(id_bytes, pa.binary()),
        }
    )
    found = examples_of(table.to_batches(), columns, kinds={(1, 1): "first_token"}, coins={})
    assert set(example_schema(columns).names) == set(table.column_names)
    assert [one.bytes for one in found.uuids()] == id_bytes and found.decision.tolist() == [0, 0, 1]
    assert found.role.tolist() == ["superseded", "served", "served"]
    assert found.occurred_at.astype(np.int64).tolist()[:2] == [5000, 5000] and np.isnat(found.occurred_at[2])
    np.testing.assert_array_equal(found.correct, [1.0, np.nan, 0.0])
    assert found.retained.tolist() == [False, False, True]
    assert found.p_t_kind.tolist() == ["mean", "first_token", None]
