"""Answers that a client asks for again and again, and gets only when they changed."""

import hashlib
import json
from collections.abc import Mapping

from fastapi import Request, Response

from knowgate._shipping.client import JSON_MEDIA_TYPE
from knowgate._wire import codec
from services.http.digested import digested


def conditional(
    request: Request,
    body: bytes,
    *,
    media_type: str = JSON_MEDIA_TYPE,
    etag: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`body`, or 304 where the client's If-None-Match holds its ETag already."""
    tag = f'"{etag or hashlib.sha256(body).hexdigest()[:32]}"'
    sent = {"ETag": tag, "Cache-Control": "private, no-cache", **(headers or {})}
    if _matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=sent)
    return digested(Response(body, media_type=media_type, headers=sent))


def conditional_json(request: Request, value: object) -> Response:
    """A record as JSON, or 304."""
    return conditional(request, json.dumps(codec.encode(value), ensure_ascii=False).encode())


def _matches(header: str, tag: str) -> bool:
    tags = {part.strip().removeprefix("W/") for part in header.split(",")}
    return "*" in tags or tag in tags
