"""Answers that carry their digest, so that a runtime does not believe one that was changed on its
way.
"""

from collections.abc import Mapping

from fastapi import Response
from fastapi.responses import JSONResponse

from knowgate._wire.digests import CONTENT_DIGEST, content_digest


class DigestedJSON(JSONResponse):
    """JSON with `Content-Digest`."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """The headers given, and the body's digest."""
        super().init_headers({**(headers or {}), CONTENT_DIGEST: content_digest(bytes(self.body))})


def digested(response: Response) -> Response:
    """A response whose body is there already, with its digest."""
    response.headers[CONTENT_DIGEST] = content_digest(bytes(response.body))
    return response
