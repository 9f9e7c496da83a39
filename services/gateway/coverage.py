"""Which requests the certificate covers: those that ask what the cascade is declared to answer.

Thresholds were certified for the tiers as they are declared. A parameter that changes no answer, or
says what the tiers are sent anyhow, changes nothing of that and is taken. So is one that the owner
declares: `certified_parameters` go to every tier, so that such requests are part of what is logged
and certified; `ignore` is left out. Everything else asks another model than the certified one, and
is named here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knowgate._records.request import body_of
from knowgate.spec import CascadeSpec, TierSpec

Json = Any
READ = ("model", "messages", "stream", "stream_options", "metadata")  # by `services.gateway.asked`
# They say who asks, or how the asking is paid and kept; no answer is another for them.
UNHEEDED = (
    *("user", "safety_identifier", "service_tier", "store"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
)
OF_SAMPLING = ("top_p", "top_k", "min_p", "seed")  # without effect where the likeliest token is taken
OF_TOOLS = ("tool_choice", "parallel_tool_calls", "function_call")  # without effect where there are no tools
LIMITS = ("max_tokens", "max_completion_tokens")
TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
# What means the same as saying nothing.
NEUTRAL: Mapping[str, Callable[[Json], bool]] = {
    "n": lambda value: _is_number(value) and value == 1,
    "best_of": lambda value: _is_number(value) and value == 1,
    "logprobs": lambda value: value is False,
    "top_logprobs": lambda value: _is_number(value) and value == 0,
    "presence_penalty": lambda value: _is_number(value) and value == 0,
    "frequency_penalty": lambda value: _is_number(value) and value == 0,
    "repetition_penalty": lambda value: _is_number(value) and value == 1,
    "logit_bias": lambda value: value == {},
    "stop": lambda value: value == [],
    "tools": lambda value: value == [],
    "functions": lambda value: value == [],
    "response_format": lambda value: value == {"type": "text"},
    "modalities": lambda value: value == ["text"],
    "verbosity": lambda value: value == "medium",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a request asks beyond its messages."""

    uncovered: tuple[str, ...]  # what no certificate covers; empty = the cascade answers
    parameters: Mapping[str, Json]  # for every tier, as the owner declares it


def coverage_of(document: Mapping[str, Json], spec: CascadeSpec) -> Coverage:
    """What of a chat request the certificate does not cover, in the request's order."""
    declared = spec.gateway.certified_parameters
    sent = tuple(_sent_to(tier) for tier in spec.tiers)
    asked = {
        name: value
        for name, value in document.items()
        if value is not None and name not in (*READ, *UNHEEDED, *spec.gateway.ignore)
    }
    beyond = [name for name, value in asked.items() if name not in declared and not _changes_nothing(name, asked, sent)]
    parts = dict.fromkeys(_parts(document.get("messages")))
    beyond += [name for name in parts if name not in (*declared, *spec.gateway.ignore)]
    return Coverage(
        uncovered=tuple(beyond), parameters={name: value for name, value in asked.items() if name in declared}
    )


def _sent_to(tier: TierSpec) -> dict[str, Json]:
    """What a tier is sent with every request."""
    return {"temperature": 0, "max_tokens": tier.max_tokens} | body_of(tier.request)


def _changes_nothing(name: str, asked: Mapping[str, Json], sent: Sequence[Mapping[str, Json]]) -> bool:
    """Whether this parameter says nothing, or what every tier is sent anyhow."""
    value = asked[name]
    if name in NEUTRAL and NEUTRAL[name](value):
        return True
    if name in OF_TOOLS and not asked.get("tools") and not asked.get("functions"):
        return True
    if name in LIMITS:
        return _is_number(value) and all(value >= _limit(tier) for tier in sent)
    if name in OF_SAMPLING and all(_is_number(tier["temperature"]) and tier["temperature"] == 0 for tier in sent):
        return True
    return all(name in tier and _same(tier[name], value) for tier in sent)


def _limit(tier: Mapping[str, Json]) -> Json:
    return tier.get("max_completion_tokens") or tier["max_tokens"]


def _same(one: Json, other: Json) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parts(messages: Json) -> Iterator[str]:
    """The parts of messages that are no text, by their types: `messages.image_url`."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in TEXT_PARTS:
                yield f"messages.{kind if isinstance(kind, str) else 'content'}"
        if isinstance(message, dict) and message.get("audio") is not None:
            yield "messages.audio"
