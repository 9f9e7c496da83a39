"""A tier that a gate ended before it answered replays to the same verdict, whether or not it was
let answer to learn from.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from factories import make_assignment
from knowgate import Bundle, Cascade, Decision, Policy, PolicyKind, Role, write_bundle
from knowgate._bundles.pair import Pair
from knowgate._records.observation import Observation
from services.audit.replay import replay

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HIDDEN = np.array([2.0, 0, 0, 0], dtype=np.float16)


class Kept:
    """A decision log in memory."""

    def __init__(self) -> None:
        self.rows: list[Decision] = []

    def append(self, decision: Decision, vectors: Sequence[Any] = ()) -> None:
        self.rows.append(decision)


@pytest.fixture
def strict(bundle: Bundle) -> Bundle:
    """The bundle, with a P(IK) that no state reaches."""
    policy = Policy.of(PolicyKind.GATES, ({"p_ik": 1.0, "p_t": 0.5},))
    return write_bundle(replace(bundle.document, policy=policy), bundle.tiers)


def served(bundle: Bundle, *, rate: float) -> Decision:
    kept = Kept()
    assignment = make_assignment(cascade="trivia", champion=bundle.id, exploration_rate=rate, issued_at=NOW)
    cascade = Cascade(
        "trivia",
        Pair(assignment=assignment, champion=bundle),
        hash_key=b"a hash key for tests",
        clock=lambda: NOW,
        spool=kept,
    )
    tier = bundle.document.tiers[0]
    assert tier is not None
    with cascade.open() as query:
        read = Observation(hidden=HIDDEN, fingerprint=tier.fingerprint, tokens_in=5, tokens_out=0)
        if query.consider(read).answers:
            query.attempt(Observation(p_t=0.99, answer="a", tokens_out=3))
        query.attempt(Observation(p_t=0.9, answer="b"))
    return kept.rows[0]


@pytest.mark.parametrize(("rate", "role"), [(0.0, Role.SKIPPED), (1.0, Role.EXPLORATION)])
def test_from_its_signals_and_from_its_vector(strict: Bundle, rate: float, role: Role) -> None:
    decision = served(strict, rate=rate)
    assert decision.attempts[0].role is role
    result = replay(decision, strict, {0: HIDDEN})
    assert (result.mismatches, result.attempts, result.vectors) == ((), 1, 1)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_signal_that_was_changed_by_hand_is_found(strict: Bundle, rate: float) -> None:
    first, *others = served(strict, rate=rate).attempts
    altered = replace(first, signals=replace(first.signals, p_ik=1.0))
    result = replay(replace(served(strict, rate=rate), attempts=(altered, *others)), strict, {})
    assert [one.what for one in result.mismatches] == ["verdict"]
