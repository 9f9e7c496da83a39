"""An alarm that may be looked at any time and still rings falsely with probability ≤ α.

A p-value looked at every five minutes is sure to be small some day. Here each start s of the watch
has a wealth E_{s,t} that grows only if the increments D since s are positive on average; Ville's
inequality bounds how often it ever passes 1/α under "harmless". The hypothesis is about the running
mean, because costs and errors cycle with the day, and starts lie at whole daily cycles, each with
its share of the weight:

    Y = (D − lo)/(hi − lo), m = −lo/(hi − lo), Ŷ = mean of past Y (m counts as one row)
    ψ(l) = −log(1 − l) − l
    E_{s,t} = mean over l of exp(l·Σ(Y − m) − ψ(l)·Σ(Y − Ŷ)²), sums over s ≤ i ≤ t
    M_t = Σ_{s ≤ t} w_s·E_{s,t} + Σ_{s > t} w_s; alarm at M_t ≥ 1/α

Ŷ is predictable and common to all starts, so both sums are differences of running totals: a block
costs O(starts), and the state is small enough for one database row. Rows are consumed once, in
order; the totals come out bit for bit the same however the rows are cut into blocks (M is looked at
when a block ends).

Sources: Fan, Grama & Liu, EJP 20 (2015) (the inequality); Howard et al., Annals of Statistics 49
(2021) (ψ_E with a predictable centre); Shin, Ramdas & Rinaldo, "E-detectors" (arXiv 2203.03532)
(mixing over starts).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, count, level, number, real_array, same_length

_BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.4])
_PSI = -np.log1p(-_BETS) - _BETS


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRule:
    """What is watched: increments D in [low, high] whose running mean is ≤ 0 while all is well."""

    name: str
    low: float  # the smallest D possible, < 0
    high: float  # the largest D possible, > 0
    alpha: float  # the false-alarm probability of this family of starts
    starts: int  # planned starts (cycles from the first on), each with weight 1 / starts

    def __post_init__(self) -> None:
        number("low", self.low), number("high", self.high), level("alpha", self.alpha)
        count("starts", self.starts, low=1)
        if not self.low < 0.0 < self.high:
            raise InvalidInputError(f"low is {self.low}, high {self.high}, expected low < 0 < high; set the range of D")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmState:
    """Where a watch stands; made by `open_watch`, moved on by `advance_watch`, kept as JSON in
    between.
    """

    rule: AlarmRule
    rows: int  # consumed so far
    last_cycle: int | None  # of the last row consumed
    first_cycle: int | None
    growth: float  # Σ(Y − m) since the first row
    variation: float  # Σ(Y − Ŷ)² since the first row
    growth_at_start: tuple[float, ...]  # the two totals when each start so far was opened
    variation_at_start: tuple[float, ...]
    log_wealth: float  # log M_t after the last block
    alarm_row: int | None  # rows consumed when M first reached 1/α; stays

    @property
    def alarmed(self) -> bool:
        return self.alarm_row is not None

    @property
    def mean_increment(self) -> float | None:
        """Mean D since the first row, in D's own unit; None before any row."""
        return self.growth / self.rows * (self.rule.high - self.rule.low) if self.rows else None


def open_watch(rule: AlarmRule) -> AlarmState:
    """A watch that has seen nothing: M = 1.

    Examples:
        >>> open_watch(AlarmRule(name="risk", low=-1.0, high=1.0, alpha=0.05, starts=30)).log_wealth
        0.0
    """
    return AlarmState(
        rule=rule,
        rows=0,
        last_cycle=None,
        first_cycle=None,
        growth=0.0,
        variation=0.0,
        growth_at_start=(),
        variation_at_start=(),
        log_wealth=0.0,
        alarm_row=None,
    )


def advance_watch(state: AlarmState, increments: npt.ArrayLike, cycles: npt.ArrayLike) -> AlarmState:
    """The state after one more block of rows, in order of decision time.

    Args: increments D [n] in [low, high]; cycles [n], the whole daily cycle each row falls in (days
    since an epoch, never falling): a start is opened at the first row of every new cycle while
    planned starts remain.

    Raises InvalidInputError on an increment out of range or a cycle that goes back (the row was
    consumed before).

    Examples:
        >>> watch = open_watch(AlarmRule(name="risk", low=-1.0, high=1.0, alpha=0.05, starts=2))
        >>> advance_watch(watch, [0.5] * 99, [0] * 99).alarmed, advance_watch(watch, [-0.5] * 99,
        ...     [0] * 99).alarmed
        (True, False)
    """
    rule = state.rule
    d = real_array("increments", increments, low=rule.low, high=rule.high)
    days = real_array("cycles", cycles)
    same_length(increments=d, cycles=days)
    days_before = days[0] if state.last_cycle is None else float(state.last_cycle)
    steps = np.diff(np.concatenate([[days_before], days]))
    if (steps < 0).any() or (days != np.floor(days)).any():
        row = int(np.argmax((steps < 0) | (days != np.floor(days))))
        raise InvalidInputError(f"cycles[{row}] is {days[row]}, expected whole days that never fall; consume rows once")
    growth, variation = _running_totals(state, d)
    first = int(days[0]) if state.first_cycle is None else state.first_cycle
    opened = _new_starts(state, days, first)
    moved = replace(
        state,
        rows=state.rows + len(d),
        last_cycle=int(days[-1]),
        first_cycle=first,
        growth=float(growth[-1]),
        variation=float(variation[-1]),
        growth_at_start=state.growth_at_start + tuple(float(growth[row]) for row in opened),
        variation_at_start=state.variation_at_start + tuple(float(variation[row]) for row in opened),
    )
    wealth = _log_wealth(moved)
    rings = wealth >= -np.log(rule.alpha)
    return replace(moved, log_wealth=wealth, alarm_row=moved.rows if rings and not state.alarmed else state.alarm_row)


def _running_totals(state: AlarmState, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Totals before the first new row and after each [n + 1]; accumulated one by one, so blocks do
    not matter.
    """
    low, high = state.rule.low, state.rule.high
    m = -low / (high - low)
    deviation = (d - low) / (high - low) - m
    growth = np.cumsum(np.concatenate([[state.growth], deviation]))
    # Ŷ before row i = (m + ΣY_{<i}) / i, which is m + Σ(Y − m)_{<i} / i.
    centre = np.clip(growth[:-1] / np.arange(state.rows + 1, state.rows + len(d) + 1), -m, 1.0 - m)
    variation = np.cumsum(np.concatenate([[state.variation], (deviation - centre) ** 2]))
    return growth, variation


def _new_starts(state: AlarmState, days: FloatArray, first: int) -> list[int]:
    """The rows before which starts open: one per cycle, also for cycles without traffic, as many as
    are planned.
    """
    opened: list[int] = []
    number_open = len(state.growth_at_start)
    for day in np.unique(days):
        due = min(int(day) - first + 1, state.rule.starts) - number_open
        if due > 0:
            opened.extend([int(np.searchsorted(days, day))] * due)
            number_open += due
    return opened


def _log_wealth(state: AlarmState) -> float:
    growth = state.growth - np.array(state.growth_at_start)
    variation = state.variation - np.array(state.variation_at_start)
    exponents = _BETS * growth[:, None] - _PSI * variation[:, None]  # [starts, bets]
    opened = logsumexp(exponents) - np.log(len(_BETS))
    waiting = state.rule.starts - len(growth)
    total = np.logaddexp(opened, np.log(waiting)) if waiting else opened
    return float(total - np.log(state.rule.starts))
