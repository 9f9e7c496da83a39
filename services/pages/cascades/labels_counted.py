"""How many labels there are until the next certificate, counted at most once a minute: of a million
decisions that takes a while, and nothing on a page is decided by it.
"""

from datetime import datetime, timedelta
from threading import Lock
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, Pool
from sqlalchemy.orm import Session

from services.labelling.progress import LabelProgress, label_progress

FRESH = timedelta(minutes=1)

_counted: "WeakKeyDictionary[Pool, dict[str, tuple[datetime, LabelProgress]]]" = WeakKeyDictionary()
_lock = Lock()


def labels_counted(session: Session, cascade: str, *, now: datetime) -> LabelProgress:
    """Where labelling stands, as of a minute ago at the latest. Raises CascadeUnknown."""
    engine = session.get_bind()
    assert isinstance(engine, Engine)
    pool = engine.pool  # one per database; engines with options of their own share it
    with _lock:
        known = _counted.setdefault(pool, {}).get(cascade)
    if known is not None and timedelta() <= now - known[0] < FRESH:
        return known[1]
    progress = label_progress(session, cascade, now=now)
    with _lock:
        _counted[pool][cascade] = (now, progress)
    return progress
