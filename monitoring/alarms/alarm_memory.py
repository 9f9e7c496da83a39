"""What an alarm remembers from one run to the next, and how its error level is spent.

A family is one watch of `evidence.alarms.alarms`: a start per day, a month of them planned. The
cascade's α is halved between the savings and the risk alarm, and the k-th family an alarm ever
opens has 6α/(π²k²) of its half: for a new month, a new champion or after an alarm a new family is
opened, and all of them together stay within α. The month's family before the newest keeps watching,
so that a loss at the turn of a month is not cut in two.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy.typing as npt

from evidence.alarms.alarms import AlarmRule, AlarmState, advance_watch, open_watch
from evidence.bounds.spending import alpha_for_start_month
from evidence.costs.savings import SeenCosts
from knowgate._wire import codec
from knowgate.errors import RecordInvalid
from monitoring.errors import AlarmStateInvalid
from monitoring.figures.cost_figures import all_costs
from monitoring.names import Rule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # daily cycles are counted from here
STARTS = 31  # daily cycles at whose beginning a family opens a start
KEPT_FAMILIES = 2
SLICES_AT_MOST = 100  # whose costs are remembered apart: a free-text slice must not fill the state
ALARMS_SHARING_ALPHA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One watch with its own share of α."""

    number: int  # k, from 1, over the alarm's whole life
    opened_at: datetime  # decision time of its first block's start
    watch: AlarmState


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmMemory:
    """An alarm between two runs; stored as JSON."""

    rule: Rule
    consumed_until: datetime  # decision time up to which rows were consumed, once and in order
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
    rule = AlarmRule(name=memory.rule.value, low=low, high=high, alpha=spent, starts=STARTS)
    family = Family(number=number, opened_at=at, watch=open_watch(rule))
    return replace(memory, families_opened=number, families=(*memory.families, family)[-KEPT_FAMILIES:])


def needs_family(memory: AlarmMemory, cycle: int) -> bool:
    """Whether rows of daily cycle `cycle` find no family whose planned starts reach that far."""
    if not memory.families:
        return True
    first = memory.families[-1].watch.first_cycle
    return first is not None and cycle - first >= STARTS


def without_other_ranges(memory: AlarmMemory, low: float, high: float) -> AlarmMemory:
    """Families of another range closed: a change of prices, bounds or target changes what a row may
    count.
    """
    fitting = tuple(f for f in memory.families if (f.watch.rule.low, f.watch.rule.high) == (low, high))
    return replace(memory, families=fitting)


def with_last_costs(memory: AlarmMemory, seen: Sequence[SeenCosts]) -> AlarmMemory:
    """With these costs of the last tier, those of all but the slices with most rows as one."""
    ordered = sorted(seen, key=lambda one: (one.slice is not None, one.rows), reverse=True)
    few = all_costs(ordered[SLICES_AT_MOST:])
    rest = (replace(few, slice=None),) if few.rows else ()
    return replace(memory, last_costs=(*ordered[:SLICES_AT_MOST], *rest))


def consume(memory: AlarmMemory, increments: npt.ArrayLike, cycles: npt.ArrayLike, *, until: datetime) -> AlarmMemory:
    """Every family moved on by one block of rows. After an alarm all of them are closed."""
    moved = tuple(replace(family, watch=advance_watch(family.watch, increments, cycles)) for family in memory.families)
    rung = [family.watch for family in moved if family.watch.alarmed]
    if rung:
        return replace(
            memory, families=(), raised_at=until, harm_since=_harm_since(rung[0]), consumed_until=until, idle=None
        )
    quiet = memory.raised_at is not None and _is_quiet(moved[-1])
    return replace(
        memory,
        families=moved,
        consumed_until=until,
        idle=None,
        raised_at=None if quiet else memory.raised_at,
    )


def _harm_since(watch: AlarmState) -> datetime | None:
    """The day of the start since which most has accumulated: a cumulative sum's estimate of where
    the change lies.

    Source: Page, Biometrika 41 (1954).
    """
    if watch.first_cycle is None or not watch.growth_at_start:
        return None
    start = min(range(len(watch.growth_at_start)), key=lambda index: watch.growth_at_start[index])
    return EPOCH + timedelta(days=watch.first_cycle + start)


def _is_quiet(family: Family) -> bool:
    """A family opened after an alarm that has seen more than a whole day, and no harm
    on average.
    """
    watch = family.watch
    if watch.first_cycle is None or watch.last_cycle is None or watch.mean_increment is None:
        return False
    return watch.last_cycle - watch.first_cycle >= 2 and watch.mean_increment <= 0.0
