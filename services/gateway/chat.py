"""How an answer of the cascade is written: as a chat completion, whole or in events.

What the protocol has no word for stands in `knowgate`, beside the fields that every client knows.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from knowgate._serving.serving import Answer
from knowgate.backends._text.passed import event_of
from knowgate.backends.protocol import Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What callers know a cascade's parts by."""

    cascade: str
    tiers: tuple[str, ...]
    models: tuple[str, ...]  # by tier


def completion(answer: Answer, names: Names) -> dict[str, Any]:
    """The answer as a chat completion; `model` is that of the tier that answered."""
    message = {"role": "assistant"} | _said(answer)
    document = _head(answer, "chat.completion", names)
    document["choices"] = [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(answer)}]
    usage = _usage(answer)
    return document | ({} if usage is None else {"usage": usage}) | {"knowgate": account_of(answer, names)}


def completion_chunks(answer: Answer, names: Names, *, with_usage: bool) -> Iterator[bytes]:
    """The same as server-sent events. The whole text is one chunk: a tier's answer is kept or not
    as a whole.
    """
    head = _head(answer, "chat.completion.chunk", names)
    delta = {"role": "assistant"} | _said(answer)
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": at} | call for at, call in enumerate(delta["tool_calls"])]
    account = {"knowgate": account_of(answer, names)}
    parts = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} | account]
    parts.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish_reason(answer)}]})
    if with_usage:
        parts.append(head | {"choices": [], "usage": _usage(answer)})
    for part in parts:
        yield event_of(part)
    yield b"data: [DONE]\n\n"


def headers_of(answer: Answer) -> dict[str, str]:
    """Which tier answered and why, for whoever reads headers alone."""
    return {
        "Knowgate-Decision": str(answer.decision_id),
        "Knowgate-Tier": str(answer.tier),
        "Knowgate-Reason": _reason(answer),
    }


def _reason(answer: Answer) -> str:
    """Why this tier answered: the reason of the escalation that led to it, or that the first tier's
    answer was kept.
    """
    before = [ruling.verdict.reason for ruling in answer.rulings[:-1]]
    return "retained" if not before or before[-1] is None else before[-1].value


def _said(answer: Answer) -> dict[str, Any]:
    """What the tier that answered said: a text, a refusal or calls of tools."""
    reply = answer.reply
    nothing = not answer.text and (reply.refusal is not None or bool(reply.tool_calls))
    message: dict[str, Any] = {"content": None if nothing else answer.text, "refusal": reply.refusal}
    return message | ({"tool_calls": [dict(call) for call in reply.tool_calls]} if reply.tool_calls else {})


def _finish_reason(answer: Answer) -> str:
    """Why the tier that answered stopped; where it did not tell, it had said all."""
    if answer.reply.finish is None and answer.reply.tool_calls:
        return "tool_calls"
    return str(answer.reply.finish or Finish.STOP)


def _head(answer: Answer, kind: str, names: Names) -> dict[str, Any]:
    named = {"id": f"chatcmpl-{answer.decision_id}", "object": kind, "created": int(time.time())}
    return named | {"model": names.models[answer.tier]}


def _usage(answer: Answer) -> dict[str, int] | None:
    """Of the tier that answered; None where it did not count."""
    shown = answer.reply.shown
    tokens_in, tokens_out = shown.tokens_in, shown.tokens_out
    if tokens_in is None or tokens_out is None:
        return None
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def account_of(answer: Answer, names: Names) -> dict[str, Any]:
    """Which tier answered and why, with every tier that was asked."""
    last = answer.rulings[-1]
    return {
        "cascade": names.cascade,
        "decision_id": str(answer.decision_id),
        "tier": answer.tier,
        "tier_name": names.tiers[answer.tier],
        "reason": _reason(answer),
        "generation": last.generation,
        "bundle": last.bundle,
        "explores": answer.explores,
        "attempts": [
            {
                "tier": tier,
                "action": ruling.verdict.action.value,
                "reason": None if ruling.verdict.reason is None else ruling.verdict.reason.value,
                "fallback": ruling.verdict.fallback,
                "note": ruling.note,
            }
            for tier, ruling in enumerate(answer.rulings)
        ],
    }
