"""What an answer says that is passed on as it is: its text and what it took, whole or in events.

Chat completions, completions and responses say it in words of their own. Nothing here is needed for
the answer to reach whoever asked; what cannot be read is unknown, and costs a note.
"""

import json
from collections.abc import Iterator
from typing import Any

from knowgate._records.observation import Observation

Json = Any
END = (b"\r\n\r\n", b"\n\n", b"\r\r")  # of an event
LARGEST_EVENT = 1 << 20  # bytes; a longer one is passed on unread
MOST_TEXT = 1 << 20  # characters that are kept of an answer


class Events:
    """Cuts a stream into events, each with its end, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The events that `piece` completes."""
        self._rest += piece
        while (end := _end_of(self._rest)) is not None:
            yield self._rest[:end]
            self._rest = self._rest[end:]
        if len(self._rest) > LARGEST_EVENT:
            yield self.rest()

    def rest(self) -> bytes:
        """What came behind the last whole event."""
        rest, self._rest = self._rest, b""
        return rest


class Reading:
    """What is known so far of one answer."""

    def __init__(self) -> None:
        self.usage: Json = None
        self.finished = False  # the stream said that it ends
        self.finish: Json = None  # why the answer ended, as a chat's stream says it
        self._tokens: list[Json] = []  # that a chat's stream listed
        self._beside: dict[str, Json] = {}  # what a chat's stream says in place of a text, or beside it
        self._text: list[str] = []
        self._size = 0
        self._read = False

    def document(self, content: bytes) -> Json:
        """Reads a whole answer; its JSON, None where it is none."""
        document = _parsed(content)
        if isinstance(document, dict):
            self._read = True
            self.usage = document.get("usage")
            for choice in _objects(document.get("choices"))[:1]:
                message = choice.get("message")
                self._add(message.get("content") if isinstance(message, dict) else choice.get("text"))
            for item in _objects(document.get("output")):
                for part in _objects(item.get("content")):
                    self._add(part.get("text"))
        return document

    def event(self, event: bytes) -> Json:
        """Reads one event of a stream; its JSON, None where it holds none."""
        data = b"\n".join(
            line[5:].lstrip(b" ") for line in event.replace(b"\r", b"\n").split(b"\n") if line.startswith(b"data:")
        )
        if data.strip() == b"[DONE]":
            self.finished = True
            return None
        document = _parsed(data) if data else None
        if not isinstance(document, dict):
            return None
        self._read = True
        for choice in _objects(document.get("choices")):
            if choice.get("index", 0) == 0:
                self._choice(choice)
        kind = document.get("type")
        if kind == "response.output_text.delta":
            self._add(document.get("delta"))
        response = document.get("response")
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            self.finished = True
        usage = document.get("usage") or (response.get("usage") if isinstance(response, dict) else None)
        self.usage = usage or self.usage
        return document

    @property
    def has_text(self) -> bool:
        """Whether a word of the answer is there."""
        return any(map(str.strip, self._text))

    def completion(self) -> Json:
        """The chat completion that the events so far amount to."""
        message = {"role": "assistant", "content": "".join(self._text)} | self._beside
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        choice |= {"logprobs": {"content": self._tokens}} if self._tokens else {}
        return {"choices": [choice], "usage": self.usage}

    def shown(self, latency_ms: float) -> Observation:
        """What is known, as an attempt has it."""
        text = "".join(self._text)
        notes = () if self._read else ("the answer that was passed on cannot be read",)
        tokens_in = _count(self.usage, "prompt_tokens", "input_tokens")
        tokens_out = _count(self.usage, "completion_tokens", "output_tokens")
        return Observation(answer=text, tokens_in=tokens_in, tokens_out=tokens_out, latency_ms=latency_ms, notes=notes)

    def _choice(self, choice: Json) -> None:
        delta, listed = choice.get("delta"), choice.get("logprobs")
        self.finish = choice.get("finish_reason") or self.finish
        if isinstance(listed, dict) and self._size < MOST_TEXT:
            self._tokens += _objects(listed.get("content"))
        if not isinstance(delta, dict):
            self._add(choice.get("text"))
            return
        self._add(delta.get("content"))
        if isinstance(delta.get("refusal"), str):
            self._beside["refusal"] = self._beside.get("refusal", "") + delta["refusal"]
        self._beside |= {name: delta[name] for name in ("tool_calls", "function_call") if delta.get(name)}

    def _add(self, text: Json) -> None:
        if isinstance(text, str) and self._size < MOST_TEXT:
            self._text.append(text)
            self._size += len(text)


def event_of(document: Json) -> bytes:
    """The event that says `document`, in ASCII: a tier may answer with half a surrogate pair."""
    return f"data: {json.dumps(document)}\n\n".encode()


def _end_of(content: bytes) -> int | None:
    """Where the first event ends; None = it goes on."""
    ends = [at + len(end) for end in END if (at := content.find(end)) >= 0]
    return min(ends, default=None)


def _parsed(content: bytes) -> Json:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _objects(given: Json) -> list[dict[str, Json]]:
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def _count(usage: Json, *names: str) -> int | None:
    values = [usage.get(name) for name in names] if isinstance(usage, dict) else []
    return next((one for one in values if isinstance(one, int) and not isinstance(one, bool) and one >= 0), None)
