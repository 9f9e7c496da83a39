"""Requests that the last tier alone answers, as they are: those that no certificate covers, and the
addresses of the protocol that a cascade does not answer itself.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from knowgate._deciding.query import Query
from knowgate._records.records import Attempt, Reason
from knowgate._serving.cascade import Cascade
from knowgate._serving.passing import Passing, Whole, open_last
from knowgate._serving.replies import prompt_of
from knowgate.backends.protocol import CHAT
from knowgate.errors import NoAnswer
from services.gateway.answering import upstream_header
from services.gateway.asked import EXTERNAL_ID, SLICE, Asked, AskedChat
from services.gateway.events import EventResponse
from services.gateway.presence import while_present

Json = Any
COUNTED = (CHAT, "/completions")  # whose streams tell what they took where they are asked to
NOT_THERE = (405, 501)  # and 404, where it does not speak of a model or of an answer
LONGEST_NOTE = 200  # characters of names that a note and a header show


class NotServed(Exception):
    """The last tier has no such address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One such request on its way."""

    cascade: Cascade
    asked: Asked
    path: str  # below the API's root
    messages: tuple[Mapping[str, Any], ...]  # what counts as the prompt
    why: str  # what is not covered


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A whole answer as it is sent to the caller."""

    content: bytes
    media_type: str
    headers: dict[str, str]
    attempts: tuple[Attempt, ...]


def route_of_chat(cascade: Cascade, asked: AskedChat) -> Route:
    """A conversation that no certificate covers."""
    why = _names(asked.coverage.uncovered)
    return Route(cascade=cascade, asked=asked, path=CHAT, messages=asked.messages, why=why)


def route_of(cascade: Cascade, asked: Asked, path: str) -> Route:
    """A prompt at another address that answers prompts."""
    prompt = {name: asked.document[name] for name in ("instructions", "input", "prompt") if name in asked.document}
    only = next(iter(prompt.values())) if len(prompt) == 1 else None
    text = only if isinstance(only, str) else json.dumps(prompt, sort_keys=True, ensure_ascii=False)
    messages = ({"role": "user", "content": text},)
    return Route(cascade=cascade, asked=asked, path=path, messages=messages, why=f"/v1{path}")


async def pass_whole(route: Route) -> Passed:
    """The last tier's answer, with the account of it beside a chat completion. Raises NoAnswer, and
    NotServed where the tier has no such address.
    """
    query, passing = _begun(route)
    await _open(passing, route)
    whole = await passing.whole()
    headers = _headers(query, route) | upstream_header(query.attempts)
    content = _accounted(whole, route)
    return Passed(content=content, media_type=whole.media_type, headers=headers, attempts=query.attempts)


async def pass_stream(request: Request, route: Route, ended: Callable[[Sequence[Attempt]], Any]) -> Response:
    """The last tier's answer in events, or whole where it has none; of what it took `ended` hears
    once it is whole. Raises as `pass_whole`.
    """
    query, passing = _begun(route)
    await while_present(request, _open(passing, route))
    headers = _headers(query, route)
    if passing.is_stream:
        events = passing.stream(
            hides_usage=route.path in COUNTED and not route.asked.usage_in_stream,
            ended_with=lambda _: ended(query.attempts),
        )
        return EventResponse(events, give_up=passing.give_up, headers=headers, media_type=passing.media_type)
    whole = await while_present(request, passing.whole())
    ended(query.attempts)
    headers |= upstream_header(query.attempts)
    return Response(_accounted(whole, route), media_type=whole.media_type, headers=headers)


async def pass_on(request: Request, cascade: Cascade, asked: Asked, path: str) -> Response:
    """What the last tier says at an address that answers nothing: no decision tells of it. Raises
    NoAnswer and NotServed.
    """
    assert cascade.serving is not None
    body = _body(asked, cascade.name, path)
    opened = await while_present(request, _there(open_last(cascade.serving, path, body)))
    content = await while_present(request, opened.content())
    return Response(content, media_type=opened.media_type)


def _begun(route: Route) -> tuple[Query, Passing]:
    cascade = route.cascade
    assert cascade.serving is not None
    query = cascade.open(
        prompt=prompt_of(route.messages) if cascade.setting.stores_texts else None,
        external_id=route.asked.external_id,
        slice=route.asked.slice,
        uncertified=f"no certificate covers {route.why}",
        traceparent=route.asked.traceparent,
    )
    return query, Passing(cascade.serving, query)


async def _open(passing: Passing, route: Route) -> None:
    opening = passing.open(route.path, _body(route.asked, route.cascade.name, route.path), route.messages)
    await (opening if route.path == CHAT else _there(opening))


def _headers(query: Query, route: Route) -> dict[str, str]:
    return {
        "Knowgate-Decision": str(query.decision_id),
        "Knowgate-Tier": str(query.last),
        "Knowgate-Reason": Reason.UNCERTIFIED_REQUEST.value,
        "Knowgate-Uncertified": route.why,
    }


async def _there(opening: Any) -> Any:
    """What `opening` gives. Raises NotServed where the tier has nothing at the address."""
    try:
        return await opening
    except NoAnswer as error:
        said = None if error.failed is None else error.failed.said
        if said is not None and (said.status in NOT_THERE or (said.status == 404 and said.code in (None, "404"))):
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


def _accounted(whole: Whole, route: Route) -> bytes:
    """The answer with its account beside it, where it is a chat completion."""
    if route.path != CHAT or not isinstance(whole.document, dict):
        return whole.content
    ruling = whole.ruling
    account: dict[str, Json] = {
        "cascade": route.cascade.name,
        "decision_id": str(ruling.decision_id),
        "reason": Reason.UNCERTIFIED_REQUEST.value,
        "uncertified": route.why,
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
