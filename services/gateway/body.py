"""A request's body as JSON whose every text a tier can be sent; what is wrong with it is said with
its place.
"""

import json
from typing import Any

from starlette.concurrency import run_in_threadpool

from knowgate._wire import codec
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
        return codec.sendable(codec.parse(content, most_values=MOST_VALUES))
    except RecordInvalid as error:
        raise _malformed(content, error) from None


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
