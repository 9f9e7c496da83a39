"""A query of which nothing can be kept: no bundle is in force, it has expired, or the cascade is
watched or stopped.

Whoever asks waits for the last tier alone. With the exploration coin the tiers before it run too,
beside it, and are never served: that is what such a time teaches. Without the coin each of them is
logged as skipped, with the coin's chance, so a row says itself what it weighs. One that was to run
and was given up, since there was no room or the process ended, is logged as skipped with no chance:
nobody knows why it is not there, so certificates count it as the worst case.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from knowgate._bundles.bundle import Bundle
from knowgate._bundles.pair import Pair
from knowgate._deciding.exploration import coin_falls, row_rate
from knowgate._deciding.ruling import fault_in_force
from knowgate._deciding.setting import Setting
from knowgate._records.observation import Observation

NOT_ASKED = Observation(tokens_in=0, tokens_out=0)
GIVEN_UP = Observation(tokens_in=0, tokens_out=0, notes=("given up: it was to run beside the last tier",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observing:
    """How such a query is observed."""

    drawn: bool  # the coin fell: the tiers before the last run beside it
    rate: float  # the coin's chance


def observing_of(
    setting: Setting, pair: Pair | None, bundle: Bundle | None, decision_id: UUID, now: datetime
) -> Observing | None:
    """How the query is observed; None where something may be kept, and where nobody says which
    share to observe: without an assignment every tier is asked in turn, as each caller likes.
    """
    if pair is None or (_for_its_models(setting, bundle) and fault_in_force(pair, bundle, now) is None):
        return None
    rate = row_rate(pair.assignment, None)
    return Observing(drawn=coin_falls(setting.key, decision_id, rate), rate=rate)


def _for_its_models(setting: Setting, bundle: Bundle | None) -> bool:
    """Whether there is a tier that the bundle may keep, by the models that run here."""
    return bundle is None or any(setting.meets(bundle, tier) for tier in range(len(bundle.tiers)))
