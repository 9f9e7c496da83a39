"""What may be said of the request that is being answered: which headers its calls to tiers carry
on, and who hears of each of these calls.

No tracing library is known here, and where nobody says anything it costs two look-ups per call.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})
# Enters a call to a model of this name, and is given what it came to: a reply, or a failure.
Watch = Callable[[str], AbstractContextManager[Callable[[object], None]]]

CARRIED: ContextVar[Mapping[str, str]] = ContextVar("knowgate_carried", default=NOTHING)
WATCHED: ContextVar[Watch | None] = ContextVar("knowgate_watched", default=None)
