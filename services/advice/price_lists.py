"""What a cascade's tiers cost, as the command line or a `cascade.toml` states it.

A price list is written as `0.1/0.4,2.5/10`: USD per million tokens in/out, a pair per tier,
cheapest tier first. A declared cascade has dated prices; the ones in force now count, since advice
is about tomorrow.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from knowgate.spec import CascadeSpec
from services.declaration.cascade_file import read_cascade_file
from services.errors import InputInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRates:
    """What a tier's tokens cost, and how many parameters work on each; None = not stated."""

    usd_per_million_in: float | None = None
    usd_per_million_out: float | None = None
    parameters: float | None = None

    @property
    def priced(self) -> bool:
        return self.usd_per_million_in is not None and self.usd_per_million_out is not None


def read_rates(prices: str | None, parameters: str | None, *, tiers: int, now: datetime) -> tuple[TierRates, ...]:
    """The rates of each of a table's `tiers` tiers, from `--prices` and `--parameters`.

    Raises InputInvalid for text that is not a price list and for a number of tiers other than the
    table's.
    """
    if prices is not None and (prices.endswith(".toml") or Path(prices).is_file()):
        rates = _declared(prices, now)
    else:
        rates = _listed(prices) if prices is not None else (TierRates(),) * tiers
    if len(rates) != tiers:
        raise InputInvalid(f"--prices {prices} states {len(rates)} tiers: the table has {tiers}; give one per tier")
    if parameters is None:
        return rates
    sizes = _per_tier(parameters, "--parameters", "sizes", "e.g. 8e9,70e9", tiers)
    return tuple(replace(rate, parameters=size) for rate, size in zip(rates, sizes, strict=True))


def read_latencies(text: str | None, *, tiers: int) -> tuple[float, ...] | None:
    """Milliseconds per tier from `120,900`. Raises InputInvalid for anything else, or for another
    number of tiers.
    """
    if text is None:
        return None
    return _per_tier(text, "--latency", "times", "milliseconds per tier, e.g. 120,900", tiers)


def _per_tier(text: str, option: str, what: str, cure: str, tiers: int) -> tuple[float, ...]:
    amounts = tuple(_amount(part, option, cure) for part in text.split(","))
    if len(amounts) != tiers:
        raise InputInvalid(f"{option} gives {len(amounts)} {what}: the table has {tiers} tiers")
    return amounts


def _declared(path: str, now: datetime) -> tuple[TierRates, ...]:
    return rates_of(read_cascade_file(path), now)


def rates_of(spec: CascadeSpec, now: datetime) -> tuple[TierRates, ...]:
    """The rates that a cascade declares, by the prices in force at `now`."""
    rates = []
    for tier in spec.tiers:
        price = tier.price_at(now)
        rates.append(
            TierRates(
                usd_per_million_in=None if price is None else price.usd_per_million_tokens_in,
                usd_per_million_out=None if price is None else price.usd_per_million_tokens_out,
                parameters=tier.parameters,
            )
        )
    return tuple(rates)


def _listed(text: str) -> tuple[TierRates, ...]:
    rates = []
    for pair in text.split(","):
        parts = pair.split("/")
        cure = "USD per million tokens in/out for each tier, e.g. 0.1/0.4,2.5/10, or a cascade.toml"
        if len(parts) != 2:
            raise InputInvalid(f"--prices has {pair!r}: give {cure}")
        price_in, price_out = (_amount(part, "--prices", cure) for part in parts)
        rates.append(TierRates(usd_per_million_in=price_in, usd_per_million_out=price_out))
    return tuple(rates)


def _amount(text: str, option: str, cure: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise InputInvalid(f"{option} has {text!r}: give {cure}; a number of at least 0")
    return amount
