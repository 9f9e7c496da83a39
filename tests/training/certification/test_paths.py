"""Speeds and paces are learned from the boldest thresholds that keep the target with caution."""

import numpy as np

from evidence.certification.certification_rows import CertificationRows
from knowgate.policy import Policy, PolicyKind, kept_tiers
from training.certification.paths import SPEEDS, learn_pace, learn_speed

N, TARGET = 1000, 0.05
SURENESS = 1.0 - np.arange(N) / N
RIGHT = (np.arange(N) % 10 != 9).astype(float)  # one answer in ten is lost, among the surest as among all
LOST = 41  # .041 + 1.28 · √(.041 · .959 / 1000) = .0490, and of 42 rows .0501


class Seen:
    """What the thresholds that are tried would keep."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []
        self.policies: list[Policy] = []

    def saves(self, kept: np.ndarray, policy: Policy) -> float:
        self.kept.append(kept)
        self.policies.append(policy)
        return 0.1


def test_the_boldest_thresholds_are_looked_at_whose_drop_lies_below_the_target_with_caution() -> None:
    seen, shown = Seen(), {"p_t": SURENESS}
    rows = CertificationRows(correct=np.column_stack([RIGHT, np.ones(N)]))
    learn_pace(PolicyKind.P_T, [shown], rows, TARGET, seen.saves)
    kept = seen.kept[0] == 0
    assert (RIGHT[kept] == 0.0).sum() == LOST
    assert (kept == (kept_tiers(seen.policies[0], [shown]) == 0)).all()


def test_gates_are_opened_as_far_as_a_chain_is() -> None:
    seen = Seen()
    learn_speed({"p_ik": SURENESS, "p_t": SURENESS}, RIGHT, np.ones(N), TARGET, saves=seen.saves)
    assert (RIGHT[seen.kept[0] == 0] == 0.0).sum() == LOST


def test_of_speeds_and_paces_that_save_as_much_the_equal_ones_are_taken() -> None:
    shown = {"p_ik": SURENESS, "p_t": SURENESS}
    assert learn_speed(shown, RIGHT, np.ones(N), TARGET, saves=Seen().saves) == {"p_ik": 1.0, "p_t": 1.0}
    rows = CertificationRows(correct=np.column_stack([RIGHT, RIGHT, np.ones(N)]))
    assert learn_pace(PolicyKind.P_T, [shown, shown], rows, TARGET, Seen().saves) == (1.0, 1.0)


def test_each_speed_is_tried_once_whichever_gate_is_the_faster() -> None:
    pairs = [(speed["p_ik"], speed["p_t"]) for speed in SPEEDS]
    assert pairs[0] == (1.0, 1.0) and len(set(pairs)) == len(pairs) and {min(pair) for pair in pairs} == {1.0}
    finite = {pair for pair in pairs if np.isfinite(pair).all()}
    assert finite == {(p_t, p_ik) for p_ik, p_t in finite}
