"""What the body of a chat completion says, read with suspicion.

A message is all that is needed; a body without one cannot be used. A message without a text is an
answer all the same, and no fault of the server's: a refusal, a call of tools, or an empty one,
since a filter took the text or the limit of tokens was used up on reasoning. A text in parts is
joined. Log-probabilities or counts that are absent or no numbers are left out with a note, and so
is a P(T) of the wanted kind that the answer does not have: another kind never takes its place. A
body that says something twice says nothing: it cannot be used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from knowgate._records.observation import Observation
from knowgate._records.records import PTKind
from knowgate._wire.strict_json import parse
from knowgate.backends._text.alignment import Ended
from knowgate.backends._text.logprobs import listed_signals
from knowgate.backends.protocol import Finish, Reply
from knowgate.errors import BackendFailed, Failure, RecordInvalid

Json = Any
REASONING = ("reasoning_content", "reasoning", "thinking")  # where servers show it, apart from the text
SHOWN = 200  # characters of a body that a message shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A chat completion: the reply that every engine gives, and the body, for an engine's own."""

    reply: Reply
    choice: Json  # choices[0]
    document: Json


def read_chat(
    content: bytes,
    *,
    options: Sequence[str] = (),
    p_t_kind: PTKind | None = PTKind.FIRST_TOKEN,
    stops: Sequence[str] = (),
) -> Chat:
    """The completion in `content`, with a P(T) of this kind (None = none is wanted); `stops` = the
    stop strings sent.

    Raises BackendFailed (garbage) where there is no message in it.
    """
    try:
        document = parse(content, finite=False)
        choice = _choice(document)
        finish = _finish(choice)
        message = _message(choice.get("message"))
        usage = document.get("usage")
    except (RecordInvalid, _NoMessage) as error:
        raise _garbage(content, str(error)) from error
    notes = list(message.notes)
    text = message.text or ""
    kind = None if message.is_no_text else p_t_kind
    signals = _signals(choice, text, kind, options, _ended(choice, finish, stops), notes)
    shown = replace(
        signals,
        answer=text,
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
        notes=tuple(notes),
    )
    reply = Reply(shown=shown, finish=finish, refusal=message.refusal, tool_calls=message.tool_calls)
    return Chat(reply=reply, choice=choice, document=document)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    text: str | None  # None = there is none
    refusal: str | None = None
    tool_calls: tuple[Json, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def is_no_text(self) -> bool:
        """Whether no token's probability speaks for a text."""
        return self.refusal is not None or self.text is None


class _NoMessage(ValueError):
    """There is no message in a body."""


def _choice(document: Json) -> Json:
    """The first choice. Raises _NoMessage."""
    choices = document.get("choices") if isinstance(document, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _NoMessage("choices[0] is missing")
    return choices[0]


def _message(message: Json) -> _Message:
    """What `choices[0].message` says. Raises _NoMessage."""
    if not isinstance(message, dict):
        raise _NoMessage("choices[0].message is missing" if message is None else "choices[0].message is no object")
    content, refusal = message.get("content"), message.get("refusal")
    calls = message.get("tool_calls") or message.get("function_call") or []
    calls = tuple(call for call in (calls if isinstance(calls, list) else [calls]) if isinstance(call, dict))
    said = refusal if isinstance(refusal, str) and refusal else None
    notes: list[str] = []
    if isinstance(content, list):
        content, of_parts = _joined(content, notes)
        said = said or of_parts
    elif content is None and (len(message) > ("role" in message)):  # a message with no field at all is none
        if not calls and said is None:
            reasoned = any(message.get(name) for name in REASONING)
            notes.append("content is null" + (": all that was written is reasoning" if reasoned else ""))
        return _Message(text=None, refusal=said, tool_calls=calls, notes=notes)
    if not isinstance(content, str):
        raise _NoMessage("choices[0].message.content is no text")
    return _Message(text=content, refusal=said, tool_calls=calls, notes=notes)


def _joined(parts: list[Json], notes: list[str]) -> tuple[str, str | None]:
    """The text of a content in parts, and the refusal among them. Raises _NoMessage."""
    texts, refusals = [], []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "output_text") and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            refusals.append(part["refusal"])
        elif isinstance(kind, str):
            notes.append(f"a part of the type {kind[:SHOWN]!r} is left out")
        else:
            raise _NoMessage("choices[0].message.content holds what is no part")
    return "".join(texts), "".join(refusals) or None


def _signals(
    choice: Json, text: str, kind: PTKind | None, options: Sequence[str], ended: Ended, notes: list[str]
) -> Observation:
    """The signals of the answer's tokens; whatever a server put there costs the signals alone,
    never the answer.
    """
    try:
        return Observation() if kind is None else listed_signals(choice, text, kind, options, ended, notes)
    except (ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        notes.append(f"the logprobs cannot be read ({error!r}): p_t is missing")
        return Observation()


def _ended(choice: Json, finish: Finish | None, stops: Sequence[str]) -> Ended:
    thought = [choice["message"].get(name) for name in REASONING]
    named = [choice.get(name) for name in ("stop_reason", "matched_stop")]  # of vLLM, of SGLang
    return Ended(
        finish=finish,
        reasoning=next((one for one in thought if isinstance(one, str) and one), ""),
        stops=(*stops, *(one for one in named if isinstance(one, str))),
    )


def _finish(choice: Json) -> Finish | None:
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    return Finish(reason) if isinstance(reason, str) and reason in tuple(Finish) else None


def _count(usage: Json, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _garbage(content: bytes, why: str) -> BackendFailed:
    shown = content[:SHOWN].decode("utf-8", "replace")
    return BackendFailed(f"the answer is no chat completion ({why}): {shown!r}", Failure.GARBAGE)
