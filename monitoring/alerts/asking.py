"""One request to a receiver, within its time and without secrets in what is said of it."""

import asyncio
from collections.abc import Mapping

import httpx2

from knowgate._wire.shown import masked, shown_url

ERROR_AT_MOST = 300  # characters of an error that are kept


class NotReceived(Exception):
    """Why a message was not received; no secrets are in it."""


async def ask(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    timeout_s: float,
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
    reads: int = 0,
) -> bytes:
    """The beginning of the answer's body, at most about `reads` bytes, where the answer is 2xx; a
    redirect is none. Raises NotReceived.

    `timeout_s` is for all of it, from the look-up of the host on: a receiver that is silent, sends
    a byte a second or never comes to an end holds up nobody.
    """
    try:
        async with (
            asyncio.timeout(timeout_s),
            client.stream(method, url, content=content, headers=dict(headers or {})) as answer,
        ):
            if not answer.is_success:
                raise NotReceived(f"the receiver answered {answer.status_code}")
            body = b""
            if reads:
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) >= reads:
                        break
            return body
    except TimeoutError:
        raise NotReceived(f"the receiver had not answered after {timeout_s:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
        message = f"{type(error).__name__}: {error}".replace(url, shown_url(url))
        raise NotReceived(masked(message)[:ERROR_AT_MOST]) from None
