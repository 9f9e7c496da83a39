"""Requests that the last tier alone answers, as they are: those that no certificate covers, and the
addresses of the protocol that a cascade does not answer itself.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from knowgate._records.records import Reason
from knowgate._serving.cascade import Cascade
from knowgate._serving.passing import Passing, Whole, open_last
from knowgate._serving.replies import prompt_of
from knowgate.backends.protocol import CHAT
from knowgate.errors import NoAnswer
from services.gateway.asked import EXTERNAL_ID, SLICE, Asked, AskedChat
from services.gateway.presence import while_present

Json = Any
COUNTED = (CHAT, "/completions")  # whose streams tell what they took where they are asked to
NOT_THERE = (404, 405, 501)
LONGEST_NOTE = 200  # characters of names that a note and a header show


class NotServed(Exception):
    """The last tier has no such address."""


async def pass_chat(request: Request, cascade: Cascade, asked: AskedChat) -> Response:
    """The last tier's answer to a conversation that no certificate covers, with the account of it
    where the answer is whole.
    """
    return await _passed(request, cascade, asked, CHAT, asked.messages, _names(asked.coverage.uncovered))


async def pass_answer(request: Request, cascade: Cascade, asked: Asked, path: str) -> Response:
    """The last tier's answer at another address that answers a prompt. Raises NotServed."""
    prompt = {name: asked.document[name] for name in ("instructions", "input", "prompt") if name in asked.document}
    only = next(iter(prompt.values())) if len(prompt) == 1 else None
    text = only if isinstance(only, str) else json.dumps(prompt, sort_keys=True, ensure_ascii=False)
    messages = ({"role": "user", "content": text},)
    return await _passed(request, cascade, asked, path, messages, f"/v1{path}")


async def pass_on(request: Request, cascade: Cascade, asked: Asked, path: str) -> Response:
    """What the last tier says at an address that answers nothing: no decision tells of it. Raises
    NotServed.
    """
    assert cascade.serving is not None
    body = _body(asked, cascade.name, path)
    opened = await _there(while_present(request, open_last(cascade.serving, path, body)))
    content = await while_present(request, opened.content())
    return Response(content, media_type=opened.media_type)


async def _passed(
    request: Request, cascade: Cascade, asked: Asked, path: str, messages: Sequence[Mapping[str, Any]], why: str
) -> Response:
    assert cascade.serving is not None
    query = cascade.open(
        prompt=prompt_of(messages) if cascade.setting.stores_texts else None,
        external_id=asked.external_id,
        slice=asked.slice,
        uncertified=f"no certificate covers {why}",
    )
    passing = Passing(cascade.serving, query)
    opening = passing.open(path, _body(asked, cascade.name, path), messages)
    await (while_present(request, opening) if path == CHAT else _there(while_present(request, opening)))
    headers = {
        "Knowgate-Decision": str(query.decision_id),
        "Knowgate-Tier": str(query.last),
        "Knowgate-Reason": Reason.UNCERTIFIED_REQUEST.value,
        "Knowgate-Uncertified": why,
    }
    if passing.is_stream:
        events = passing.stream(hides_usage=path in COUNTED and not asked.usage_in_stream)
        return StreamingResponse(events, media_type=passing.media_type, headers=headers)
    whole = await while_present(request, passing.whole())
    return Response(_accounted(whole, cascade, path, why), media_type=whole.media_type, headers=headers)


async def _there(opening: Any) -> Any:
    """What `opening` gives. Raises NotServed where the tier has nothing at the address."""
    try:
        return await opening
    except NoAnswer as error:
        said = None if error.failed is None else error.failed.said
        if said is not None and said.status in NOT_THERE and said.code is None:
            raise NotServed(str(error)) from error
        raise


def _body(asked: Asked, cascade: str, path: str) -> dict[str, Json]:
    """The request as the last tier gets it: without what is for the gateway, and with the usage
    that tells its cost.
    """
    own = {"metadata"} | ({"model"} if asked.document.get("model") == cascade else set())
    body = {name: value for name, value in asked.document.items() if name not in own}
    metadata = asked.document.get("metadata") or {}
    theirs = {name: value for name, value in metadata.items() if name not in (SLICE, EXTERNAL_ID)}
    body |= {"metadata": theirs} if theirs else {}
    if asked.stream and path in COUNTED:
        body["stream_options"] = (asked.document.get("stream_options") or {}) | {"include_usage": True}
    return body


def _accounted(whole: Whole, cascade: Cascade, path: str, why: str) -> bytes:
    """The answer with its account beside it, where it is a chat completion."""
    if path != CHAT or not isinstance(whole.document, dict):
        return whole.content
    ruling = whole.ruling
    account: dict[str, Json] = {
        "cascade": cascade.name,
        "decision_id": str(ruling.decision_id),
        "reason": Reason.UNCERTIFIED_REQUEST.value,
        "uncertified": why,
        "generation": ruling.generation,
        "bundle": ruling.bundle,
        "explores": False,
        "attempts": [],
    }
    try:
        return json.dumps(whole.document | {"knowgate": account}, allow_nan=False).encode()
    except ValueError:  # numbers that JSON has not
        return whole.content


def _names(uncovered: Sequence[str]) -> str:
    """What is not covered, as a header can say it."""
    text = ", ".join(uncovered).encode("ascii", "replace").decode()
    shown = "".join(one if one.isprintable() else "?" for one in text)
    return shown if len(shown) <= LONGEST_NOTE else shown[: LONGEST_NOTE - 3] + "..."
