"""What pydantic-core takes the codec takes, as the same; and it takes what is well-formed."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import make_label
from knowgate import Attempt, Decision, Label, Role, Signals, new_id
from knowgate._records.records import Action, GateOutcome, PTKind, Reason, Verdict
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from services.api.quick_records import quick_reader
from services.api.rows import LONG_TEXTS, SHORT, require_short
from tests.services.conftest import NOW

READERS: dict[type[Any], Any] = {kind: quick_reader(kind, SHORT, LONG_TEXTS) for kind in (Decision, Label)}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**63 - 1, 2**63, -(2**63), 10**30, 0.5, -0.0, 1.0, 1e300, float("nan"), float("inf")]),
    st.floats(0, 1),
    st.text(max_size=3),
    st.sampled_from(
        ["", "\0", "a\0b", "\ud83d", "\U0001f600", "x" * (SHORT + 1), "\u00e9" * SHORT, "served", "p_t", "gold"]
    ),
    st.sampled_from(["2026-03-10T12:00:00Z", "2026-03-10T12:00:00", "2026-03-10", "0001-01-01T00:00:00+14:00", "now"]),
    st.sampled_from([str(new_id(NOW)), new_id(NOW).hex, str(new_id(NOW)).upper(), f"{{{new_id(NOW)}}}", "1" * 36]),
    st.sampled_from([[], {}, [[]], [1], {"tier": 0}, [None]]),
)


def decided() -> Any:
    """A decision with something in most fields, as JSON."""
    outcome = GateOutcome(gate=Reason.P_T, value=0.5, threshold=0.8, passed=False)
    small = Attempt(
        tier=0,
        role=Role.SUPERSEDED,
        model="small",
        signals=Signals(p_t=0.5, ood=1.0),
        verdict=Verdict(action=Action.ESCALATE, reason=Reason.P_T, gates=(outcome,)),
        p_t_kind=PTKind.MEAN,
        tokens_in=3,
        latency_ms=12.5,
        vector=0,
        answer="Paris",
    )
    large = Attempt(tier=1, role=Role.SERVED, model="large", run_propensity=1.0)
    record = Decision(
        id=new_id(NOW), cascade="trivia", occurred_at=NOW, attempts=(small, large), external_id="q", prompt="x" * 999
    )
    return codec.encode(record)


@st.composite
def rows(draw: st.DrawFn) -> tuple[type[Any], Any]:
    """A row of either kind, in which up to three things were changed."""
    kind = draw(st.sampled_from([Decision, Label]))
    said = make_label(cascade="trivia", decision_id=new_id(NOW), labelled_at=NOW, grader="judge@1")
    row = decided() if kind is Decision else codec.encode(said)
    for _ in range(draw(st.integers(0, 3))):
        at = row
        while isinstance(at, (dict, list)) and at:
            name = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
            deeper = isinstance(at[name], (dict, list)) and at[name] and draw(st.booleans())
            if deeper:
                at = at[name]
                continue
            way = draw(st.integers(0, 9))
            if way == 0:
                del at[name]
            elif way == 1 and isinstance(at, dict):
                at[draw(st.sampled_from(["more", "p_tt", "kind"]))] = 1
            else:
                at[name] = draw(VALUES)
            break
    return kind, row


@given(rows())
@settings(max_examples=150, deadline=None)
def test_what_is_read_quickly_the_codec_reads_as_the_same(case: tuple[type[Any], Any]) -> None:
    kind, row = case
    before = copy.deepcopy(row)
    quick = READERS[kind](row)
    try:
        slow = codec.decode(kind, row)
        require_short(row)
    except RecordInvalid:
        assert quick is None
        return
    assert repr(row) == repr(before)
    assert quick is None or (quick == slow and repr(quick) == repr(slow))


@pytest.mark.parametrize("change", [{}, {"slice": "\u00e9" * SHORT}, {"prompt": None}, {"exploration_rate": 1}])
def test_what_is_well_formed_is_read_quickly(change: dict[str, Any]) -> None:
    row = decided() | change
    assert READERS[Decision](row) == codec.decode(Decision, row)
