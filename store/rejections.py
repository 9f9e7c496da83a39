"""Rows of a batch that cannot be stored: named one by one, while the others are stored.

Some texts and numbers that JSON can say no database column can hold. One of them would fail a whole
statement, so they are looked for beforehand, and refused on both databases alike.
"""

from collections.abc import Iterable

from knowgate._records.receipts import Rejected
from knowgate._wire.storable import LARGEST_INTEGER, fault_of_text

WHOLE = f"whole numbers go up to {LARGEST_INTEGER}"
LEAST_CHANCE = 1e-9  # whose inverse, squared and summed, an estimate can still weigh by
NO_CHANCE = f"a propensity of at least {LEAST_CHANCE:g} is expected; leave it out where it is unknown"


def find_unstorable(index: int, fields: Iterable[tuple[str, str | float | None]]) -> Rejected | None:
    """The first of these named values that no column or estimate can hold; None when all can be
    stored.
    """
    for name, value in fields:
        if isinstance(value, str):
            cure = fault_of_text(value)
            if cure is not None:
                return Rejected(index=index, field=name, value=ascii(value[:80]), cure=cure)
        elif value is not None and value > LARGEST_INTEGER:
            return Rejected(index=index, field=name, value=str(value), cure=WHOLE)
        elif value is not None and value < LEAST_CHANCE and name.endswith("propensity"):
            return Rejected(index=index, field=name, value=str(value), cure=NO_CHANCE)
    return None


def all_storable(values: Iterable[object], propensities: Iterable[float]) -> bool:
    """Whether `find_unstorable` would name none of these: at a fraction of its cost, for all texts
    are looked at as one.
    """
    texts: list[str] = []
    for value in values:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, int) and value > LARGEST_INTEGER:
            return False
    return storable("".join(texts)) and min(propensities, default=1.0) >= LEAST_CHANCE


def storable(text: str) -> bool:
    """Whether a column can hold this text; one that cannot is in no row, and must not
    be asked for.
    """
    return fault_of_text(text) is None
