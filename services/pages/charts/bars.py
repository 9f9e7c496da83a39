"""Steps from one amount to another, as bars of one length: where savings come from."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One amount: where the cascade comes to (`total`), or what changes on the way."""

    name: str
    amount: float
    total: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A step as it is drawn: from `start` over `length`, in percents of the longest reach."""

    name: str
    amount: float
    start: float
    length: float
    kind: str  # total, more, less


def waterfall(steps: Sequence[Step]) -> tuple[Bar, ...]:
    """The bars of these steps.

    >>> bars = waterfall([Step(name="before", amount=10.0, total=True),
    ...                   Step(name="less", amount=-4.0), Step(name="now", amount=6.0, total=True)])
    >>> [(bar.start, bar.length, bar.kind) for bar in bars]
    [(0.0, 100.0, 'total'), (60.0, 40.0, 'less'), (0.0, 60.0, 'total')]
    """
    ends, level = [], 0.0
    for step in steps:
        before, level = (0.0, step.amount) if step.total else (level, level + step.amount)
        ends.append((min(before, level), max(before, level)))
    longest = max((high for _, high in ends), default=0.0) or 1.0
    return tuple(
        Bar(
            name=step.name,
            amount=step.amount,
            start=round(100 * max(low, 0.0) / longest, 2),
            length=round(100 * (high - max(low, 0.0)) / longest, 2),
            kind="total" if step.total else "less" if step.amount < 0 else "more",
        )
        for step, (low, high) in zip(steps, ends, strict=True)
    )
