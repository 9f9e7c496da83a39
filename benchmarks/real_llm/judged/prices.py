"""What an answer costs: processor seconds as measured, and with a declared price of a search.

Some prompts were asked alone, and what their prompt and their answer took was measured apart. Per
tier a token that is read and a token that is written take what they took there on average; every
question then costs by its tokens. That is how knowgate prices tokens too, so a tier that a gate
ends before it answers costs its prompt (`CascadeRows.early`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from benchmarks.real_llm.recording import Outcomes
from knowgate._records.arrays import FloatArray

SEARCH_USD = 0.005  # declared: what search services ask for, 5 USD for a thousand
PROCESSOR_USD_PER_HOUR = 0.05  # declared: of one core, rented


class Pricing(StrEnum):
    """In what costs are counted."""

    PROCESSOR = "processor"  # seconds of both tiers; looking the record up is free
    SEARCH = "search"  # USD: those seconds at a core's price, and the last tier's search


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSeconds:
    """Processor seconds of one tier's tokens."""

    read: float  # up to the probed layer
    written: float  # and whatever else an answer takes
    n: int  # prompts that were measured
    error: float  # root mean square of what they took against what their tokens say, over the mean

    def of(self, outcomes: Outcomes) -> FloatArray:
        """[n] seconds of each question."""
        return self.read * outcomes.tokens_in + self.written * outcomes.tokens_out


def token_seconds(outcomes: Outcomes) -> TokenSeconds:
    """From the prompts that were asked alone; at least one is expected."""
    known = np.isfinite(outcomes.whole_s)
    read_s, whole_s = outcomes.read_s[known], outcomes.whole_s[known]
    tokens_in, tokens_out = outcomes.tokens_in[known], outcomes.tokens_out[known]
    read = float(read_s.sum() / tokens_in.sum())
    written = float((whole_s - read_s).sum() / tokens_out.sum())
    missed = whole_s - (read * tokens_in + written * tokens_out)
    error = float(np.sqrt(np.square(missed).mean()) / whole_s.mean())
    return TokenSeconds(read=read, written=written, n=int(known.sum()), error=error)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Costs:
    """What every question costs at every tier."""

    tiers: tuple[FloatArray, ...]  # per tier [n]
    early: Mapping[int, float]  # of the tier that a gate may end: a token read beside one written


def costs_of(tiers: Sequence[Outcomes], pricing: Pricing) -> Costs:
    """The questions' costs under a pricing."""
    rates = [token_seconds(one) for one in tiers]
    taken = [rate.of(one) for rate, one in zip(rates, tiers, strict=True)]
    if pricing is Pricing.SEARCH:
        taken = [seconds * PROCESSOR_USD_PER_HOUR / 3600.0 for seconds in taken]
        taken[-1] = taken[-1] + SEARCH_USD
    return Costs(tiers=tuple(taken), early={0: rates[0].read / rates[0].written})
