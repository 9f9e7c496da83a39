"""How likely a retained answer is to be checked by the last tier: a floor for every query, more
near a threshold.

What a bolder or a safer threshold would cost is decided by the queries around the one in force, so
a run of the last tier tells most there. The rate is a function of the signals that the decision
logs and of the assignment, and the coin does not look at either, so the logged rate is exactly the
chance that the coin fell:

    nearness = max(0, 1 - |signal - threshold| / exploration_width)
    rate = min(1, exploration_rate + exploration_extra * nearness)

with the distance of the gate that stood nearest. It never falls below the floor `exploration_rate`,
or what no query shows could not be estimated at all. A tier that a gate ended before it answered
answers all the same with the chance of the floor.
"""

from uuid import UUID

from knowgate._bundles.assignment import Assignment
from knowgate._deciding.privacy import Purpose, SecretKey
from knowgate._records.records import GateOutcome, Reason, Verdict

_PURPOSE = Purpose.EXPLORATION


def row_rate(assignment: Assignment | None, verdict: Verdict | None) -> float:
    """The chance that the last tier runs beside the answer that `verdict` retained; the floor where
    none was.

    A gate that passes everything says nothing about nearness.
    """
    if assignment is None:
        return 0.0
    floor = assignment.exploration_rate
    if assignment.exploration_extra == 0.0 or verdict is None or not verdict.retained:
        return floor
    distances = [
        abs(gate.value - gate.threshold) for gate in verdict.gates if gate.value is not None and _decides(gate)
    ]
    if not distances:
        return floor
    nearness = max(0.0, 1.0 - min(distances) / assignment.exploration_width)
    return min(1.0, floor + assignment.exploration_extra * nearness)


def largest_rate(assignment: Assignment | None) -> float:
    """What no row's rate exceeds."""
    return 0.0 if assignment is None else min(1.0, assignment.exploration_rate + assignment.exploration_extra)


def coin_falls(key: SecretKey, decision_id: UUID, rate: float) -> bool:
    """The exploration coin of this id, thrown at `rate`: a higher rate explores the same ids and
    more.
    """
    return key.coin(_PURPOSE, decision_id) < rate


def _decides(gate: GateOutcome) -> bool:
    return gate.threshold < 1.0 if gate.gate is Reason.OOD else gate.threshold > 0.0
