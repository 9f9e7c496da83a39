"""A request's body: read up to a limit, parsed strictly.

The limit holds while the bytes arrive, so a body without a length cannot fill the memory. JSON is read without its
extensions: NaN, Infinity and a key given twice are refused here.
"""

from typing import Annotated, Any

from fastapi import Depends, Request

from knowgate import codec
from knowgate.errors import RecordInvalid
from services.api.context import InContext
from services.api.errors import ApiError

JSON_TYPE = "application/json"
VECTORS_TYPE = "application/vnd.knowgate.safetensors"


async def read_body(request: Request, context: InContext) -> bytes:
    """The body's bytes. Raises 413 past the limit, 415 for a compressed one."""
    return await read_limited(request, context.settings.max_body_bytes)


async def read_limited(request: Request, limit: int) -> bytes:
    """The same for a server of other settings."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ApiError(415, field="content-encoding", value=encoding, cure="send the body uncompressed")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise _too_large(length, limit)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(f"over {limit}", limit)
        parts.append(part)
    return b"".join(parts)


Body = Annotated[bytes, Depends(read_body)]


def media_type(request: Request) -> str:
    """The body's media type without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    """Raises 415 for a body that does not say that it is JSON; a form of another site's cannot say so."""
    if media_type(request) != JSON_TYPE:
        raise ApiError(415, field="content-type", value=media_type(request), cure=f"send {JSON_TYPE}")


def parse_json(body: bytes) -> Any:
    """The JSON value. Raises 400."""
    try:
        return codec.parse(body)
    except RecordInvalid as error:
        raise ApiError(400, field="body", value=error.value, cure=f"send valid JSON in UTF-8: {error.cure}") from None


def rows_of(document: Any, name: str) -> list[Any]:
    """The list under the one key `name`. Raises 400."""
    if not isinstance(document, dict) or not isinstance(document.get(name), list):
        raise ApiError(400, field=name, value=document, cure=f'send an object {{"{name}": [...]}}')
    unknown = sorted(set(document) - {name})
    if unknown:
        raise ApiError(400, field=unknown[0], value=document[unknown[0]], cure=f"send {name} alone")
    return list(document[name])


def _too_large(size: str, limit: int) -> ApiError:
    cure = f"send batches of at most {limit} bytes, or raise KNOWGATE_MAX_BODY_BYTES"
    return ApiError(413, field="body", value=f"{size} bytes", cure=cure)
