"""Which receivers would not hear a message that was sent from here: what `knowgate doctor` finds
without sending one. `knowgate deliveries test` sends one.
"""

import importlib.util

from knowgate import CascadeSpec
from knowgate._records.receivers import ReceiverKind
from knowgate.errors import RecordInvalid
from monitoring.alerts.addressees import Addressee, everybody
from monitoring.alerts.through_apprise import MISSING

CURE = "`knowgate deliveries test --cascade {cascade}` shows who hears, where the scheduler's environment is another"


def unheard(spec: CascadeSpec) -> tuple[str, ...]:
    """What is wrong with each receiver of a cascade, as far as this process can see."""
    return tuple(f"receiver {one.key}: {wrong}" for one in everybody(spec) if (wrong := _wrong(one)) is not None)


def _wrong(one: Addressee) -> str | None:
    if one.kind is ReceiverKind.APPRISE and importlib.util.find_spec("apprise") is None:
        return MISSING
    try:
        one.address(None)
    except RecordInvalid as error:
        return error.cure
    return None
