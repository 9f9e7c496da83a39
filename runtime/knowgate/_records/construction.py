"""How the records that every decision makes are made: straight through their slots.

The `__init__` of a frozen dataclass looks `object.__setattr__` up and calls it by name for every
field, which is two thirds of the cost of a record. A decision makes five records and has some 25 µs
in all, so these few are filled through the setters of their slots, as the dataclass would fill
them: what comes out is the same record, as frozen as any other. Everything that is not made for
every decision is built by calling its class.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from knowgate._records.records import Action, GateOutcome, Reason, Signals, Verdict

Setter = Callable[[Any, Any], None]
new = object.__new__


def setters(record: type) -> tuple[Setter, ...]:
    """The setters of a slotted dataclass's fields, in the fields' order."""
    return tuple(vars(record)[field.name].__set__ for field in fields(record))


_set_p_t, _set_p_ik, _set_score, _set_ood = setters(Signals)
_set_gate, _set_value, _set_threshold, _set_passed = setters(GateOutcome)
_set_action, _set_reason, _set_gates, _set_fallback = setters(Verdict)


def signals(p_t: float | None, p_ik: float | None, score: float | None, ood: float | None) -> Signals:
    """`Signals(…)`, which looks at the values itself only where one is not plainly in [0, 1]."""
    if (
        (p_t is None or 0.0 <= p_t <= 1.0)
        and (p_ik is None or 0.0 <= p_ik <= 1.0)
        and (score is None or 0.0 <= score <= 1.0)
        and (ood is None or 0.0 <= ood <= 1.0)
    ):
        made = new(Signals)
        _set_p_t(made, p_t)
        _set_p_ik(made, p_ik)
        _set_score(made, score)
        _set_ood(made, ood)
        return made
    return Signals(p_t=p_t, p_ik=p_ik, score=score, ood=ood)


def gate_outcome(gate: Reason, value: float | None, threshold: float, passed: bool) -> GateOutcome:
    """`GateOutcome(…)`."""
    made = new(GateOutcome)
    _set_gate(made, gate)
    _set_value(made, value)
    _set_threshold(made, threshold)
    _set_passed(made, passed)
    return made


def verdict(action: Action, reason: Reason | None, gates: tuple[GateOutcome, ...], fallback: bool) -> Verdict:
    """`Verdict(…)`."""
    made = new(Verdict)
    _set_action(made, action)
    _set_reason(made, reason)
    _set_gates(made, gates)
    _set_fallback(made, fallback)
    return made
