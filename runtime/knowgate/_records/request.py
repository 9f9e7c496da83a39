"""What a tier's model is given with every request, as its declaration says: `request` of a tier in
`cascade.toml`.

A model that thinks, samples or sees another template answers otherwise, and what was learned of it
before says nothing of it now. So these parameters are part of which model a tier is: its attempts
are named by them (`named_model`), and hidden states by their digest in the fingerprint.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from knowgate._wire import codec
from knowgate.errors import RecordInvalid

EXTRA_BODY = "extra_body"  # the official client's word for fields that the protocol does not know
TEMPLATE = "chat_template_kwargs"
LOGPROBS = "logprobs"  # false: none are asked for, since the server refuses to be
THINKING = "enable_thinking"  # what chat templates call it
MARK = "?request="  # between a model's name and the digest of its parameters
DIGITS = 12
DEEPEST = 24  # levels of what a declaration gives; what travels with it may have 64 in all
_OWN = {
    **dict.fromkeys(("model", "messages"), "the cascade says it"),
    **dict.fromkeys(("stream", "stream_options", "n"), "one whole answer is asked for"),
    **dict.fromkeys(("logprobs", "top_logprobs"), "p_t_kind and options say which are asked for"),
    **dict.fromkeys(("tools", "tool_choice", "functions", "function_call"), "tiers answer in text"),
    "max_tokens": "the tier's own max_tokens says it",
    "return_hidden_states": "the fingerprint says whether states are asked for",
    "timeout": "the tier's own timeout says it",
    **dict.fromkeys(("extra_headers", "extra_query"), "a request's body alone can be declared"),
    EXTRA_BODY: "what is in it stands one level higher",
}
_OF_THE_CALL = ("conversation", "messages", "tools", "documents", "tokenize", "add_generation_prompt", "chat_template")


def require_request(request: Mapping[str, Any], backend: str) -> None:
    """Raises RecordInvalid for parameters that this kind of back-end cannot be given."""
    if not request:
        return
    if backend == "external":
        cure = "your own gateway runs this tier and says what it sends: leave it out, or name the back-end that runs it"
        raise RecordInvalid("request", list(request), cure)
    for name in (EXTRA_BODY, TEMPLATE):
        if not isinstance(request.get(name, {}), dict):
            raise RecordInvalid(f"request.{name}", request[name], "a table is expected")
    for name in set(request) & set(request.get(EXTRA_BODY, {})):
        raise RecordInvalid(f"request.{name}", request[name], f"{EXTRA_BODY} says it too: give it once")
    if not _is_shallow(request, DEEPEST):
        raise RecordInvalid("request", "nested too deep", f"lists and tables of at most {DEEPEST} levels are expected")
    for name, value in body_of(request).items():
        if name in _OWN and not (name == LOGPROBS and value is False):
            raise RecordInvalid(f"request.{name}", value, f"{_OWN[name]}: leave it out")
        if backend == "transformers" and name != TEMPLATE:
            cure = f"a model in this process answers greedily; {TEMPLATE} is all that it is given"
            raise RecordInvalid(f"request.{name}", value, cure)
    for name, value in template_of(request).items():
        if backend == "transformers" and name in _OF_THE_CALL:
            raise RecordInvalid(f"request.{TEMPLATE}.{name}", value, "the back-end says it: leave it out")


def _is_shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else None
    return inner is None or (levels > 0 and all(_is_shallow(one, levels - 1) for one in inner))


def body_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request's body: `extra_body` is the official client's word, and stands for
    what is in it.
    """
    return {name: value for name, value in request.items() if name != EXTRA_BODY} | dict(request.get(EXTRA_BODY, {}))


def template_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the chat template is given beside the messages."""
    given = body_of(request).get(TEMPLATE, {})
    return dict(given) if isinstance(given, dict) else {}


def request_digest(request: Mapping[str, Any]) -> str:
    """What tells parameters from others, whatever order they stand in and whether or not in
    `extra_body`.
    """
    return hashlib.sha256(codec.canonical(body_of(request))).hexdigest()


def named_model(model: str, request: Mapping[str, Any]) -> str:
    """The name of `model` with these parameters, as attempts and bundles carry it.

    >>> named_model("Qwen/Qwen3-8B", {})
    'Qwen/Qwen3-8B'
    >>> named_model("Qwen/Qwen3-8B", {"top_k": 1})
    'Qwen/Qwen3-8B?request=699ec21ed1aa'
    """
    return f"{model}{MARK}{request_digest(request)[:DIGITS]}" if request else model


def parameters_named(name: str) -> str:
    """The part of a `named_model` that stands for its parameters; empty = it has none.

    >>> parameters_named("Qwen/Qwen3-8B"), parameters_named("m?request=699ec21ed1aa")
    ('', '699ec21ed1aa')
    """
    return name.rpartition(MARK)[2] if MARK in name else ""


def of_request(chat_template_sha256: str, request: Mapping[str, Any]) -> str:
    """The template's hash in the fingerprint of states that were read with these parameters."""
    if not request:
        return chat_template_sha256
    return hashlib.sha256(f"{chat_template_sha256}{MARK}{request_digest(request)}".encode()).hexdigest()
