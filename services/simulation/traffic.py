"""Traffic: questions at their times, what each tier answers, and labels that come later and only
for some.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from knowgate import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query as it comes in."""

    name: str  # the caller's own id
    at: datetime
    prompt: str
    slice: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Observation):
    """What one tier makes of a query, and whether it is right: known here, sent to the service only
    by a label.
    """

    correct: float


class Answering(Protocol):
    """Whoever answers: real models, or their recorded outcomes."""

    def answer(self, asked: Asked, tier: int) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    """How labels come: for a share of the decisions drawn by coin, after a log-normal delay."""

    share: float = 1.0  # the coin's chance, logged as label_propensity
    median_delay: timedelta = timedelta(days=1)
    spread: float = 0.6  # standard deviation of the delay's logarithm

    def delay(self, rng: np.random.Generator) -> timedelta:
        return self.median_delay * float(np.exp(self.spread * rng.standard_normal()))


def steps(queries: Sequence[Asked], every: timedelta) -> Iterator[tuple[datetime, list[Asked]]]:
    """The queries, which are in order of time, in blocks; each with the time at which its block
    ends.
    """
    if not queries:
        return
    end = queries[0].at + every
    block: list[Asked] = []
    for asked in queries:
        while asked.at >= end:
            yield end, block
            block, end = [], end + every
        block.append(asked)
    yield end, block
