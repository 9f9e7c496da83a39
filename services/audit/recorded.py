"""What the ledger keeps of people who look and of services that start.

What was shown is written down before it is shown, and where it cannot be written nothing is shown.
"""

import logging
import time
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from knowgate._wire.shown import shown_url
from services.settings import Settings, operator
from store import documents
from store.disclosures import Disclosure, Shown, add_disclosure
from store.engine import transaction
from store.service_starts import ServiceStart, add_start

log = logging.getLogger("knowgate.audit")

_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def disclose(engine: Engine, act: Shown, what: str, *, by: str, now: datetime) -> None:
    """Write down that something is about to be shown."""
    with transaction(engine) as session:
        add_disclosure(session, Disclosure(at=now, by=by, act=act, what=what))


def started(engine: Engine, settings: Settings, service: str, *, now: datetime) -> None:
    """Write down that a service starts with these settings. A database that is away for a moment is
    waited for, as it is later on; raises what it says where half a minute is not enough.
    """
    said = documents.write(dict(shown_settings(settings)))
    start = ServiceStart(at=now, by=operator(settings), service=service, settings=said)
    for wait_s in _WAITS_S:
        try:
            return _add(engine, start)
        except DBAPIError as error:
            log.warning("the start of %s is not written down yet, tried again in %g s: %s", service, wait_s, error.orig)
            time.sleep(wait_s)
    return _add(engine, start)


def _add(engine: Engine, start: ServiceStart) -> None:
    with transaction(engine) as session:
        add_start(session, start)


def shown_settings(settings: Settings) -> Mapping[str, str]:
    """The settings that were set, by their variables: addresses without what is secret in them, of
    a secret only that it was set.
    """
    given = settings.model_dump(mode="json", by_alias=True, exclude_unset=True)
    shown = {name: shown_url(str(value)) for name, value in given.items()}
    fields = [Settings.model_fields[name] for name in settings.model_fields_set]
    return shown | {str(field.alias): "(set)" for field in fields if field.exclude}
