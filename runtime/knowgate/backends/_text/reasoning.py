"""What a model thinks before it answers, as it stands in texts and among tokens: known by the
markers around it.

Decisions:
- Markers are those that models are trained on. A thought in words of its own, without a marker, is
  text like any other.
- Behind one thought there may be a second one. A marker that closes what nothing opened again is
  two ways to read a text, and so none.
- gpt-oss writes messages, each under a channel. Its answer is the one of the channel `final`; a
  server that drops the markers and keeps their words writes `analysis…assistantfinal…`.
- The model's own end, where a server leaves it in the text, is no part of an answer.
"""

import re

from knowgate.backends._text.tokens import encoded

_TAGS = (
    "think|thinking|thought|thoughts|reason|reasoning|reflection|analysis|scratchpad|seed:think|internal_monologue|cot"
)
_SPECIAL = (
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|think|>", "<|/think|>"),
    ("<|thinking|>", "<|/thinking|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>", "<channel|>"),
    ("<unused94>", "<unused95>"),
)
_FINAL = "final<|message|>"  # of gpt-oss
_WORDS = "assistantfinal"  # its markers without what marks them
# What may stand around an answer behind a thought.
_ANSWERS = ("<|begin_of_solution|>", "<|START_RESPONSE|>", "<answer>", "<response>", "<solution>", "<final_answer>")


def _any(texts: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, texts))


_OPENS = re.compile(
    rf"<(?:{_TAGS})(?:\s[^<>]*)?>|{_any(tuple(opens for opens, _ in _SPECIAL))}|<\|channel\|>|<\|start\|>",
    re.IGNORECASE,
)
_OPENS_NEXT = re.compile(rf"\s*(?:{_OPENS.pattern})", re.IGNORECASE)
_CLOSES = re.compile(
    rf"(?:</(?:{_TAGS})>|{_any(tuple(closes for _, closes in _SPECIAL))}|<\|channel\|>\s*{re.escape(_FINAL)})"
    rf"\s*(?:{_any(_ANSWERS)})?",
    re.IGNORECASE,
)
_CHANNELS = ("analysis", "commentary")
_IN_WORDS = re.compile(rf"(?:{'|'.join(_CHANNELS)})(?=[^\W_a-z])")
_LEFT = re.compile(r"<\|[^<>|]{1,60}\|>$")
_ENDS = re.compile(rf"{_LEFT.pattern}|</(?:answer|response|solution|final_answer)>$", re.IGNORECASE)
_LONGEST = 64  # bytes of a marker, and more
_CLOSED = re.compile(
    rb"(?:</(?:%b)>|%b)$"
    % (
        encoded(_TAGS),
        b"|".join(re.escape(encoded(mark)) for mark in (*(c for _, c in _SPECIAL), *_ANSWERS, _FINAL, _WORDS)),
    ),
    re.IGNORECASE,
)
_MARKER = re.compile(_OPENS.pattern + "|" + _CLOSES.pattern, re.IGNORECASE)


def answer_of(text: str, *, within: bool = False) -> str | None:
    """What `text` says behind its reasoning; None where it is reasoning without an end, or its end
    is not clear.

    `within`: the prompt has opened a thought, so the text begins in it.

    >>> answer_of("<think>B or C?</think> B"), answer_of("<think>B or")
    ('B', None)
    >>> answer_of("B"), answer_of("B", within=True)
    ('B', None)
    """
    if (in_words := _in_words(text)) is not None:
        return in_words[0]
    opens, closes = _opens(text, 0), _CLOSES.search(text)
    if not opens and not within and (closes is None or _OPENS.search(text, 0, closes.start())):
        return _without(_LEFT, text)  # without a thought, or it speaks of the markers
    while closes is not None:
        begin = closes.end()
        opens, closes = _opens(text, begin), _CLOSES.search(text, begin)
        if not opens:
            return _without(_ENDS, text[begin:]) if closes is None else None
    return None


def _opens(text: str, begin: int) -> bool:
    return _OPENS_NEXT.match(text, begin) is not None


def _without(ends: re.Pattern[str], text: str) -> str:
    """`text` without the ends that a server left behind it, and without the spaces there."""
    end = _bare_end(text, len(text))
    while end_mark := ends.search(text, max(0, end - _LONGEST), end):
        end = _bare_end(text, end_mark.start())
    return text[:end]


def _bare_end(text: str, end: int) -> int:
    """Where `text`, up to `end`, has its last spaces."""
    while end and text[end - 1].isspace():
        end -= 1
    return end


def _in_words(text: str) -> tuple[str | None] | None:
    """The answer of gpt-oss without its markers; None where the text is none such."""
    before, mark, behind = text.lstrip().partition(_WORDS)
    if mark and before.startswith(_CHANNELS):
        return (behind or None,)
    return (None,) if _IN_WORDS.match(before) else None


def is_left_behind(shown: bytes) -> bool:
    """Whether `shown`, without its spaces, is what closes an answer."""
    return not _without(_ENDS, shown.decode("utf-8", "replace"))


def is_closed(shown: bytes) -> bool:
    """Whether `shown`, without its spaces, ends where a thought does."""
    return _CLOSED.search(shown[-_LONGEST:]) is not None


def holds_an_end(shown: bytes) -> bool:
    """Whether a thought ends within `shown`, which has no spaces."""
    return _CLOSES.search(shown.decode("utf-8", "replace")) is not None


def without_markers(shown: bytes) -> bytes:
    """`shown`, which has no spaces, without the markers around it."""
    text = shown.decode("utf-8", "surrogateescape")
    if opens := _OPENS.match(text):
        text = text[opens.end() :]
    for closes in _CLOSES.finditer(text):
        if closes.end() == len(text):
            text = text[: closes.start()]
    return text.encode("utf-8", "surrogateescape")


def opens_a_thought(prompt: str) -> bool:
    """Whether a prompt ends with the marker behind which a model thinks."""
    tail = prompt.rstrip()[-_LONGEST:]
    return any(opens.end() == len(tail) for opens in _OPENS.finditer(tail))


def is_marker(text: str) -> bool:
    """Whether a token is one that opens or closes a thought."""
    return _MARKER.fullmatch(text.strip()) is not None
