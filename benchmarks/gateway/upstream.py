"""A model's server that takes no time: OpenAI's chat protocol on loopback, in a process of its own.

    python -m benchmarks.gateway.upstream PORT

Every answer is made beforehand, so that what is measured is whatever stands before it. What a
request wants is read from its bytes: log-probabilities, a stream, and the words of `Marks`.
"""

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from enum import StrEnum

TOKENS = 20  # of an answer
TOKEN_S = 0.005  # between the tokens of a paced one
SURE, UNSURE = 0.9, 0.4  # the first token's probability
SMALL, LARGE = "tiny", "huge"  # models
WORDS = [f" w{number}" for number in range(TOKENS)]
USAGE = {"prompt_tokens": 30, "completion_tokens": TOKENS, "total_tokens": 30 + TOKENS}


class Marks(StrEnum):
    """What a prompt may say to the server."""

    PACED = "paced"  # as a model writes: a token at a time
    UNSURE = "unsure"  # the small model is


def head(kind: str, rest: str) -> bytes:
    """The head of an answer."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{rest}\r\n\r\n".encode()


def whole(p_t: float | None) -> bytes:
    """An answer with its head; None = without log-probabilities."""
    listed = (
        None if p_t is None else {"content": [token(word, p_t if not at else 0.99) for at, word in enumerate(WORDS)]}
    )
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "logprobs": listed, "finish_reason": "stop"}
    named = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": LARGE}
    content = json.dumps(named | {"choices": [choice], "usage": USAGE}).encode()
    return head("application/json", f"Content-Length: {len(content)}") + content


def token(text: str, p: float) -> dict[str, object]:
    """A token as it is listed, with the one that is likeliest beside it."""
    others = [{"token": text, "logprob": math.log(p)}, {"token": " other", "logprob": math.log1p(-p)}]
    listed = [one | {"bytes": list(str(one["token"]).encode())} for one in others]
    return listed[0] | {"top_logprobs": listed}


def events() -> Iterator[bytes]:
    """The events of a streamed answer, each as a piece of a body whose length is not known."""
    named = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": LARGE}
    for at, word in enumerate(WORDS):
        delta = {"role": "assistant", "content": word} if not at else {"content": word}
        yield piece(json.dumps(named | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    last = (json.dumps(named | end), json.dumps(named | {"choices": [], "usage": USAGE}), "[DONE]")
    yield b"".join(map(piece, last)) + b"0\r\n\r\n"


def piece(data: str) -> bytes:
    """An event as a chunk of a body."""
    content = f"data: {data}\n\n".encode()
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


WHOLE = {p_t: whole(p_t) for p_t in (None, SURE, UNSURE)}
STREAM_HEAD = head("text/event-stream", "Transfer-Encoding: chunked")
EVENTS = list(events())


class Upstream(asyncio.Protocol):
    """One connection, that is kept."""

    def __init__(self) -> None:
        self._got = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers the request once all of it is there."""
        self._got += data
        while (at := self._got.find(b"\r\n\r\n")) >= 0:
            said, ends = self._got[:at].lower(), at + 4
            length = int(said.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self._got) < ends + length:
                return
            body, self._got = self._got[ends : ends + length], self._got[ends + length :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        plain = body.replace(b": ", b":")
        paced = Marks.PACED.encode() in plain
        if b'"stream":true' in plain:
            self._stream(TOKEN_S if paced else 0.0)
            return
        unsure = Marks.UNSURE.encode() in plain and f'"model":"{SMALL}"'.encode() in plain
        p_t = (UNSURE if unsure else SURE) if b'"logprobs":true' in plain else None
        self._later(TOKENS * TOKEN_S if paced else 0.0, WHOLE[p_t])

    def _stream(self, gap_s: float) -> None:
        for at, content in enumerate(EVENTS):
            self._later(gap_s * (at + 1), content if at else STREAM_HEAD + content)

    def _later(self, seconds: float, content: bytes) -> None:
        assert self._transport is not None
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._transport.write, content)
        else:
            self._transport.write(content)


async def serve(port: int) -> None:
    """Serves until it is ended."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
