"""A request's body as JSON whose every text a tier can be sent; what is wrong with it is said with
its place.
"""

import json
import math
from dataclasses import dataclass, replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from knowgate._wire import codec
from knowgate._wire.storable import fault_of_text
from knowgate.errors import RecordInvalid
from services.http.errors import ApiError

MOST_VALUES = 100_000  # of one conversation
SMALL = 1 << 14  # bytes that are parsed where they arrive; more would keep every other caller waiting
NEAR = 20  # characters of a malformed body that an error shows on either side


async def parsed_body(content: bytes) -> Any:
    """`parse_body`, beside the event loop where the body is not small."""
    return parse_body(content) if len(content) <= SMALL else await run_in_threadpool(parse_body, content)


def parse_body(content: bytes) -> Any:
    """The JSON value. Raises ApiError 400."""
    try:
        document = codec.parse(content, most_values=MOST_VALUES)
    except RecordInvalid as error:
        raise _malformed(content, error) from None
    _require_text(document)
    return document


def _malformed(content: bytes, error: RecordInvalid) -> ApiError:
    cause = error.__cause__
    if isinstance(cause, json.JSONDecodeError):
        near = cause.doc[max(0, cause.pos - NEAR) : cause.pos + NEAR]
        cure = f"{cause.msg} at line {cause.lineno}, column {cause.colno}: send valid JSON"
        return ApiError(400, field="body", value=near, cure=cure)
    if isinstance(cause, UnicodeDecodeError):
        near = ascii(content[max(0, cause.start - NEAR) : cause.start + NEAR])
        return ApiError(400, field="body", value=near, cure=f"byte {cause.start} is not UTF-8: send JSON in UTF-8")
    if isinstance(cause, ValueError):
        return ApiError(400, field="body", value=f"{len(content)} bytes", cure=f"send valid JSON: {cause}")
    return ApiError(400, field="body" if error.field == "document" else error.field, value=error.value, cure=error.cure)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    path: str  # within the body, with a mark before each step
    value: object
    cure: str
    of_key: bool = False


def _require_text(value: Any) -> None:
    """Raises ApiError 400 for what no request to a tier can hold: it would fail there, and be taken
    for the tier's.
    """
    fault = _fault_in(value)
    if fault is not None:
        place = fault.path.removeprefix(".") or "body"
        raise ApiError(400, field=f"a key of {place}" if fault.of_key else place, value=fault.value, cure=fault.cure)


def _fault_in(value: Any) -> _Fault | None:
    """The first fault within `value`. A path is made for a fault alone: names are the caller's, and
    may be long.
    """
    if isinstance(value, str):
        if (cure := fault_of_text(value)) is not None:
            return _Fault(path="", value=value, cure=cure)
    elif isinstance(value, float) and not math.isfinite(value):
        return _Fault(path="", value=str(value), cure="send a number that is not too large")
    elif isinstance(value, dict):
        for key, item in value.items():
            if (fault := _fault_in(key)) is not None:
                return replace(fault, of_key=True)
            if (fault := _fault_in(item)) is not None:
                return replace(fault, path=f".{key}{fault.path}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            if (fault := _fault_in(item)) is not None:
                return replace(fault, path=f"[{at}]{fault.path}")
    return None
