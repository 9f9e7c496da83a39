"""Clients that ask one after the other, each on a connection of its own, by nothing but sockets: so
that little of the machine goes into the asking.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.gateway.upstream import Marks

KEY = "sk-0123456789abcdef0123456789abcdef"  # that every way asks for
PROMPT = "Which city is the capital of the country that is number {number} on the list? Answer in a sentence. {marks}"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One kind of request."""

    model: str
    marks: tuple[Marks, ...] = ()
    stream: bool = False
    temperature: float | None = None  # one that no certificate covers, where it is given

    def body(self) -> bytes:
        """A request of this kind; no two have one prompt."""
        prompt = PROMPT.format(number=next(_numbers), marks=" ".join(self.marks))
        document = {"model": self.model, "messages": [{"role": "user", "content": prompt}]}
        more = {"stream": self.stream or None, "temperature": self.temperature}
        return json.dumps(document | {name: value for name, value in more.items() if value is not None}).encode()


@dataclass(slots=True, kw_only=True)
class Answers:
    """What a number of clients saw."""

    whole_s: list[float] = field(default_factory=list)  # from a request's first byte to its answer's last
    first_s: list[float] = field(default_factory=list)  # to the first token
    took_s: float = 0.0  # all of them together


class Refused(Exception):
    """An answer that is no 200, or no answer of a model."""


def ask_for(url: str, ask: Ask, *, clients: int, seconds: float = 1e9, requests: int = 10**9) -> Answers:
    """What `clients` saw that asked `requests` times together, or for `seconds`. Raises Refused."""
    return asyncio.run(_ask_for(url, ask, clients, seconds, requests))


async def _ask_for(url: str, ask: Ask, clients: int, seconds: float, requests: int) -> Answers:
    answers, turns = Answers(), iter(range(requests))
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_client(url, ask, answers, turns, began + seconds))
    answers.took_s = time.perf_counter() - began
    return answers


async def _client(url: str, ask: Ask, answers: Answers, turns: Iterator[int], until: float) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    try:
        while time.perf_counter() < until and next(turns, None) is not None:
            body = ask.body()
            began = time.perf_counter()
            writer.write(f"{head}Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            first = await _read(reader)
            answers.whole_s.append(time.perf_counter() - began)
            answers.first_s.append(first - began)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> float:
    """Reads one answer; when its first token, or its first byte, was there."""
    said = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in said.partition(b"\r\n")[0]:
        raise Refused(f"{said.decode()}{(await reader.read(2000)).decode()}")
    if b"transfer-encoding: chunked" in said:
        return await _read_chunks(reader)
    length = int(said.partition(b"content-length:")[2].partition(b"\r\n")[0])
    content = await reader.readexactly(length)
    first = time.perf_counter()
    if b'"choices"' not in content:
        raise Refused(content.decode())
    return first


async def _read_chunks(reader: asyncio.StreamReader) -> float:
    first = None
    while size := int(await reader.readline(), 16):
        content = await reader.readexactly(size + 2)
        if first is None and b'"content"' in content:
            first = time.perf_counter()
    await reader.readline()
    if first is None:
        raise Refused("a stream without a token")
    return first
