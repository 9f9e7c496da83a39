"""P(T), entropy and margin from the log-probabilities of a chat completion's tokens, `choices[0].logprobs.content`.

Where the options are known, the answer's option is its first token that is a word: spaces and marks such as `**` or `(`
may come before it. If that token is no option, there is no chosen option, and its probability is missing: a letter
further on ("The answer is A good one") may be anything. An option is one token here; its likeliest spelling counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knowgate.p_t import OptionFigures, mean_p_t, option_figures
from knowgate.records import PTKind

Json = Any
MARKS = " \t\r\n.:()[]{}*_\"'`"  # what may stand around an option, as tokens of their own or within its token
ROUNDING = 1e-6  # by which a sum of float32 probabilities, or a log-probability, may miss its limit


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSignals:
    """What the tokens of one answer show; None = missing."""

    p_t: float | None = None
    entropy: float | None = None
    margin: float | None = None


def read_signals(
    choice: Json, text: str, kind: PTKind | None, options: Sequence[str], notes: list[str]
) -> TokenSignals:
    """The signals of `choices[0]` whose text is `text`; what is missing is told in `notes`."""
    if kind is None:
        return TokenSignals()
    tokens = _tokens(choice, notes)
    if tokens is None:
        return TokenSignals()
    word = next((token for token in tokens if str(token.get("token")).strip(MARKS)), tokens[0])
    figures = _figures(word.get("top_logprobs"), options, notes) if options else None
    return TokenSignals(
        p_t=_p_t(kind, tokens, word, choice, text, options, notes),
        entropy=None if figures is None else figures.entropy,
        margin=None if figures is None else figures.margin,
    )


def says_option(text: str, options: Sequence[str]) -> bool:
    """Whether an answer begins with one of the options, so that whatever follows changes nothing."""
    word = text.lstrip(MARKS)
    bare = [option.strip(MARKS) for option in options]
    return any(option and word.startswith(option) and not word[len(option) :][:1].isalnum() for option in bare)


def _p_t(
    kind: PTKind,
    tokens: list[dict[str, Json]],
    word: dict[str, Json],
    choice: Json,
    text: str,
    options: Sequence[str],
    notes: list[str],
) -> float | None:
    if kind is PTKind.FIRST_TOKEN:
        return _probability(tokens[0].get("logprob"), notes)
    if kind is PTKind.OPTION:
        if _bare(word) in {option.strip(MARKS) for option in options}:
            return _probability(word.get("logprob"), notes)
        notes.append(f"the answer begins with {_bare(word)!r}, which is no option: p_t is missing")
        return None
    logarithms = [_logarithm(token.get("logprob")) for token in _of_text(tokens, choice, text)]
    known = [value for value in logarithms if value is not None]
    if len(known) < len(logarithms):
        notes.append(f"{len(logarithms) - len(known)} of {len(logarithms)} logprobs are none: p_t is missing")
        return None
    return mean_p_t(known)


def _tokens(choice: Json, notes: list[str]) -> list[dict[str, Json]] | None:
    try:
        tokens = choice["logprobs"]["content"]
        first = tokens[0]
    except (KeyError, IndexError, TypeError):
        notes.append("no logprobs came: p_t is missing; serve the model with logprobs")
        return None
    if isinstance(tokens, list) and isinstance(first, dict):
        return [token if isinstance(token, dict) else {} for token in tokens]
    notes.append("choices[0].logprobs.content[0] is no object: p_t is missing")
    return None


def _of_text(tokens: list[dict[str, Json]], choice: Json, text: str) -> list[dict[str, Json]]:
    """The tokens without the one that ended the answer, which some engines list and others do not."""
    if len(tokens) < 2 or choice.get("finish_reason") != "stop":
        return tokens
    held = tokens[-1].get("bytes")
    try:
        last = str(tokens[-1].get("token")).encode() if held is None else bytes(held)
    except (TypeError, ValueError):
        return tokens
    return tokens if text.encode("utf-8", "surrogatepass").endswith(last) and last else tokens[:-1]


def _figures(top: Json, options: Sequence[str], notes: list[str]) -> OptionFigures:
    listed = [
        (str(entry.get("token")).strip(), math.exp(logarithm))
        for entry in (top if isinstance(top, list) else ())
        if isinstance(entry, dict) and (logarithm := _logarithm(entry.get("logprob"))) is not None
    ]
    found: dict[str, float] = {}
    for token, probability in listed:
        found[token] = max(found.get(token, 0.0), probability)
    known = [found[option.strip()] for option in options if found.get(option.strip(), 0.0) > 0]
    missing = len(options) - len(known)
    figures = option_figures(known, missing=missing, most=_most(listed))
    if figures.entropy is None:
        lacking = [option for option in options if option.strip() not in found]
        notes.append(f"top_logprobs lack {', '.join(lacking)}: entropy is missing")
    return figures


def _most(listed: list[tuple[str, float]]) -> float:
    """The most that a token which is not listed may have: the least of the listed, and what they leave."""
    if not listed:
        return 1.0
    rest = 1.0 - math.fsum(probability for _, probability in listed)
    return min(min(probability for _, probability in listed), max(rest, 0.0) + ROUNDING)


def _probability(logprob: Json, notes: list[str]) -> float | None:
    logarithm = _logarithm(logprob)
    if logarithm is None:
        notes.append(f"logprob is {logprob!r}: no log-probability, p_t is missing")
        return None
    return math.exp(logarithm)


def _logarithm(logprob: Json) -> float | None:
    if isinstance(logprob, int):  # one of four hundred digits is no float
        number = not isinstance(logprob, bool) and abs(logprob) < 2**63
    else:
        number = isinstance(logprob, float)
    return min(float(logprob), 0.0) if number and logprob <= ROUNDING else None


def _bare(token: dict[str, Json]) -> str:
    return str(token.get("token")).strip(MARKS)
