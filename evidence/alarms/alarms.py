"""An alarm that may be looked at any time and still rings falsely with probability ≤ α.

A p-value looked at every five minutes is sure to be small some day. Here each start s of the watch
is a game: what it wins with bets that D since s is positive on average, E_{s,t}, starts at 1, and
Ville's inequality bounds how often it ever passes 1/α under "harmless". The hypothesis is about the
running mean, because costs and errors cycle with the day, and starts lie at whole daily cycles,
each with its share w_s of the weight, Σ w_s = 1:

    H0: Σ E[D_i | past] ≤ 0 over s ≤ i ≤ t, for every start s
    Y = (D − lo)/(hi − lo), m = −lo/(hi − lo)
    E_{s,t} = mean over bets l of Π(1 + l·(Y_i − m)) over s ≤ i ≤ t
    M_t = Σ_{s ≤ t} w_s·E_{s,t} + Σ_{s > t} w_s; alarm at M_t ≥ 1/α

Every bet is constant, so that Π(1 + l·(μ_i − m)) ≤ exp(l·Σ(μ_i − m)) ≤ 1 with μ_i = E[Y_i | past]:
the product of a start is at most a martingale wherever H0 holds of it. A bet that followed the data
would need μ_i ≤ m at each step, which a daily cycle breaks. The bets halve from .9/m, the largest
that no row can ruin: to second order one of them wins 8/9 of what the best constant one would.

**Read less often, H0 asks less.** Whatever the μ_i are, L_{s,t} = Π(1 + l·(Y_i − m))/(1 + l·(μ_i −
m)) is a martingale that starts at 1, and E_{s,t} ≤ L_{s,t}·exp(l·Σ(μ_i − m)). At a time t at which
no start's sum is above 0, M_t is at most Σ w_s·L_{s,t}, which by Ville's inequality ever passes 1/α
with probability ≤ α, at whatever times it is looked at. So H0 has to hold only at the times at
which M is read. A rule of `whole_cycles` is read when a cycle has ended and at no other time. Then
H0 is of whole cycles: those since each start are harmless taken together, however their hours
differ. A bad morning before a good afternoon is then no harm, while read at noon it would be one.
The price is that nothing is heard before a cycle ends. It needs nothing of single hours and not
that one day is like the next, but that a day's own sum is harmless; where the number of rows in an
hour is chance (Poisson with rate λ_h), its mean: E Π(1 + l·(Y_i − m)) = exp(l·Σ_h λ_h·(μ_h − m)).

A bet's total is common to all starts, so E_{s,t} is a difference of running totals: a block costs
O(starts), and the state is small enough for one database row. Rows are consumed once, in order; the
totals come out bit for bit the same however the rows are cut into blocks. M is read when a block
ends, or at the ends of whole cycles, also of those that end within a block.

Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86
(2024) (the products); Ville, Étude critique de la notion de collectif (1939) (the inequality);
Shin, Ramdas & Rinaldo, "E-detectors" (arXiv 2203.03532) (mixing over starts).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evidence.errors import InvalidInputError
from evidence.inputs import FloatArray, count, level, number, real_array, same_length

_LARGEST_BET = 0.9  # times 1/m: a row of the smallest D leaves a tenth
_BETS = 8  # each half of the one before: the smallest is .7 % of the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRule:
    """What is watched: increments D in [low, high] whose running mean is ≤ 0 while all is well."""

    name: str
    low: float  # the smallest D possible, < 0
    high: float  # the largest D possible, > 0
    alpha: float  # the false-alarm probability of this family of starts
    starts: int  # planned starts (cycles from the first on), each with weight 1 / starts
    whole_cycles: bool = False  # M is read at the ends of cycles alone, not whenever a block ends

    def __post_init__(self) -> None:
        number("low", self.low), number("high", self.high), level("alpha", self.alpha)
        count("starts", self.starts, low=1)
        if not self.low < 0.0 < self.high:
            raise InvalidInputError(f"low is {self.low}, high {self.high}, expected low < 0 < high; set the range of D")

    @property
    def harmless(self) -> float:
        """m: where D = 0 lies in its range, from 0 to 1."""
        return -self.low / (self.high - self.low)


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
    log_capital: tuple[float, ...]  # per bet Σ log(1 + l·(Y − m)) since the first row
    growth_at_start: tuple[float, ...]  # both when each start so far was opened
    log_capital_at_start: tuple[tuple[float, ...], ...]
    log_wealth: float  # log M_t as it was last read
    alarm_row: int | None  # rows consumed when M first reached 1/α; stays

    def __post_init__(self) -> None:
        for capital in (self.log_capital, *self.log_capital_at_start):
            if len(capital) != _BETS:
                raise InvalidInputError(f"log_capital has {len(capital)} bets, expected {_BETS}; open a watch anew")

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
        log_capital=(0.0,) * _BETS,
        growth_at_start=(),
        log_capital_at_start=(),
        log_wealth=0.0,
        alarm_row=None,
    )


def advance_watch(state: AlarmState, increments: npt.ArrayLike, cycles: npt.ArrayLike) -> AlarmState:
    """The state after one more block of rows, in order of decision time.

    Args: increments D [n] in [low, high]; cycles [n], the whole daily cycle each row falls in (days
    since an epoch, never falling): a start is opened at the first row of every new cycle while
    planned starts remain. A rule of `whole_cycles` is read where a row shows that a cycle has ended
    (`read_watch` reads it where no row does), any other once, after the last row.

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
    if not rule.whole_cycles:
        return _read(_moved(state, d, days))
    for rows in np.split(np.arange(len(d)), np.flatnonzero(np.diff(days)) + 1):
        state = _moved(read_watch(state, int(days[rows[0]])), d[rows], days[rows])
    return state


def read_watch(state: AlarmState, cycle: int) -> AlarmState:
    """The state where no row of a cycle before `cycle` will come any more: a rule of `whole_cycles`
    is read if that ends one.

    Examples:
        >>> rule = AlarmRule(name="a", low=-1.0, high=1.0, alpha=0.05, starts=2, whole_cycles=True)
        >>> bad = advance_watch(open_watch(rule), [0.5] * 99, [0] * 99)
        >>> bad.alarmed, read_watch(bad, 0).alarmed, read_watch(bad, 1).alarmed
        (False, False, True)
    """
    ended = state.rule.whole_cycles and state.last_cycle is not None and cycle > state.last_cycle
    return _read(state) if ended else state


def _read(state: AlarmState) -> AlarmState:
    won = np.array(state.log_capital) - np.array(state.log_capital_at_start)
    wealth = float(log_wealth(won, state.rule.starts))
    rings = wealth >= -np.log(state.rule.alpha)
    return replace(state, log_wealth=wealth, alarm_row=state.rows if rings and not state.alarmed else state.alarm_row)


def _moved(state: AlarmState, d: FloatArray, days: FloatArray) -> AlarmState:
    """With these rows in the totals; M is not read."""
    growth, capital = _running_totals(state, d)
    first = int(days[0]) if state.first_cycle is None else state.first_cycle
    opened = _new_starts(state, days, first)
    return replace(
        state,
        rows=state.rows + len(d),
        last_cycle=int(days[-1]),
        first_cycle=first,
        growth=float(growth[-1]),
        log_capital=tuple(capital[:, -1].tolist()),
        growth_at_start=state.growth_at_start + tuple(float(growth[row]) for row in opened),
        log_capital_at_start=state.log_capital_at_start + tuple(tuple(capital[:, row].tolist()) for row in opened),
    )


def _running_totals(state: AlarmState, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Σ(Y − m) [n + 1] and the log capital of each bet [bets, n + 1], before the first new row and
    after each; accumulated one by one, so blocks do not matter.
    """
    rule = state.rule
    deviation = (d - rule.low) / (rule.high - rule.low) - rule.harmless
    won = np.log1p(np.outer(bets(rule), deviation))  # [bets, n]
    capital = np.cumsum(np.column_stack([state.log_capital, won]), axis=1)
    return np.cumsum(np.concatenate([[state.growth], deviation])), capital


def bets(rule: AlarmRule) -> FloatArray:
    """The bets, from the boldest on.

    Examples:
        >>> bets(AlarmRule(name="risk", low=-1.0, high=1.0, alpha=0.05, starts=2))[:3].tolist()
        [1.8, 0.9, 0.45]
    """
    return np.asarray(_LARGEST_BET / rule.harmless * 0.5 ** np.arange(_BETS))


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


def log_wealth(won: FloatArray, starts: int) -> FloatArray:
    """log M of each watch [...], from what each bet of its open starts has won [..., open, bets]
    (logs); the planned `starts` that are not open yet keep what they began with.

    Examples:
        >>> float(np.exp(log_wealth(np.log([[3.0, 5.0]]), 2)))
        2.5
    """
    waiting = starts - won.shape[-2]
    largest = np.maximum(won.max(axis=(-2, -1)), 0.0 if waiting else -np.inf)  # its exponential might overflow
    total = np.exp(won - largest[..., None, None]).mean(axis=-1).sum(axis=-1) + waiting * np.exp(-largest)
    return np.asarray(largest + np.log(total / starts))
