"""A record made through its slots is the record its class makes."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from knowgate._records.construction import gate_outcome, signals, verdict
from knowgate._records.records import Action, GateOutcome, Reason, Signals, Verdict
from knowgate.errors import RecordInvalid

OUTCOME = GateOutcome(gate=Reason.P_T, value=0.4, threshold=0.9, passed=False)
MADE = [
    (gate_outcome(Reason.P_T, 0.4, 0.9, False), OUTCOME),
    (
        verdict(Action.ESCALATE, Reason.P_T, (OUTCOME,), True),
        Verdict(action=Action.ESCALATE, reason=Reason.P_T, gates=(OUTCOME,), fallback=True),
    ),
    (signals(0.1, None, 0.3, 1.0), Signals(p_t=0.1, p_ik=None, score=0.3, ood=1.0)),
]


@pytest.mark.parametrize(("made", "plain"), MADE)
def test_it_is_equal_frozen_and_survives_copies(made: Any, plain: Any) -> None:
    assert made == plain
    assert (type(made), repr(made), hash(made)) == (type(plain), repr(plain), hash(plain))
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == plain
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(made)[0].name, None)


def test_signals_are_checked_as_ever() -> None:
    assert signals(float("nan"), 0.5, float("inf"), None) == Signals(p_ik=0.5)
    with pytest.raises(RecordInvalid, match=r"p_ik is 1\.5"):
        signals(0.5, 1.5, None, None)
