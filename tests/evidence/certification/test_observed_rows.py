"""Certificates from rows of a cascade that is observed: the small tier answered by a coin, beside
the last one.
"""

from typing import Any

import numpy as np
import pytest

from evidence.certification.certificate import Target
from evidence.certification.certify import certify_policy
from evidence.certification.known_outcomes import LoggedRows, certification_rows, ended_early, outcome_coin
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate.policy import PolicyKind
from knowgate.spec import TargetKind

NAN = np.nan
RATE, DELTA, EPSILON, LOST = 0.2, 0.1, 0.03, 0.5
TARGET = Target(kind=TargetKind.MAX_ACCURACY_DROP, value=EPSILON)
OBSERVED, LEFT_OUT = ("exploration", "served"), ("skipped", "served")


def drop_at(threshold: float) -> float:
    """What is lost where all with P(T) of at least `threshold` are kept: P(T) is even, and a kept
    answer is lost with the chance LOST · (1 − P(T)).
    """
    return LOST * (1.0 - threshold) ** 2 / 2.0


def observed(rng: np.random.Generator, n: int, *, given_up: float = 0.0, rate: float = RATE) -> tuple[LoggedRows, Any]:
    """n decisions of an observed cascade as they are logged, and the small tier's P(T). Of the runs
    that are drawn those with an answer that is no loss are given up with the chance `given_up`,
    which is the worst choice there is.
    """
    p_t = rng.random(n)
    lost, drawn = rng.random(n) < LOST * (1.0 - p_t), rng.random(n) < rate
    gone = drawn & ~lost & (rng.random(n) < given_up)
    ran = drawn & ~gone
    role = np.array([OBSERVED if one else LEFT_OUT for one in ran], dtype=object)
    correct = np.column_stack([np.where(ran, ~lost, NAN), np.ones(n)])
    rows = LoggedRows(
        ids=tuple(f"{number:x}" for number in rng.integers(1 << 62, size=n)),
        ran=np.column_stack([ran, np.ones(n, dtype=bool)]),
        early=ended_early(role),
        agrees=np.zeros((n, 1), dtype=bool),
        correct=correct,
        label_propensity=np.full((n, 2), NAN),
        run_propensity=np.column_stack([np.where(gone, NAN, rate), np.ones(n)]),
        exploration_rate=np.full(n, rate),
        apart=np.zeros(n, dtype=bool),
    )
    return rows, np.where(ran, p_t, NAN)


def certified(rows: LoggedRows, p_t: Any) -> Any:
    known = certification_rows(rows)
    return certify_policy(PolicyKind.P_T, [{"p_t": p_t}], known, TARGET, DELTA, ran=rows.ran)


def test_a_row_weighs_by_the_coin_and_one_that_was_given_up_counts_once_and_as_the_worst() -> None:
    rows, _ = observed(np.random.default_rng(1), 200, given_up=0.5)
    chance, there = outcome_coin(rows)
    gone = np.isnan(rows.run_propensity[:, 0])
    assert np.isnan(chance[gone]).all() and (chance[~gone] == RATE).all()
    assert there[~gone].tolist() == rows.ran[~gone, 0].tolist()
    drops = certification_rows(rows).drops(np.zeros(200, dtype=np.int64))
    assert (drops[gone] == 1.0).all() and (drops[~gone & ~rows.ran[:, 0]] == 0.0).all()


def test_the_retained_share_is_that_of_those_that_were_observed() -> None:
    rows, p_t = observed(np.random.default_rng(2), 6000)
    answer = certified(rows, p_t)
    threshold = answer.thresholds[0][0].threshold
    assert answer.status is CertificateStatus.CERTIFIED
    assert answer.retained_share == pytest.approx(float((p_t[rows.ran[:, 0]] >= threshold).mean()))
    assert answer.n == int(rows.ran[:, 0].sum())


@pytest.mark.slow
@pytest.mark.parametrize(("given_up", "least"), [(0.0, 0.95), (0.02, 0.5)])
def test_no_more_certificates_than_delta_promise_what_is_not_so(given_up: float, least: float) -> None:
    """Over 100 observed windows, with two standard errors of that many; and nearly all of them
    certify something, or nothing would be tested.
    """
    rng, runs, broken, given = np.random.default_rng(3), 100, 0, 0
    for _ in range(runs):
        rows, p_t = observed(rng, 2500, given_up=given_up)
        answer = certified(rows, p_t)
        if answer.status is CertificateStatus.CERTIFIED:
            given += 1
            broken += drop_at(answer.thresholds[0][0].threshold) > EPSILON
    assert broken / runs <= DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / runs)
    assert given / runs >= least


@pytest.mark.slow
def test_rows_of_two_rates_are_thinned_to_the_smaller_and_promise_no_more() -> None:
    """A cascade that was observed more, then less."""
    rng, runs, broken = np.random.default_rng(4), 40, 0
    for _ in range(runs):
        more, less = observed(rng, 1500, rate=0.4), observed(rng, 1500, rate=RATE)
        names = [name for name in LoggedRows.__slots__ if getattr(more[0], name) is not None]
        both = {name: (getattr(more[0], name), getattr(less[0], name)) for name in names}
        joined = {name: a + b if name == "ids" else np.concatenate([a, b]) for name, (a, b) in both.items()}
        answer = certified(LoggedRows(**joined), np.concatenate([more[1], less[1]]))
        if answer.status is CertificateStatus.CERTIFIED:
            broken += drop_at(answer.thresholds[0][0].threshold) > EPSILON
    assert broken / runs <= DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / runs)
