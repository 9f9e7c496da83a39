"""Prompts and answers as logs keep them: texts, messages in several spellings, chat completions,
responses.

A chat completion is read as an endpoint's is, so that P(T) and what an answer lacks are those that
the gateway would have logged.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from knowgate._records.observation import Observation
from knowgate._records.options import option_of
from knowgate._serving.replies import lack_of, prompt_of
from knowgate.backends._text.reasoning import answer_of
from knowgate.backends.chat import read_chat
from knowgate.errors import BackendFailed
from knowgate.spec import TierSpec
from services.history.responses import completion_of, message_of, response_of
from services.outcome_tables.places import ValueRefused, document_of, text_of, value_at

Json = Any
AN_ANSWER = "a text, a message, a chat completion or a response is expected; say with --map answer=PLACE where it lies"
SIGNALS = ("p_t", "entropy", "margin")


def prompt_at(value: Json) -> tuple[str, str] | None:
    """What counts as the query's prompt, and the digest of what was asked: of the last user's
    message, for a system's may differ by model. None where nothing was logged.
    """
    value = document_of(value)
    if value is None or value == "" or value == {} or value == []:
        return None
    messages = _messages(value)
    if messages is None:
        prompt = asked = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    else:
        prompt = prompt_of(messages)
        users = [message["content"] for message in messages if message["role"] == "user"]
        asked = json.dumps(users[-1] if users else messages, sort_keys=True)
    return prompt, hashlib.sha256(asked.encode()).hexdigest()[:32]


def observed(answer: Json, logprobs: Json, tier: TierSpec) -> Observation:
    """What a logged answer shows: its text, P(T) and what goes with it, tokens. Raises
    ValueRefused.
    """
    answer = document_of(answer)
    if answer is None or answer == {} or answer == []:
        return Observation()
    completion = _completion(answer, document_of(logprobs))
    kind = tier.p_t_kind if value_at(completion, "choices.0.logprobs") is not None else None
    try:
        content = json.dumps(completion).encode()
        reply = read_chat(content, options=tier.options, p_t_kind=kind).reply
    except BackendFailed:
        raise ValueRefused(AN_ANSWER) from None
    enough = option_of(answer_of(reply.text) or "", tier.options) is not None
    lack = lack_of(replace(reply, enough=enough))
    shown = replace(reply.shown, answer=reply.text or reply.refusal or "")
    if lack is not None:
        return replace(shown, **dict.fromkeys(SIGNALS), notes=(lack, *shown.notes))
    return shown if shown.p_t is None else replace(shown, p_t_kind=kind)


def _completion(answer: Json, logprobs: Json) -> Json:
    """The answer as a chat completion."""
    if isinstance(answer, Mapping) and "choices" in answer:
        return answer
    if (response := response_of(answer)) is not None:
        return completion_of(response)
    if isinstance(answer, list) and all(isinstance(one, Mapping) and "finish_reason" in one for one in answer):
        return {"choices": answer}
    messages = None if isinstance(answer, str) else _messages(answer)
    if messages is None and not isinstance(answer, str):
        raise ValueRefused(AN_ANSWER)
    message = {"role": "assistant", "content": answer} if messages is None else messages[-1]
    return {"choices": [{"message": message, "logprobs": logprobs}]}


def _messages(value: Json) -> Sequence[dict[str, Json]] | None:
    """The messages that a value lists, each with role and content; None where it is something
    else.
    """
    if isinstance(value, Mapping):
        value = _listed(value)
    if not isinstance(value, list) or not value:
        return None
    messages = []
    for one in value:
        message = value_at(one, "message") if isinstance(one, Mapping) and "role" not in one else one
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            return None
        said = message_of(message)
        content = said.get("content")
        messages.append({**said, "content": content if isinstance(content, list) else text_of(content)})
    return messages


def _listed(value: Mapping[str, Json]) -> list[Json]:
    """An object as a list: its `messages`, its flattened items (`0.message.role`), or itself."""
    if isinstance(inside := document_of(value.get("messages")), list):
        return inside
    numbers = sorted({int(head) for name in value if (head := name.partition(".")[0]).isdecimal()})
    return [value_at(value, str(number)) for number in numbers] if numbers else [value]
