"""Which runtimes serve a cascade, and how long ago each was heard of."""

from collections.abc import Sequence
from datetime import datetime

from services.pages import numbers
from store.releases.assignments import RuntimeState


def runtimes_sentence(runtimes: Sequence[RuntimeState], now: datetime) -> tuple[str, str]:
    """How many are heard of, in words, and the badge's tone.

    >>> runtimes_sentence((), datetime(2026, 1, 1))
    ('no runtime yet', 'open')
    """
    known = [one for one in runtimes if not one.gone(now)]
    if not known:
        return ("no runtime yet", "open") if not runtimes else ("no runtime for a week", "risk")
    refused, silent = sum(not one.accepted for one in known), sum(one.silent(now) for one in known)
    said = f"{len(known)} runtime{'' if len(known) == 1 else 's'}"
    said += f", heard of {numbers.age(max(one.seen_at for one in known), now)}"
    if silent:
        said += f"; {silent} silent"
    if refused:
        said += f"; {refused} refuse{'s' if refused == 1 else ''} what is in force"
    return said, "risk" if refused or silent else "plain"
