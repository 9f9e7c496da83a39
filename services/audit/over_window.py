"""What a bundle would have done with the decisions of a window, read from the store."""

from typing import TYPE_CHECKING

from sqlalchemy import Engine

from evidence.errors import InvalidInputError
from knowgate import Bundle, Window
from services.errors import InputInvalid
from store.engine import reading
from store.releases import cascades

if TYPE_CHECKING:
    from datetime import datetime

    from monitoring.alarms.what_if import WhatIf


def over_window(engine: Engine, bundle: Bundle, window: Window, *, now: "datetime") -> "WhatIf":
    """The bundle over its cascade's decisions, with the labels of `now`. Raises CascadeUnknown, and
    InputInvalid where nothing can be compared.
    """
    from monitoring.alarms.what_if import what_if
    from monitoring.watching.reader import Reader  # pandas and scipy: not for every command

    with reading(engine) as session:
        cascades.cascade_version(session, bundle.document.cascade)
    try:
        return what_if(Reader(engine, bundle.document.cascade, now=now).cohort(window), bundle)
    except InvalidInputError as error:
        raise InputInvalid(str(error)) from None
