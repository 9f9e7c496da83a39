"""A proxy that only passes requests on: what httpx2 and uvicorn alone take.

    UPSTREAM=http://… [LOG=FILE] python -m uvicorn benchmarks.gateway.plain:app

With `LOG`, a line for every answer is on the disk before the answer's last byte is sent: what the
gateway does with a decision.
"""

import asyncio
import json
import os
import threading
from typing import Any

import httpx2

UPSTREAM = os.environ.get("UPSTREAM", "")
LOG = os.environ.get("LOG")
_WRITING = threading.Lock()


class _State:
    client: httpx2.AsyncClient | None = None


def client() -> httpx2.AsyncClient:
    """The one client, made on the server's event loop."""
    if _State.client is None:
        limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
        _State.client = httpx2.AsyncClient(limits=limits, timeout=60, trust_env=False)
    return _State.client


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Passes a request on, and its answer back as it comes."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if scope["method"] != "POST":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    headers = {"content-type": "application/json"}
    request = client().build_request("POST", UPSTREAM + scope["path"], content=body, headers=headers)
    answer = await client().send(request, stream=True)
    named = [(name, answer.headers[name]) for name in ("content-type", "content-length") if name in answer.headers]
    encoded = [(name.encode(), value.encode()) for name, value in named]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": encoded})
    last = b""
    async for piece in answer.aiter_raw():
        if last:
            await send({"type": "http.response.body", "body": last, "more_body": True})
        last = piece
    if LOG is not None:
        await asyncio.to_thread(keep, LOG, json.dumps({"path": scope["path"], "asked": len(body), "status": 200}))
    await send({"type": "http.response.body", "body": last})


def keep(path: str, line: str) -> None:
    """A line on the disk."""
    with _WRITING, open(path, "a", encoding="utf-8") as log:  # noqa: PTH123
        log.write(line + "\n")
        log.flush()
        os.fsync(log.fileno())
