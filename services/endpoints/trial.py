"""What an endpoint can do, by asking it: a few short chat completions, read by the back-end's own
reader.

So what is found is what the gateway would have: log-probabilities that it would leave out are left
out here, with the same note. A parameter that an endpoint refuses is left out, or said in the newer
word, and what it took becomes the tier's `request`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from knowgate._records.records import PTKind
from knowgate._records.request import LOGPROBS
from knowgate.backends.chat import Chat, read_chat
from knowgate.errors import BackendFailed
from services.endpoints.asked import Endpoint, refusal
from services.endpoints.engines import Served
from services.errors import EndpointFailed

TOKENS = 16  # of an answer of these
LISTED = 20  # tokens in the place of one: the most that endpoints list
QUESTION = "What is the capital of France? Answer with its name alone."
# What a request may have to say in another way, in the order in which it is tried.
_WAYS: tuple[Mapping[str, Any], ...] = (
    {},
    {"max_completion_tokens": TOKENS},
    {"max_completion_tokens": TOKENS, "temperature": 1},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of it."""

    p_t: float | None  # of the answer's first token; None = it cannot be had
    notes: tuple[str, ...]  # why it cannot
    same: bool  # asked twice at temperature 0, it answers the same
    states: bool  # the engine hands hidden states out
    request: Mapping[str, Any] = field(default_factory=dict)  # what the tier has to declare
    one_token: tuple[str, ...] = ()  # the options that showed as one token; the others may be or not


def tried(endpoint: Endpoint, served: Served, options: Sequence[str]) -> Trial:
    """Asks the endpoint three or four times; `options` are the texts of allowed answers. Raises
    EndpointFailed.
    """
    way, listing, first = _first(endpoint, served)
    again = _read(endpoint, _answered(endpoint, _body(served, QUESTION, way, listing)))
    return Trial(
        p_t=first.reply.shown.p_t,
        notes=first.reply.shown.notes,
        same=first.reply.text == again.reply.text and "temperature" not in way,
        states=_shows_states(endpoint, served, way, first),
        request={name: value for name, value in way.items() if name == "temperature"}
        | ({"max_completion_tokens": 256} if "max_completion_tokens" in way else {})
        | ({} if listing else {LOGPROBS: False}),
        one_token=_of_one_token(endpoint, served, way, options) if options and listing else (),
    )


def _first(endpoint: Endpoint, served: Served) -> tuple[Mapping[str, Any], int, Chat]:
    """The first way of asking that is taken, how many tokens it lists, and what was answered."""
    for listing in (2, 0):
        for way in _WAYS:
            answer = endpoint.chat(_body(served, QUESTION, way, listing))
            if answer.is_success:
                return way, listing, _read(endpoint, answer)
            if answer.status_code not in (400, 422):
                raise EndpointFailed(f"{endpoint.root}: {served.model!r} was answered {refusal(answer)}")
    raise EndpointFailed(f"{endpoint.root}: {served.model!r} was answered {refusal(answer)}")


def _body(served: Served, question: str, way: Mapping[str, Any], listing: int) -> dict[str, Any]:
    body = {"model": served.model, "messages": [{"role": "user", "content": question}], "temperature": 0}
    body |= {} if "max_completion_tokens" in way else {"max_tokens": TOKENS}
    return body | ({"logprobs": True, "top_logprobs": listing} if listing else {}) | dict(way)


def _answered(endpoint: Endpoint, body: Mapping[str, Any]) -> httpx2.Response:
    answer = endpoint.chat(body)
    if not answer.is_success:
        raise EndpointFailed(f"{endpoint.root} was answered {refusal(answer)}")
    return answer


def _read(endpoint: Endpoint, answer: httpx2.Response) -> Chat:
    try:
        return read_chat(answer.content, p_t_kind=PTKind.FIRST_TOKEN)
    except BackendFailed as error:
        raise EndpointFailed(f"{endpoint.root}: {error}; give the root of a chat API") from error


def _shows_states(endpoint: Endpoint, served: Served, way: Mapping[str, Any], first: Chat) -> bool:
    if served.engine == "vllm":
        transfer = first.document.get("kv_transfer_params")
        return isinstance(transfer, dict) and isinstance(transfer.get("hidden_states_path"), str)
    if served.engine != "sglang":
        return False
    answer = endpoint.chat(_body(served, QUESTION, way, 0) | {"return_hidden_states": "last"})
    return answer.is_success and bool(_read(endpoint, answer).choice.get("hidden_states"))


def _of_one_token(
    endpoint: Endpoint, served: Served, way: Mapping[str, Any], options: Sequence[str]
) -> tuple[str, ...]:
    """Which options are listed as one token, where an answer may begin."""
    question = f"Answer with one of these and nothing else: {', '.join(options)}. Which do you choose?"
    answer = endpoint.chat(_body(served, question, way, LISTED))
    if not answer.is_success:  # it does not list so many
        return ()
    listed = _read(endpoint, answer).choice.get("logprobs")
    places = listed.get("content") if isinstance(listed, dict) else None
    first = places[0] if isinstance(places, list) and places and isinstance(places[0], dict) else {}
    entries = [first, *(first.get("top_logprobs") or ())]
    tokens = {str(one.get("token")).strip() for one in entries if isinstance(one, dict)}
    return tuple(option for option in options if option.strip() in tokens)
