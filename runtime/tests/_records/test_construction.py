"""A record that is filled while it is open is the record its class makes."""

import copy
import pickle
import typing
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from knowgate._records.construction import gate_outcome, signals, verdict
from knowgate._records.observation import Observation
from knowgate._records.records import LIMITS, Action, GateOutcome, Reason, Signals, Verdict
from knowgate.errors import RecordInvalid

OUTCOME = GateOutcome(gate=Reason.P_T, value=0.4, threshold=0.9, passed=False)
MADE = [
    (gate_outcome(Reason.P_T, 0.4, 0.9, False), OUTCOME),
    (
        verdict(Action.ESCALATE, Reason.P_T, (OUTCOME,), True),
        Verdict(action=Action.ESCALATE, reason=Reason.P_T, gates=(OUTCOME,), fallback=True),
    ),
    (signals(0.1, None, 0.3, 1.0), Signals(p_t=0.1, p_ik=None, score=0.3, ood=1.0)),
    (replace(Observation(p_t=0.2, notes=("cut",)), answer="B"), Observation(answer="B", p_t=0.2, notes=("cut",))),
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


def test_an_observation_takes_its_fields_by_name_and_knows_no_others() -> None:
    assert Observation(tokens_in=3) == Observation(
        **{field.name: None for field in fields(Observation)} | {"tokens_in": 3, "notes": ()}
    )
    with pytest.raises(TypeError, match="Observation"):
        Observation(p_tt=0.5)  # type: ignore[call-arg]
    with pytest.raises(FrozenInstanceError):
        del Observation(p_t=0.5).p_t


def test_what_inherits_an_observation_stays_what_it_is_and_may_hold_more() -> None:
    class Slim(Observation):
        __slots__ = ()

    class Wide(Observation):
        pass

    for kind in (Slim, Wide):
        made = kind(p_t=0.5, notes=("cut",))
        assert type(made) is kind
        assert replace(made, p_t=0.6) == kind(p_t=0.6, notes=("cut",))
        with pytest.raises(FrozenInstanceError):
            made.p_t = 0.7  # type: ignore[misc]


def test_every_number_that_a_tier_shows_has_limits() -> None:
    numbers = [
        name for name, hint in typing.get_type_hints(Observation).items() if {int, float} & set(typing.get_args(hint))
    ]
    assert set(numbers) == {*LIMITS, "p_t"}
