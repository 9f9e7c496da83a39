"""A decision whose P(T) was of another kind replays to the same verdict, from its signals and from
its vector.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from factories import make_assignment
from knowgate import Bundle, Cascade, Decision, PTKind, Reason
from knowgate._bundles.pair import Pair
from knowgate._records.observation import Observation
from services.audit.replay import replay

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Kept:
    """A decision log in memory."""

    def __init__(self) -> None:
        self.rows: list[Decision] = []

    def append(self, decision: Decision, vectors: Sequence[Any] = ()) -> None:
        self.rows.append(decision)


def served(bundle: Bundle, *, kind: PTKind | None, foreign: bool) -> Decision:
    kept = Kept()
    assignment = make_assignment(cascade="trivia", champion=bundle.id, exploration_rate=0.1, issued_at=NOW)
    cascade = Cascade(
        "trivia",
        Pair(assignment=assignment, champion=bundle),
        hash_key=b"a hash key for tests",
        clock=lambda: NOW,
        spool=kept,
    )
    tier = bundle.document.tiers[0]
    assert tier is not None
    fingerprint = replace(tier.fingerprint, layer=7) if foreign else tier.fingerprint
    with cascade.open() as query:
        ruling = query.attempt(
            Observation(p_t=0.99, p_t_kind=kind, hidden=HIDDEN, fingerprint=fingerprint, tokens_in=5, answer="a")
        )
        if not ruling.retained:
            query.attempt(Observation(p_t=0.9, answer="b"))
    return kept.rows[0]


HIDDEN = np.array([2.0, 0, 0, 0], dtype=np.float16)


@pytest.mark.parametrize("foreign", [False, True], ids=["own state", "foreign state"])
@pytest.mark.parametrize("kind", [None, PTKind.FIRST_TOKEN, PTKind.MEAN])
def test_whatever_kind_it_was(bundle: Bundle, kind: PTKind | None, foreign: bool) -> None:
    decision = served(bundle, kind=kind, foreign=foreign)
    first = decision.attempts[0]
    assert (first.fault is Reason.P_T_KIND_MISMATCH) == (kind is PTKind.MEAN)
    result = replay(decision, bundle, {0: HIDDEN})
    assert result.mismatches == ()
    assert (result.attempts, result.vectors) == (1, 0 if foreign else 1)


def test_a_kind_that_was_changed_by_hand_is_found(bundle: Bundle) -> None:
    decision = served(bundle, kind=PTKind.MEAN, foreign=False)
    first, *others = decision.attempts
    altered = replace(decision, attempts=(replace(first, fault=None), *others))
    assert [one.what for one in replay(altered, bundle, {}).mismatches] == ["verdict"]
