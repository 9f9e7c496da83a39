"""What the body of a chat completion says, read with suspicion.

P(T) is the probability of the answer's first token: it is where the answer is decided, and where P(IK) is read. The
text is all that is needed; a body without one cannot be used. Log-probabilities or counts that are absent or no
numbers are left out with a note.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knowgate.errors import BackendFailed, Failure

Json = Any
SHOWN = 200  # characters of a body that a message shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """The parts of a chat completion that every engine gives."""

    text: str
    p_t: float | None
    entropy: float | None  # nats, of the options among themselves
    tokens_in: int | None
    tokens_out: int | None
    finish_reason: str | None
    notes: tuple[str, ...]
    choice: Json  # choices[0], for an engine's own fields
    document: Json


def read_chat(content: bytes, *, options: Sequence[str] = ()) -> Chat:
    """The completion in `content`. Raises BackendFailed (garbage) where there is no text in it."""
    try:
        document = json.loads(content)
        choice = document["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise _garbage(content, repr(error)) from error
    if not isinstance(text, str):
        raise _garbage(content, "choices[0].message.content is no text")
    notes: list[str] = []
    first = _first_token(choice, notes)
    usage = document.get("usage")
    return Chat(
        text=text,
        p_t=_probability(first.get("logprob"), notes) if first is not None else None,
        entropy=_entropy(first.get("top_logprobs"), options, notes) if first is not None and options else None,
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
        finish_reason=str(choice.get("finish_reason")),
        notes=tuple(notes),
        choice=choice,
        document=document,
    )


def _first_token(choice: Json, notes: list[str]) -> dict[str, Json] | None:
    try:
        first = choice["logprobs"]["content"][0]
    except (KeyError, IndexError, TypeError):
        notes.append("no logprobs came: p_t is missing; serve the model with logprobs")
        return None
    if isinstance(first, dict):
        return first
    notes.append("choices[0].logprobs.content[0] is no object: p_t is missing")
    return None


def _probability(logprob: Json, notes: list[str]) -> float | None:
    if not _is_number(logprob) or not logprob <= 1e-6:
        notes.append(f"logprob is {logprob!r}: no log-probability, p_t is missing")
        return None
    return math.exp(min(logprob, 0.0))


def _entropy(top: Json, options: Sequence[str], notes: list[str]) -> float | None:
    """Of the options among themselves; needs the log-probability of each."""
    found: dict[str, float] = {}
    for entry in top if isinstance(top, list) else ():
        if isinstance(entry, dict) and _is_number(entry.get("logprob")):
            token = str(entry.get("token")).strip()
            found[token] = max(found.get(token, -math.inf), float(entry["logprob"]))
    missing = [option for option in options if not math.isfinite(found.get(option, -math.inf))]
    if missing:
        notes.append(f"top_logprobs lack {', '.join(missing)}: entropy is missing")
        return None
    highest = max(found[option] for option in options)
    weights = [math.exp(found[option] - highest) for option in options]
    shares = [weight / sum(weights) for weight in weights]
    return max(0.0, -sum(share * math.log(share) for share in shares if share > 0))


def _count(usage: Json, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _is_number(value: Json) -> bool:
    if isinstance(value, int):  # one of four hundred digits is no float
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float) and not math.isnan(value)


def _garbage(content: bytes, why: str) -> BackendFailed:
    shown = content[:SHOWN].decode("utf-8", "replace")
    return BackendFailed(f"the answer is no chat completion ({why}): {shown!r}", Failure.GARBAGE)
