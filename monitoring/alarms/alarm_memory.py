"""What an alarm remembers from one run to the next, and how its error level is spent.

A family is one watch of `evidence.alarms.alarms`: a start per day, a month of them planned. The
cascade's α is halved between the savings and the risk alarm, and the k-th family an alarm ever
opens has 6α/(π²k²) of its half: for a new month, a new champion or after an alarm a new family is
opened, and all of them together stay within α. The month's family before the newest keeps watching,
so that a loss at the turn of a month is not cut in two.

Savings are read at the ends of whole days alone, counted in decision time from where a family
opens: they swing with the hour, and what is read at noon would be the morning's. The risk alarm is
read after every block, and its days are those of UTC. A day has ended when decisions have been
consumed up to its end, whether or not any fell into its last hours; one of which hours were not
watched would not be whole, so that a family does not go on after a hole.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from evidence.alarms.alarms import AlarmRule, AlarmState, advance_watch, open_watch, read_watch
from evidence.bounds.spending import alpha_for_start_month
from evidence.costs.savings import SeenCosts
from knowgate._records.arrays import FloatArray
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from monitoring.errors import AlarmStateInvalid
from monitoring.figures.cost_figures import all_costs
from monitoring.names import Rule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # UTC days are counted from here
DAY = timedelta(days=1)
STARTS = 31  # daily cycles at whose beginning a family opens a start
KEPT_FAMILIES = 2
SLICES_AT_MOST = 100  # whose costs are remembered apart: a free-text slice must not fill the state
ALARMS_SHARING_ALPHA = 2
TimeArray = npt.NDArray[np.datetime64]  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One watch with its own share of α."""

    number: int  # k, from 1, over the alarm's whole life
    opened_at: datetime  # decision time from which on rows count
    watch: AlarmState

    @property
    def days_from(self) -> datetime:
        """Where one of its days begins."""
        return self.opened_at if self.watch.rule.whole_cycles else EPOCH

    @property
    def ends_at(self) -> datetime | None:
        """When its planned starts are used up; None before its first row."""
        first = self.watch.first_cycle
        return None if first is None else self.days_from + (first + STARTS) * DAY

    def advanced(self, increments: FloatArray, at: TimeArray, until: datetime) -> "Family":
        """With the rows since it opened, and everything up to `until` consumed."""
        watch, own = self.watch, at >= _naive(self.opened_at)
        if own.any():
            watch = advance_watch(watch, increments[own], (at[own] - _naive(self.days_from)) // np.timedelta64(1, "D"))
        return replace(self, watch=read_watch(watch, (until - self.days_from) // DAY))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmMemory:
    """An alarm between two runs; stored as JSON."""

    rule: Rule
    consumed_until: datetime  # decision time up to which rows were consumed, once and in order
    counts_from: datetime | None = None  # decision time from which on a champion's savings count; None: not yet
    basis: str | None = None  # what is watched against: a champion's promise, or a target; a change opens a family
    unit: str | None = None  # of costs, in the savings alarm
    least_propensity: float | None = None  # of the risk alarm's rows; it scales what they count
    coin_seen_at: datetime | None = None  # decision time of the newest row whose label was drawn by a coin
    forecast_share: float = 0.0  # of a grader's forecast that a risk alarm uses, from the first forecast on
    families_opened: int = 0
    families: tuple[Family, ...] = ()
    raised_at: datetime | None = None  # end of the block in which it rang; None = quiet, or quiet again
    harm_since: datetime | None = None  # the day from which on the last alarm's harm was seen
    last_costs: tuple[SeenCosts, ...] = ()  # by slice, beside the last tier's price of the first attempt's tokens
    cut_rows: int = 0  # rows beyond the declared bounds, cut to them
    idle: str | None = None  # why the last block was not watched

    @property
    def log_wealth(self) -> float | None:
        """The largest log wealth among its families; None while nothing is watched."""
        return max((family.watch.log_wealth for family in self.families), default=None)

    @property
    def forecast_ratio(self) -> float:
        """ΣC_last beside the sum of its forecasts by price, over all slices; 1 before any."""
        seen = all_costs(self.last_costs)
        return seen.cost / seen.size if seen.size else 1.0

    @property
    def forecast_rows(self) -> int:
        """Rows that it rests on."""
        return all_costs(self.last_costs).rows

    @property
    def rows(self) -> int:
        """Rows consumed by the newest family."""
        return self.families[-1].watch.rows if self.families else 0


def memory_to_json(memory: AlarmMemory) -> str:
    """The memory as JSON; numbers come back bit for bit."""
    return codec.canonical(memory).decode()


def memory_from_json(text: str) -> AlarmMemory:
    """What `memory_to_json` wrote, or a former version's. Raises AlarmStateInvalid on anything
    else.
    """
    try:
        return codec.decode(AlarmMemory, _without_former(json.loads(text)))
    except (RecordInvalid, ValueError) as error:
        raise AlarmStateInvalid(
            f"the stored alarm state cannot be continued ({error}): delete it to start anew"
        ) from error


def _without_former(document: object) -> object:
    """The document without families that bet in the former way, by exponentials less a variance,
    and without a mean of cost ratios.

    What they had won cannot be carried over. They are closed, and what they spent stays spent: the
    next block opens a family with the next share of α. Of the ratio the sums are not known.
    """
    if not isinstance(document, dict) or not isinstance(document.get("families"), list):
        return document
    document = {name: value for name, value in document.items() if name not in ("ratio", "ratio_rows")}
    former = any(isinstance(one, dict) and "variation" in (one.get("watch") or ()) for one in document["families"])
    return document | {"families": []} if former else document


def open_family(memory: AlarmMemory, *, low: float, high: float, alpha: float, at: datetime) -> AlarmMemory:
    """A further family, watching increments in [low, high]; `alpha` is the cascade's, of all alarms
    together.
    """
    number = memory.families_opened + 1
    spent = alpha_for_start_month(alpha / ALARMS_SHARING_ALPHA, number)
    whole_days = _read_at_whole_days(memory)
    rule = AlarmRule(name=memory.rule.value, low=low, high=high, alpha=spent, starts=STARTS, whole_cycles=whole_days)
    family = Family(number=number, opened_at=at, watch=open_watch(rule))
    return replace(memory, families_opened=number, families=(*memory.families, family)[-KEPT_FAMILIES:])


def needs_family(memory: AlarmMemory, at: datetime) -> bool:
    """Whether rows of this time find no family whose planned starts reach that far."""
    if not memory.families:
        return True
    ends_at = memory.families[-1].ends_at
    return ends_at is not None and at >= ends_at


def fitting_families(memory: AlarmMemory, low: float, high: float) -> AlarmMemory:
    """Families of another range closed: a change of prices, bounds or target changes what a row may
    count. So are those of former versions that were not read at whole days.
    """
    wanted = (low, high, _read_at_whole_days(memory))
    rules = [(family, family.watch.rule) for family in memory.families]
    fitting = tuple(family for family, rule in rules if (rule.low, rule.high, rule.whole_cycles) == wanted)
    return replace(memory, families=fitting)


def _read_at_whole_days(memory: AlarmMemory) -> bool:
    return memory.rule is Rule.SAVINGS


def _naive(at: datetime) -> np.datetime64:
    """As the times of rows are compared."""
    return np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us")


def with_last_costs(memory: AlarmMemory, seen: Sequence[SeenCosts]) -> AlarmMemory:
    """With these costs of the last tier, those of all but the slices with most rows as one."""
    ordered = sorted(seen, key=lambda one: (one.slice is not None, one.rows), reverse=True)
    few = all_costs(ordered[SLICES_AT_MOST:])
    rest = (replace(few, slice=None),) if few.rows else ()
    return replace(memory, last_costs=(*ordered[:SLICES_AT_MOST], *rest))


def consume(memory: AlarmMemory, increments: FloatArray, at: TimeArray, *, until: datetime) -> AlarmMemory:
    """Every family moved on by a block of rows, which may be none, up to the block's end `until`.
    After an alarm all of them are closed.
    """
    moved = tuple(family.advanced(increments, at, until) for family in memory.families)
    rung = [family for family in moved if family.watch.alarmed]
    if rung:
        return replace(
            memory, families=(), raised_at=until, harm_since=_harm_since(rung[0]), consumed_until=until, idle=None
        )
    quiet = memory.raised_at is not None and bool(moved) and _is_quiet(moved[-1])
    return replace(
        memory,
        families=moved,
        consumed_until=until,
        idle=None,
        raised_at=None if quiet else memory.raised_at,
    )


def _harm_since(family: Family) -> datetime | None:
    """The day of the start since which most has accumulated: a cumulative sum's estimate of where
    the change lies.

    Source: Page, Biometrika 41 (1954).
    """
    watch = family.watch
    if watch.first_cycle is None or not watch.growth_at_start:
        return None
    start = min(range(len(watch.growth_at_start)), key=lambda index: watch.growth_at_start[index])
    return family.days_from + (watch.first_cycle + start) * DAY


def _is_quiet(family: Family) -> bool:
    """A family opened after an alarm that has seen more than a whole day, and no harm on average;
    where it is read at whole days, up to the end of the last.
    """
    watch = family.watch
    if watch.first_cycle is None or watch.last_cycle is None or watch.last_cycle - watch.first_cycle < 2:
        return False
    return (watch.growth_at_start[-1] if watch.rule.whole_cycles else watch.growth) <= 0.0
