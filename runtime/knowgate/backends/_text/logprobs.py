"""The tokens that a chat completion lists, `choices[0].logprobs.content`, read with suspicion.

Decisions:
- A number is a log-probability of the model, or there is none. Engines can be set to give what is
  left after sampling took its part: then the chosen token has 0 and every other one -9999 or
  -Infinity, whatever the model thought (vLLM: `--logprobs-mode raw_logprobs` gives the model's
  own). So these spoil a token: an entry of its list that is no log-probability or is below any that
  a double can hold, a list whose probabilities exceed 1, the same entry twice, a number that its
  own list contradicts, 0 beside others that all have the same, and others that are all out of
  reach.
- llama.cpp shows a character of several tokens as one, with the number of its last token alone: its
  list then holds bytes that go on with a character. That is no probability of the character.
- A log-probability of exactly 0 is believed where something shows that the model did think of
  others: a finite entry in its list, or another token of the answer with less.
- A token's bytes count before its text. Where they do not align, the text is read as tokenizers
  write it (`▁`, `Ġ`, `<0xC3>`, `\\xc3`).
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from knowgate._records.observation import Observation
from knowgate._records.records import PTKind
from knowgate.backends._text.alignment import Ended
from knowgate.backends._text.answer_tokens import NOT_ALIGNED, read_signals
from knowgate.backends._text.tokens import Listed, Token, encoded, squeezed

Json = Any
ROUNDING = 1e-6  # by which a log-probability may exceed 0
TOLERANCE = 0.01  # by which probabilities that were computed in half precision may exceed 1 together
SAME = 0.01  # by which a token and its entry in the list may differ, in half precision
FAR = -50.0  # what a second choice has at least: 1e-22 is far below what models and their arithmetic can tell from 0
LEAST = -700.0  # exp of less is no number that a double holds in full
RAW = "serve the model's own log-probabilities (vLLM: --logprobs-mode raw_logprobs)"
NONE = "no log-probabilities of the model"
SHOWN = 20  # characters of a value that a note shows

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_ESCAPED = re.compile(r"(?:bytes:)?((?:\\x[0-9a-fA-F]{2})+)")


def listed_signals(
    choice: Json, text: str, kind: PTKind, options: Sequence[str], ended: Ended, notes: list[str]
) -> Observation:
    """What the tokens that `choices[0]` lists show of its `text`; what is missing is named in
    `notes`.
    """
    listed = False
    for tokens in _token_lists(choice, notes):
        listed = True
        signals = read_signals(tokens, text, kind=kind, options=options, ended=ended, notes=notes)
        if signals is not None:
            return signals
    if listed:
        notes.append(NOT_ALIGNED)
    return Observation()


def _token_lists(choice: Json, notes: list[str]) -> Iterator[list[Token]]:
    """The tokens of `choices[0]`, once for each way to read their texts; nothing, and a note, where
    there are none.
    """
    try:
        content = choice["logprobs"]["content"]
        first = content[0]
    except (KeyError, IndexError, TypeError):
        notes.append("no logprobs came: p_t is missing; serve the model with logprobs")
        return
    if not isinstance(content, list) or not isinstance(first, dict):
        notes.append("choices[0].logprobs.content[0] is no object: p_t is missing")
        return
    entries = [entry if isinstance(entry, dict) else {} for entry in content]
    for text_of in (_bytes_or_text, _bytes_or_unescaped, _text, _unescaped):
        yield _proven([_token(entry, text_of) for entry in entries])


def _token(entry: dict[str, Json], text_of: Callable[[dict[str, Json]], bytes]) -> Token:
    text = text_of(entry)
    logprob = _logarithm(entry.get("logprob"))
    if logprob is None:
        return _without(text, f"logprob is {_shown(entry.get('logprob'))}: no log-probability of the model; {RAW}")
    top = entry.get("top_logprobs")
    if not isinstance(top, list) or not top:
        return Token(text=text, logprob=logprob)
    listed: list[Listed] = []
    for one in top:
        number = _logarithm(one.get("logprob")) if isinstance(one, dict) else None
        if number is None:
            value = one.get("logprob") if isinstance(one, dict) else one
            return _without(text, f"top_logprobs hold {_shown(value)}, no log-probability of the model; {RAW}")
        listed.append(Listed(text=text_of(one), logprob=number))
    own = _own(text, logprob, listed)
    fault = _contradiction(text, logprob, listed, own)
    if fault is not None:
        return _without(text, fault)
    others = tuple(one for at, one in enumerate(listed) if at != own)
    return Token(text=text, logprob=logprob, others=others, unlisted=_unlisted(logprob, listed, own))


def _own(text: bytes, logprob: float, listed: Sequence[Listed]) -> int | None:
    """The place of a token itself in its list: of its very text, or of its text but for spaces and
    with its number.
    """
    by_distance = sorted(range(len(listed)), key=lambda at: abs(listed[at].logprob - logprob))
    exact = next((at for at in by_distance if listed[at].text == text), None)
    if exact is not None:
        return exact
    bare = squeezed(text)
    near = (at for at in by_distance if abs(listed[at].logprob - logprob) <= SAME)
    return next((at for at in near if squeezed(listed[at].text) == bare), None)


def _contradiction(text: bytes, logprob: float, listed: Sequence[Listed], own: int | None) -> str | None:
    """Why these are not the probabilities of the tokens in one place; None where they may be."""
    likeliest = max(listed, key=lambda one: one.logprob)
    if _goes_on(likeliest.text) and text and not _goes_on(text):
        return "logprob is that of a character's last part"
    total = math.fsum(math.exp(one.logprob) for one in listed) + (0.0 if own is not None else math.exp(logprob))
    if total > 1.0 + TOLERANCE:
        return f"the listed tokens have probabilities of {total:.4g} together; {RAW}"
    if len(set(listed)) < len(listed):
        return "top_logprobs hold one entry twice"
    if own is not None and abs(listed[own].logprob - logprob) > SAME:
        return f"logprob is {logprob:.6g}, and {listed[own].logprob:.6g} in top_logprobs"
    rest = [one.logprob for at, one in enumerate(listed) if at != own]
    if rest and max(rest) <= FAR:
        return f"logprob is {logprob:.6g}, and at most {max(rest):.6g} for any other token: {NONE}; {RAW}"
    if logprob == 0.0 and len(rest) > 1 and min(rest) == max(rest):
        return f"logprob is 0, and {rest[0]:.6g} for every other token: {NONE}; {RAW}"
    return None


def _goes_on(text: bytes) -> bool:
    """Whether a token begins within a character."""
    return 0x80 <= text[0] < 0xC0 if text else False


def _unlisted(logprob: float, listed: Sequence[Listed], own: int | None) -> float:
    """The most that a token which is not listed may have: the least of the listed, and what all of
    them leave.
    """
    masses = [math.exp(one.logprob) for one in listed]
    left = 1.0 - math.fsum(masses) - (0.0 if own is not None else math.exp(logprob))
    return min(min(masses), max(0.0, left) + ROUNDING)


def _proven(tokens: list[Token]) -> list[Token]:
    """The tokens; those of a log-probability of 0 without it where nothing shows that the model
    thought of others.
    """
    if any(token.logprob is not None and token.logprob < 0.0 for token in tokens):
        return tokens
    fault = f"every logprob is 0 and no other token is listed: {NONE}; {RAW}"
    return [
        _without(token.text, fault) if token.logprob is not None and not token.others else token for token in tokens
    ]


def _without(text: bytes, fault: str) -> Token:
    return Token(text=text, logprob=None, fault=fault)


def _logarithm(logprob: Json) -> float | None:
    if isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return None
    return min(float(logprob), 0.0) if LEAST <= logprob <= ROUNDING else None


def _shown(value: Json) -> str:
    shown = repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


def _bytes_or_text(entry: dict[str, Json]) -> bytes:
    own = _own_bytes(entry)
    return _text(entry) if own is None else own


def _bytes_or_unescaped(entry: dict[str, Json]) -> bytes:
    own = _own_bytes(entry)
    return _unescaped(entry) if own is None else own


def _text(entry: dict[str, Json]) -> bytes:
    text = entry.get("token")
    return encoded(text) if isinstance(text, str) else b""


def _unescaped(entry: dict[str, Json]) -> bytes:
    text = entry.get("token")
    if not isinstance(text, str):
        return b""
    if byte := _BYTE.fullmatch(text):
        return bytes.fromhex(byte[1])
    if escaped := _ESCAPED.fullmatch(text):
        return bytes.fromhex(escaped[1].replace("\\x", ""))
    return encoded(text.replace("▁", " ").replace("Ġ", " ").replace("Ċ", "\n"))


def _own_bytes(entry: dict[str, Json]) -> bytes | None:
    own = entry.get("bytes")
    try:
        return bytes(own) if isinstance(own, list) else None
    except (TypeError, ValueError):  # something in it is no byte
        return None
