"""What a reply is worth: what it lacks, the attempt made of it, and the prompt that it answers."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace

from knowgate._deciding.intake import texts
from knowgate._deciding.query import Query
from knowgate._deciding.ruling import Ruling
from knowgate._records.observation import Observation
from knowgate.backends.protocol import Finish, Message, Reply
from knowgate.errors import BackendFailed, RecordInvalid


def lack_of(reply: Reply) -> str | None:
    """Why no signal speaks for this reply, since it is no whole answer; None for one that is."""
    if reply.refusal is not None:
        return "refusal: the model refused to answer, its signals are left out"
    if reply.tool_calls:
        return "tool_calls: the answer calls tools, its signals are left out"
    if reply.finish is Finish.FILTERED:
        return "content_filter: the answer was filtered, its signals are left out"
    if not reply.text.strip():
        return "empty: the answer has no text, its signals are left out"
    if reply.finish is Finish.LENGTH and not reply.enough:
        return "length: the answer was cut off at its limit of tokens, its signals are left out"
    return None


def attempt(query: Query, tier: int, reply: Reply, lack: str | None = None) -> Ruling:
    """Records what `tier` replied, and rules on it; where it lacks something, without anything that
    a policy could keep it for.
    """
    shown = replace(reply.shown, answer=(reply.text or reply.refusal or "") if query.stores_texts else None)
    if lack is not None:
        none = dict.fromkeys(("p_t", "entropy", "margin", "hidden", "fingerprint"))
        shown = replace(shown, **none, notes=(lack, *texts(shown.notes)))
    return query.attempt(shown, tier=tier, answered=lack is None)


def failed(query: Query, tier: int, error: BackendFailed, began: float) -> Ruling:
    """Records that `tier`, asked at `began` (of time.perf_counter), did not answer: an attempt
    without signals.
    """
    waited_ms = (time.perf_counter() - began) * 1e3
    shown = Observation(latency_ms=waited_ms, notes=(f"{error.failure}: {error}",))
    return query.attempt(shown, tier=tier, answered=False)


def attempt_sent(query: Query, tier: int, reply: Reply) -> Ruling:
    """Records what `tier` replied that was sent while it came, since its prompt's state decided. It
    is served whatever it lacks, and a note says so; P(T) of half an answer is none.
    """
    shown, lack = replace(reply.shown, answer=reply.text if query.stores_texts else None), lack_of(reply)
    if lack is not None:
        notes = (f"{lack}; it had been sent by then", *texts(shown.notes))
        shown = replace(shown, p_t=None, entropy=None, margin=None, notes=notes)
    return query.attempt(shown, tier=tier)


def prompt_of(messages: Sequence[Message]) -> str:
    """What counts as the query's prompt: a lone message's text, else the whole conversation as
    canonical JSON.
    """
    if not messages:
        raise RecordInvalid("messages", list(messages), "give at least one message")
    if len(messages) == 1 and isinstance(messages[0].get("content"), str):
        return str(messages[0]["content"])
    try:
        return json.dumps([dict(message) for message in messages], sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordInvalid("messages", type(messages).__name__, f"give messages of plain JSON: {error}") from error
