"""JSON documents in and out: text at the edge of this package, a JSON column within.

A document comes back canonical (keys sorted, no spaces), whichever database kept it and however
that orders keys.
"""

import json
from typing import Any

from store.errors import StoreError


def parse(document: str | bytes) -> Any:
    """The value of a JSON text. Raises StoreError when it is none, or holds NaN or an infinity."""
    try:
        return json.loads(document, parse_constant=_refuse)
    except ValueError as error:
        raise StoreError(f"document is no JSON ({error}); give the text of one JSON value") from error


def write(value: Any) -> str:
    """The canonical text of a JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")
