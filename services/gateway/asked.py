"""What a request asks, read from its body and its headers.

Whatever a client of the protocol sends is taken. What cannot be asked at all is refused with its
name: another model than the cascade, no messages, a slice or an external id that is no text.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from knowgate.spec import CascadeSpec
from services.gateway.coverage import Coverage, coverage_of
from services.gateway.repeats import Key
from services.http.errors import ApiError

SLICE, EXTERNAL_ID = "slice", "external_id"
HEADERS = {
    SLICE: "knowgate-slice",
    EXTERNAL_ID: "knowgate-external-id",
}  # for clients that keep `metadata` to themselves
IDEMPOTENCY, PIN, TRACE = "idempotency-key", "knowgate-pin", "traceparent"
HOW = ("stream", "stream_options", "metadata")  # the same may be asked again in another way
LONGEST = 512  # characters of either


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every request may say, whatever it asks for."""

    document: Mapping[str, Any]
    slice: str | None
    external_id: str | None
    stream: bool
    usage_in_stream: bool
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedChat(Asked):
    """A conversation that can be answered."""

    messages: tuple[dict[str, Any], ...]
    coverage: Coverage


def read_asked(document: Any, headers: Mapping[str, str]) -> Asked:
    """What a parsed body says of itself. Raises ApiError 400."""
    if not isinstance(document, dict):
        raise ApiError(400, field="body", value=document, cure="send a JSON object")
    stream, options = document.get("stream"), document.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise ApiError(400, field="stream", value=stream, cure="send true or false")
    if options is not None and not isinstance(options, dict):
        cure = 'send an object, such as {"include_usage": true}'
        raise ApiError(400, field="stream_options", value=options, cure=cure)
    return Asked(
        document=document,
        slice=_named(SLICE, document, headers),
        external_id=_named(EXTERNAL_ID, document, headers),
        stream=stream is True,
        usage_in_stream=options is not None and options.get("include_usage") is True,
        traceparent=headers.get(TRACE),
    )


def read_chat(document: Any, headers: Mapping[str, str], spec: CascadeSpec) -> AskedChat:
    """The conversation in a parsed body. Raises ApiError 400, or 404 for another model than the
    cascade.
    """
    asked = read_asked(document, headers)
    require_model(document.get("model"), spec.name)
    return AskedChat(
        document=asked.document,
        slice=asked.slice,
        external_id=asked.external_id,
        stream=asked.stream,
        usage_in_stream=asked.usage_in_stream,
        traceparent=asked.traceparent,
        messages=_messages(document.get("messages")),
        coverage=_pinned(coverage_of(document, spec), headers, spec),
    )


def key_of(path: str, asked: Asked, headers: Mapping[str, str]) -> Key | None:
    """What tells that a request is one that came before: its `Idempotency-Key`, else its external
    id; None where it has neither.
    """
    given = headers.get(IDEMPOTENCY)
    name = asked.external_id if given is None else _text(IDEMPOTENCY, _utf8(given))
    if name is None:
        return None
    said = {name: value for name, value in asked.document.items() if name not in HOW}
    content = json.dumps([path, said], sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    if given is None:  # one ticket may have many questions
        return Key(kind="the external id", name=f"{name} {digest}", request=digest)
    return Key(kind="the Idempotency-Key", name=name, request=digest)


def require_model(model: Any, cascade: str) -> None:
    """Raises ApiError 404 for another model than the cascade."""
    if model != cascade:
        cure = f"this gateway serves the cascade {cascade!r}: send its name as model"
        raise ApiError(404, field="model", value=model, cure=cure)


def _pinned(coverage: Coverage, headers: Mapping[str, str], spec: CascadeSpec) -> Coverage:
    """With the header that asks for the last tier, as for the rest of a conversation that it began
    to answer: which tier answers is not the cascade's choice then.
    """
    pin, last = headers.get(PIN), spec.tiers[-1].name
    if pin is None:
        return coverage
    if _utf8(pin) != last:
        cure = f"name the last tier, {last}: an answer of a smaller one is served only where it is kept"
        raise ApiError(400, field=PIN, value=_utf8(pin), cure=cure)
    return replace(coverage, uncovered=(*coverage.uncovered, "Knowgate-Pin"))


def _messages(given: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(given, list) or not given:
        raise ApiError(400, field="messages", value=given, cure="send a list of at least one message")
    for at, message in enumerate(given):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ApiError(400, field=f"messages[{at}]", value=message, cure="give an object with a role")
        content = message.get("content")
        if not isinstance(content, str | list | None):
            cure = "give text, a list of parts, or null"
            raise ApiError(400, field=f"messages[{at}].content", value=content, cure=cure)
    return tuple(given)


def _named(name: str, document: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """The slice or the external id: of the header, else of `metadata`."""
    header = headers.get(HEADERS[name])
    if header is not None:
        return _text(HEADERS[name], _utf8(header))
    metadata = document.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise ApiError(400, field="metadata", value=metadata, cure="send an object of texts")
    value = None if metadata is None else metadata.get(name)
    return None if value is None else _text(f"metadata.{name}", value)


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        raise ApiError(400, field=field, value=value, cure=f"a text of 1 to {LONGEST} characters is expected")
    return value


def _utf8(header: str) -> str:
    """A header's value; servers read its bytes as Latin-1, clients write UTF-8."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header
