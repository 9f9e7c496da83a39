"""A request's body: read up to a limit, parsed strictly.

The limit holds while the bytes arrive, so a body without a length cannot fill the memory; and they
must go on arriving, so that nobody keeps a connection by sending hardly anything. An address that
opens without a token reads a form of a few KiB at most. JSON is read without its extensions: NaN,
Infinity and a key given twice are refused here.
"""

import asyncio
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Depends, Request

from knowgate._shipping.client import JSON_MEDIA_TYPE
from knowgate._wire import codec
from knowgate._wire.digests import CONTENT_DIGEST, is_as_sent
from knowgate.errors import RecordInvalid
from services.http.context import InContext
from services.http.errors import ApiError

MOST_ROWS = 100_000  # of one batch; each bad one is named in the answer
CHANGED = 409  # no 400: the rows are as good as before, and are to be sent again
FORM_BYTES = 4096
FORM_FIELDS = 8
FIRST_WORD_S = 30.0  # a body has this long, and a second more for every
SLOWEST = 16 * 2**10  # bytes that have come


async def read_body(request: Request, context: InContext) -> bytes:
    """The body's bytes. Raises 413 past the limit, 415 for a compressed one, 408 for one that does
    not go on.
    """
    return await read_limited(request, context.settings.max_body_bytes)


async def read_limited(
    request: Request, limit: int, *, cure: str | None = None, first_word_s: float = FIRST_WORD_S
) -> bytes:
    """The same for a server of other settings, or an address of a limit of its own, whose `cure` it
    is.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ApiError(415, field="content-encoding", value=encoding, cure="send the body uncompressed")
    cure = cure or f"send batches of at most {limit} bytes, or raise KNOWGATE_MAX_BODY_BYTES"
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length[:20]) > limit:
        raise ApiError(413, field="body", value=f"{length[:20]} bytes", cure=cure)
    parts, size = [], 0
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(first_word_s) as patience:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise ApiError(413, field="body", value=f"over {limit} bytes", cure=cure)
                parts.append(part)
                patience.reschedule(started + first_word_s + size / SLOWEST)
    except TimeoutError:
        cure = f"send at least {SLOWEST} bytes a second, or smaller batches"
        raise ApiError(408, field="body", value=f"{size} bytes so far", cure=cure) from None
    body = b"".join(parts)
    said = request.headers.get(CONTENT_DIGEST)
    if is_as_sent(said, body) is False:
        cure = "the body is not what was sent: it was changed on its way; send it again"
        raise ApiError(CHANGED, field="content-digest", value=said, cure=cure)
    return body


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, each as it stands first. Raises 413 for a large one, 400 for one of
    many fields.
    """
    content = await read_limited(request, FORM_BYTES, cure=f"a form has at most {FORM_BYTES} bytes")
    try:
        fields = parse_qs(content.decode("utf-8", "replace"), max_num_fields=FORM_FIELDS)
    except ValueError:
        cure = f"a form has at most {FORM_FIELDS} fields"
        raise ApiError(400, field="body", value="more fields", cure=cure) from None
    return {name: values[0] for name, values in fields.items()}


Form = Annotated[dict[str, str], Depends(read_form)]
Body = Annotated[bytes, Depends(read_body)]


def media_type(request: Request) -> str:
    """The body's media type without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    """Raises 415 for a body that does not say that it is JSON; a form of another site's cannot say
    so.
    """
    if media_type(request) != JSON_MEDIA_TYPE:
        raise ApiError(415, field="content-type", value=media_type(request), cure=f"send {JSON_MEDIA_TYPE}")


def parse_json(body: bytes, *, finite: bool = True) -> Any:
    """The JSON value; `finite` False leaves NaN and Infinity to who decodes it. Raises 400."""
    try:
        return codec.parse(body, finite=finite)
    except RecordInvalid as error:
        field = "body" if error.field == "document" else error.field
        raise ApiError(400, field=field, value=error.value, cure=f"send valid JSON in UTF-8: {error.cure}") from None


def rows_of(document: Any, name: str) -> list[Any]:
    """The list under the one key `name`. Raises 400."""
    if not isinstance(document, dict) or not isinstance(document.get(name), list):
        raise ApiError(400, field=name, value=document, cure=f'send an object {{"{name}": [...]}}')
    unknown = sorted(set(document) - {name})
    if unknown:
        raise ApiError(400, field=unknown[0], value=document[unknown[0]], cure=f"send {name} alone")
    return few_rows(document[name], name)


def few_rows(rows: list[Any], name: str) -> list[Any]:
    """The rows of a batch. Raises 413 where there are more than a batch may have."""
    if len(rows) > MOST_ROWS:
        raise ApiError(413, field=name, value=f"{len(rows)} rows", cure=f"send batches of at most {MOST_ROWS} rows")
    return rows
