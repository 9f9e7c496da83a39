"""What a signal is worth: how much may be retained with it, beside no signal at all and a perfect
one.

AUROC says how well a signal orders answers; what a cascade lives on is the share that it may retain
within its target. Without a signal that share is what a coin may retain; with a perfect one it is
everything but the queries that must be escalated. A signal is worth what it adds to the coin, as a
part of what a perfect one would add.

Where the target is the accuracy of what is retained, a coin may retain all or nothing, and a
perfect signal every right answer with as many wrong ones as the target leaves room for.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evidence.bounds.exact_drop import drop_refuted
from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, IntArray, level, number, real_array

MOST_ROWS_LOOKED_AT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainableShares:
    """Shares of the queries that may be retained within the target on these rows."""

    random: float  # by a coin between the last tier and the best cheaper one
    perfect: float  # by a signal that knows which tiers are right
    drop_of_retaining_all: float  # accuracy of the last tier − of the best cheaper one


def retainable_shares(correct: npt.ArrayLike, epsilon: float) -> RetainableShares:
    """What no signal and a perfect signal may retain, on n fully graded queries.

    Args: correct [n, tiers] in [0, 1], none unknown; epsilon, the drop allowed. The perfect signal
    retains every query that some cheaper tier answers no worse than the last one, and then as many
    others as ε allows: one minus the least escalation max(0, p₊ − p₋ − ε).

    Examples:
        >>> shares = retainable_shares([[1, 1]] * 6 + [[0, 1]] * 3 + [[1, 0]], 0.1)
        >>> shares.random, shares.perfect, shares.drop_of_retaining_all
        (0.5, 0.9, 0.2)
    """
    right = _graded(correct)
    epsilon = number("epsilon", epsilon, low=0.0, high=1.0)
    drop = round(float(right[:, -1].mean() - right[:, :-1].mean(axis=0).max()), 12)
    return RetainableShares(
        random=1.0 if drop <= epsilon else epsilon / drop,
        perfect=float((perfect_kept(right, epsilon) < right.shape[1] - 1).mean()),
        drop_of_retaining_all=drop,
    )


def perfect_kept(correct: npt.ArrayLike, epsilon: float) -> IntArray:
    """[n] the tier that a perfect signal keeps: the best cheaper one wherever the drop allowed has
    room for it.

    Examples:
        >>> perfect_kept([[1, 1], [0, 1], [0, 0]], 0.0).tolist()
        [0, 1, 0]
    """
    right = _graded(correct)
    best = right[:, :-1].argmax(axis=1)
    losses = right[:, -1] - right[:, :-1].max(axis=1)
    order = np.argsort(losses, kind="stable")
    retained = order[np.cumsum(losses[order]) <= number("epsilon", epsilon, low=0.0, high=1.0) * len(losses) + 1e-9]
    kept = np.full(len(right), right.shape[1] - 1, dtype=np.int64)
    kept[retained] = best[retained]
    return kept


def retainable_shares_at_accuracy(correct: npt.ArrayLike, at_least: float) -> RetainableShares:
    """What no signal and a perfect signal may retain, where a retained answer has to be right
    `at_least` so often.

    Examples:
        >>> shares = retainable_shares_at_accuracy([[1, 1]] * 6 + [[0, 1]] * 3 + [[1, 0]], 0.875)
        >>> shares.random, shares.perfect
        (0.0, 0.8)
    """
    right = _graded(correct)
    best = float(right[:, :-1].mean(axis=0).max())
    return RetainableShares(
        random=1.0 if best >= number("at_least", at_least, low=0.0, high=1.0) else 0.0,
        perfect=float((perfect_kept_at_accuracy(right, at_least) < right.shape[1] - 1).mean()),
        drop_of_retaining_all=round(float(right[:, -1].mean()) - best, 12),
    )


def perfect_kept_at_accuracy(correct: npt.ArrayLike, at_least: float) -> IntArray:
    """[n] the tier that a perfect signal keeps: the best cheaper answers first, while their mean is
    `at_least`.

    Examples:
        >>> perfect_kept_at_accuracy([[0, 1], [1, 1], [0, 0]], 0.5).tolist()
        [0, 0, 1]
    """
    right = _graded(correct)
    best, graded = right[:, :-1].argmax(axis=1), right[:, :-1].max(axis=1)
    order = np.argsort(-graded, kind="stable")
    mean = np.cumsum(graded[order]) / np.arange(1, len(graded) + 1)
    retained = order[mean >= number("at_least", at_least, low=0.0, high=1.0) - 1e-9]
    kept = np.full(len(right), right.shape[1] - 1, dtype=np.int64)
    kept[retained] = best[retained]
    return kept


def worth_of_signal(retained: float, shares: RetainableShares) -> float | None:
    """How far a signal gets from the coin (0) to the perfect signal (1); None where the coin
    retains all that can be.

    Examples:
        >>> worth_of_signal(0.5, RetainableShares(random=0.2, perfect=0.8,
        ...     drop_of_retaining_all=0.1))
        0.5
    """
    room = shares.perfect - shares.random
    if room <= 1e-12:
        return None
    return float(np.round((number("retained", retained, low=0.0, high=1.0) - shares.random) / room, 12))


def fewest_rows_to_certify(epsilon: float, delta: float) -> int:
    """The fewest labelled rows with which the exact test can show any drop ≤ ε: all of them without
    one loss.

    Examples:
        >>> fewest_rows_to_certify(0.02, 0.1) < fewest_rows_to_certify(0.01, 0.1)
        True
    """
    epsilon, delta = number("epsilon", epsilon, low=1e-6, high=1.0), level("delta", delta)
    low, high = 0, 1
    while not drop_refuted(0, 0, high, epsilon, delta):
        low, high = high, 2 * high
        if high > MOST_ROWS_LOOKED_AT:
            raise InvalidInputError(f"epsilon is {epsilon}: more than {MOST_ROWS_LOOKED_AT} rows are needed; raise it")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if drop_refuted(0, 0, middle, epsilon, delta) else (middle, high)
    return high


def fewest_rows_to_show_accuracy(at_least: float, delta: float) -> int:
    """The fewest labelled retained rows with which an accuracy can be shown: all of them right, a^n
    ≤ δ.

    Examples:
        >>> fewest_rows_to_show_accuracy(0.95, 0.1)  # as test_binomial knows: 44 do not
        45
    """
    at_least, delta = number("at_least", at_least, low=0.0, high=1.0), level("delta", delta)
    if not 0.0 < at_least < 1.0:
        raise InvalidInputError(f"at_least is {at_least}, expected an accuracy in (0, 1); no n can show certainty")
    return math.ceil(math.log(delta) / math.log(at_least))


def _graded(correct: npt.ArrayLike) -> FloatArray:
    right = np.asarray(correct, dtype=np.float64)
    if right.ndim != 2 or right.shape[0] == 0 or right.shape[1] < 2:
        raise InvalidInputError(f"correct has shape {right.shape}, expected [n ≥ 1, tiers ≥ 2]")
    real_array("correct", right.ravel(), low=0.0, high=1.0)
    return right
