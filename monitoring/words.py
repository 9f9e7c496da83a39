"""Numbers and names as everything says them that a person reads, be it an alert, a page, a form or
a reason on record: percent and points, the start of an id, and signals and gates in plain words
with their symbol beside.
"""

from knowgate._records.records import Reason

_SIGNALS = {
    "p_t": "the probability of its answer (P(T))",
    "p_ik": "whether it knows (P(IK))",
    "score": "how sure it is (score)",
    "ood": "how unlike a query is to what the probe has seen (ood)",
    "entropy": "how undecided it is between the options (entropy)",
    "tokens_in": "the length of prompts",
    "tokens_out": "the length of answers",
}
# Why a query was sent on, as a clause about such queries.
GATES = {
    Reason.P_IK: "the small model does not know (P(IK))",
    Reason.P_T: "the probability of its answer is too low (P(T))",
    Reason.SCORE: "the small model is not sure enough (score)",
    Reason.OOD: "they are unlike what the probe has seen (ood)",
    Reason.MISSING_SIGNAL: "a signal is missing",
    Reason.FINGERPRINT_MISMATCH: "hidden states are of another model than the probe's",
    Reason.P_T_KIND_MISMATCH: "P(T) is of another kind than the thresholds are for",
    Reason.NO_BUNDLE: "there is no bundle for these models",
    Reason.EXPIRED: "the assignment had expired",
    Reason.ESCALATE_ALL: "nothing may be kept",
    Reason.OBSERVE: "the cascade is only observed",
}
_UNITS = {"usd": "USD", "gflops": "GFLOPs", "tokens": "tokens"}


def percent(share: float, *, digits: int | None = None) -> str:
    """A share, with a place more below a tenth; with so many `digits` where figures stand below
    each other.

    >>> percent(0.412), percent(0.0312), percent(0.0), percent(-0.02), percent(0.412, digits=1)
    ('41 %', '3.1 %', '0 %', '−2.0 %', '41.2 %')
    """
    if digits is None:
        digits = 0 if abs(share) >= 0.0995 or share == 0 else 1
    return f"{100 * share:.{digits}f} %".replace("-", "−")


def to_tenths(share: float) -> str:
    """A share to a tenth of a percent, as figures and forms write it.

    >>> to_tenths(0.631), to_tenths(1.0)
    ('63.1 %', '100.0 %')
    """
    return percent(share, digits=1)


def points(change: float, *, signed: bool = False, digits: int | None = None) -> str:
    """A difference of two shares, without its unit unless it is signed.

    >>> points(0.0312), points(0.02), points(-0.33, signed=True), points(0.02, digits=1)
    ('3.1', '2', '−33 points', '2.0')
    """
    shown = f"{abs(100 * change):.{1 if digits is None else digits}f}"
    if digits is None:
        shown = shown.removesuffix(".0")
    sign = "−" if change < 0 and float(shown) else "+" if signed else ""
    return f"{sign}{shown}{' points' if signed else ''}"


def short(long: str) -> str:
    """The start of a long id: enough to tell it from others, and to name it by.

    >>> short("0123456789abcdef")
    '01234567'
    """
    return long[:8]


def signal_named(column: str) -> str:
    """A column of attempts in plain words.

    >>> signal_named("p_t"), signal_named("pca_2")
    ('the probability of its answer (P(T))', 'the hidden states, direction 2')
    """
    kind, _, number = column.partition("pca_")
    return f"the hidden states, direction {number}" if not kind else _SIGNALS[column]


def gate_named(gate: str) -> str:
    """Why a gate escalates, as a clause about the queries.

    >>> gate_named("ood")
    'they are unlike what the probe has seen (ood)'
    """
    return GATES[Reason(gate)]


def unit_named(unit: str) -> str:
    """A unit of cost as people write it."""
    return _UNITS[unit]


def amount(column: str, mean: float) -> str:
    """The mean of a column as people write it.

    >>> amount("p_t", 0.812), amount("tokens_in", 21.4), amount("entropy", 0.5)
    ('81 %', '21 tokens', '0.50')
    """
    if column in ("p_t", "p_ik", "score", "ood"):
        return percent(mean)
    return f"{mean:.0f} tokens" if column.startswith("tokens") else f"{mean:.2f}".replace("-", "−")
