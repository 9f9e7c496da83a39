"""Attempts between two turns of a rolling promise, simulated at a drop of exactly ε, where whatever
is certified breaks the target: what may call for one without the share of broken days exceeding δ,
and what may not (docs/decisions/0141-when-to-train.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from evidence.bounds.exact_drop import drop_refuted
from evidence.bounds.fewest_rows import fewest_rows
from evidence.bounds.spending import delta_asked, delta_of_turn

EPSILON, DELTA = 0.05, 0.1
PLUS, MINUS = 0.08, 0.03  # how often only the last tier, or only the kept one, is right
DAILY, WINDOW, PERIOD, DAYS, YEARS = 20, 28, 7, 28 + 364, 250
FEWEST = fewest_rows(EPSILON, DELTA)


@dataclass
class Year:
    """One year's labels by day, and what is in force at the end of each day."""

    plus: np.ndarray  # [days + 1] how many came before each day
    minus: np.ndarray
    rng: np.random.Generator
    cut: int = 0  # rows of earlier days certify no more
    in_force: bool = False
    attempts: list[int] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)  # levels since the last attempt that nobody asked for

    def rows(self, day: int) -> int:
        """How many certify."""
        return DAILY * (day - max(day - WINDOW, self.cut))

    def attempt(self, day: int, delta: float = DELTA) -> None:
        """On what came before this day; what it gives is in force, also where that is nothing."""
        start, n = max(day - WINDOW, self.cut), self.rows(day)
        plus, minus = int(self.plus[day] - self.plus[start]), int(self.minus[day] - self.minus[start])
        self.in_force = n > 0 and drop_refuted(plus, minus, n, EPSILON, delta)
        self.attempts.append(day)

    def drop(self, start: int, end: int) -> float:
        """Seen in the days from `start` to `end`."""
        gone = self.plus[end] - self.plus[start] - self.minus[end] + self.minus[start]
        return float(gone) / (DAILY * (end - start))


Need = Callable[[Year, int], None]  # what is done on a day that is no turn


def broken_days(need: Need, turn: Need = Year.attempt) -> tuple[float, float]:
    """The share of the days of a year at whose end something is in force, with its error."""
    rng = np.random.default_rng(20260701)
    shares = []
    for _ in range(YEARS):
        counts = rng.multinomial(DAILY, [PLUS, MINUS, 1 - PLUS - MINUS], DAYS)
        before = np.vstack([np.zeros((1, 3), dtype=np.int64), np.cumsum(counts, axis=0)])
        year = Year(plus=before[:, 0], minus=before[:, 1], rng=rng)
        broken = 0
        for day in range(WINDOW, DAYS):
            (turn if day % PERIOD == 0 else need)(year, day)
            broken += year.in_force
        shares.append(broken / (DAYS - WINDOW))
    return float(np.mean(shares)), float(np.std(shares) / np.sqrt(YEARS))


def nothing(year: Year, day: int) -> None:
    """Attempts are made at their turns only."""


def drift(year: Year, day: int) -> None:
    """An alarm that reads no labels rings once in ten days."""
    if year.rng.random() < 0.1 and year.attempts[-1] < day - 1:
        year.attempt(day)


def risk(year: Year, day: int) -> None:
    """An alarm that reads the same labels stops what loses most; what it had read certifies no
    more. As soon as enough came since there is an attempt, and one more whenever it is twice as
    much.
    """
    if year.in_force and year.drop(day - PERIOD, day) > 1.5 * EPSILON:
        year.in_force, year.cut = False, day
    elif year.cut and year.rows(day) >= max(FEWEST, 2 * year.rows(max(year.attempts[-1], year.cut))):
        year.attempt(day)


def turn_since_the_alarm(year: Year, day: int) -> None:
    if year.rows(day) >= FEWEST:
        year.attempt(day)


def ask_until_something_is_certified(year: Year, day: int) -> None:
    """A person tries every day, at the levels that are left for it."""
    if not year.in_force:
        delta = delta_asked(DELTA, year.asked)
        year.attempt(day, delta)
        year.asked.append(delta)


def turn_that_pays(year: Year, day: int) -> None:
    year.attempt(day, delta_of_turn(DELTA, year.asked))
    year.asked.clear()


def try_until_something_is_certified(year: Year, day: int) -> None:
    """The same at the whole δ: what an attempt gave chooses whether there is another."""
    if not year.in_force:
        year.attempt(day)


@pytest.mark.parametrize(
    ("need", "turn"),
    [
        (nothing, Year.attempt),
        (drift, Year.attempt),
        (risk, turn_since_the_alarm),
        (ask_until_something_is_certified, turn_that_pays),
    ],
)
def test_what_reads_no_label_that_certifies_may_call_for_attempts_at_the_whole_delta(need: Need, turn: Need) -> None:
    share, error = broken_days(need, turn)
    assert share <= DELTA + 2 * error, (share, error)


def test_trying_until_something_is_certified_breaks_the_promise() -> None:
    share, error = broken_days(try_until_something_is_certified)
    assert share > DELTA + 3 * error, (share, error)


def test_attempts_at_doublings_keep_the_promise_whatever_they_gave() -> None:
    """From the first rows on, before there is a window to speak of."""
    rng = np.random.default_rng(20260702)
    at = [FEWEST * 2**power for power in range(6)]
    counts = rng.multinomial(1, [PLUS, MINUS, 1 - PLUS - MINUS], (4000, at[-1]))
    sums = counts.cumsum(axis=1)
    broken = np.array(
        [[drop_refuted(int(row[n - 1, 0]), int(row[n - 1, 1]), n, EPSILON, DELTA) for n in at] for row in sums]
    )
    error = np.sqrt(DELTA * (1 - DELTA) / len(broken))
    assert (broken.mean(axis=0) <= DELTA + 3 * error).all(), "at any moment the last attempt is in force"
    kept_once_certified = broken.any(axis=1).mean()
    assert kept_once_certified > 2 * DELTA, "and what was certified once may not stay because of it"
