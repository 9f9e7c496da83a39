"""Which model ran is compared with which was declared; what ran stays stored either way."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from knowgate._records.receipts import Undeclared
from knowgate.spec import TierSpec
from store.engine import transaction
from store.traffic.decisions import add_decisions
from store.traffic.examples import labelled
from store.traffic.undeclared import undeclared

ONE, OTHER = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("declared", "ran", "agrees"),
    [
        ("main", ONE, True),  # a branch names no fixed weights
        (ONE, ONE, True),
        (ONE, OTHER, False),
        (ONE, None, True),  # nobody said
        (ONE, "3f2c9d", True),  # a folder's own revision is no commit
    ],
)
def test_revisions_are_compared_where_both_are_commits(declared: str, ran: str | None, agrees: bool) -> None:
    tier = TierSpec(name="small", model="m", parameters=1e9, revision=declared)
    assert tier.declares("m", ran) is agrees
    assert not tier.declares("another", ran)
    assert replace(tier, encoder="minilm").declares("m", ran)  # the states are the encoder's


def test_attempts_of_other_models_and_revisions_are_stored_counted_and_found_in_the_join(
    geo: Engine, cast: Any
) -> None:
    fine, renamed = cast.retained(0), cast.retained(1)
    small, large = renamed.attempts
    renamed = replace(renamed, attempts=(small, replace(large, model="larger")))
    with transaction(geo) as session:
        added = add_decisions(session, [fine, renamed], received_at=cast.at(2))
        examples = labelled(session, "geo", cast.window(), as_of=cast.at(60))
    assert len(added.stored) == 2 and not added.rejected
    assert added.undeclared == (Undeclared(cascade="geo", tier=1, model="larger", declared="large", attempts=1),)
    assert undeclared(examples, cast.spec).tolist() == [False, False, False, True]
    pinned = replace(cast.spec, tiers=(replace(cast.spec.tiers[0], revision=ONE), cast.spec.tiers[1]))
    assert set(examples.revision.tolist()) == {"main", None}
    assert undeclared(examples, pinned).tolist() == [False, False, False, True]
