"""A request's body as JSON whose every text a tier can be sent; what is wrong with it is said with its place."""

import json
import math
from typing import Any

from knowgate import codec
from knowgate.errors import RecordInvalid
from services.api.errors import ApiError

DEEPEST = 64  # levels of lists and objects within each other
NEAR = 20  # characters of a malformed body that an error shows on either side


def parse_body(content: bytes) -> Any:
    """The JSON value. Raises ApiError 400."""
    try:
        document = codec.parse(content)
    except RecordInvalid as error:
        raise _malformed(content, error) from None
    _require_text(document, "", 0)
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
    if isinstance(cause, RecursionError):
        return _too_deep("body")
    if cause is not None:
        return ApiError(400, field="body", value=f"{len(content)} bytes", cure=f"send valid JSON: {cause}")
    return ApiError(400, field="body" if error.field == "document" else error.field, value=error.value, cure=error.cure)


def _require_text(value: Any, path: str, depth: int) -> None:
    """Raises ApiError 400 for what no request to a tier can hold: it would fail there, and be taken for the tier's."""
    if depth > DEEPEST:
        raise _too_deep(path)
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            cure = "send text without NUL characters and lone surrogates"
            raise ApiError(400, field=path or "body", value=value, cure=cure)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ApiError(400, field=path or "body", value=str(value), cure="send a number that is not too large")
    elif isinstance(value, dict):
        for key, item in value.items():
            _require_text(key, f"a key of {path or 'body'}", depth)
            _require_text(item, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            _require_text(item, f"{path}[{at}]", depth + 1)


def _too_deep(path: str) -> ApiError:
    cure = f"send lists and objects of at most {DEEPEST} levels"
    return ApiError(400, field=path.partition(".")[0].partition("[")[0] or "body", value="nested too deep", cure=cure)
