"""Which of the listed tokens are the answer's: those whose bytes are the bytes of its text.

Decisions:
- Spaces are not compared: servers trim an answer, and many show tokens without their leading space.
  So the first token of an answer is its first one with text.
- What stands before the answer has to be explained: nothing, or reasoning, known by the marker that
  closes it (`reasoning`) or by being the reply's own `reasoning_content`. A list that begins with
  that is no list of the answer.
- What stands behind it has to be explained as well: tokens that end an answer, a stop string that
  was cut off, half a character. A stop string that nobody named is believed where the answer ended
  by itself (`stop`) and it starts a new line or has no letter or digit, and where the answer does
  not come once more: else the tokens go on in words that the text does not have, or all this was
  thought.
- Tokens that show U+FFFD for a part of a character stand for any characters beyond ASCII in their
  place.
- Two ways to align are none.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from knowgate.backends._text.reasoning import holds_an_end, is_closed, is_left_behind, without_markers
from knowgate.backends._text.tokens import behind, encoded, squeezed, stripped
from knowgate.backends.protocol import Finish

_END = re.compile(rb"<\|[^<>|]{1,60}\|>|<\xef\xbd\x9c.{1,60}\xef\xbd\x9c>|</?s>|<(?:eos|pad|end_of_turn|end)>|\[EOS\]")
_REPLACED = "�"
MARKERS = 64  # bytes that the markers around a thought may have together

Span = tuple[int, int]  # the first token, and the one behind the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a reply says of itself beside its text and tokens."""

    finish: Finish | None = None
    reasoning: str = ""  # what the model thought, where the reply shows it apart from its text
    stops: tuple[str, ...] = ()  # the stop strings that are known
    within: bool = False  # the prompt has opened a thought: the text begins in it


def align(texts: Sequence[bytes], answer: str, ended: Ended) -> Span | None:
    """The tokens of `texts` that are the answer's; None where they are not known.

    >>> align([b" B", b"</s>"], "B", Ended()), align([b"B", b" or", b" C"], "B", Ended())
    ((0, 1), None)
    """
    wanted = squeezed(encoded(answer))
    bare = [squeezed(text) for text in texts]
    offsets = [0, *accumulate(map(len, bare))]
    listed = b"".join(bare)
    if not wanted:
        return _blank(texts)
    starts = list(_starts(bare, offsets, listed, ended))
    spans = {span for start in starts for span in _exact(texts, start, offsets, listed, wanted, ended)}
    if not spans:
        spans = {span for start in starts for span in _illegible(texts, start, offsets, listed, wanted)}
    return spans.pop() if len(spans) == 1 else None


def _blank(texts: Sequence[bytes]) -> Span | None:
    """The tokens of an answer without text: spaces, or an end alone."""
    ends = [_ends(text) for text in texts]
    if not texts or not all(end or not squeezed(text) for text, end in zip(texts, ends, strict=True)):
        return None
    return 0, max(1, next((at for at, end in enumerate(ends) if end), len(texts)))


def _starts(bare: Sequence[bytes], offsets: Sequence[int], listed: bytes, ended: Ended) -> Iterator[int]:
    """The tokens that the answer may begin with, by what stands before them."""
    thought = without_markers(squeezed(encoded(ended.reasoning)))
    near = range(len(thought), len(thought) + MARKERS + 1) if thought else ()  # its length with markers around it
    thinks = bool(thought) and (listed.startswith(thought) or thought.startswith(listed))  # the list begins with it
    for at, text in enumerate(bare):
        before = offsets[at]
        if not text:
            continue
        begins = before == 0 and not thinks
        if (
            begins
            or is_closed(listed[max(0, before - MARKERS) : before])
            or (before in near and without_markers(listed[:before]) == thought)
        ):
            yield at


def _exact(
    texts: Sequence[bytes], start: int, offsets: Sequence[int], listed: bytes, wanted: bytes, ended: Ended
) -> Iterator[Span]:
    if not listed.startswith(wanted, offsets[start]):
        return
    reached = offsets[start] + len(wanted)
    end = bisect_left(offsets, reached, lo=start)
    cut = behind(texts[end - 1], reached - offsets[end - 1])
    if _is_explained(cut, texts[end:], ended, wanted):
        yield with_first_bytes(texts, start, listed[offsets[start]]), end


def _illegible(
    texts: Sequence[bytes], start: int, offsets: Sequence[int], listed: bytes, wanted: bytes
) -> Iterator[Span]:
    end = len(texts)
    while end > start and _ends(texts[end - 1]):
        end -= 1
    shown, text = listed[offsets[start] : offsets[end]], wanted.decode("utf-8", "surrogateescape")
    if shown.decode("utf-8", "replace") == text or _may_be(shown.decode("utf-8", "surrogateescape"), text):
        yield start, end


def _may_be(shown: str, wanted: str) -> bool:
    """Whether `wanted` is `shown` with each run of U+FFFD read as some characters beyond ASCII."""
    first, *pieces = re.split(f"{_REPLACED}+", shown)
    if not pieces or not wanted.startswith(first):
        return False
    at = len(first)
    for place, piece in enumerate(pieces):
        last = place == len(pieces) - 1
        behind = len(wanted) - len(piece) if last else wanted.find(piece, at + 1)
        gap = wanted[at : max(behind, 0)]
        if not gap or any(character.isascii() for character in gap) or not wanted.startswith(piece, behind):
            return False
        at = behind + len(piece)
    return True


def with_first_bytes(texts: Sequence[bytes], start: int, first: int) -> int:
    """`start`, or the tokens before it that show nothing since they are the first bytes of its
    first character.
    """
    while first >= 0x80 and start > 0 and not texts[start - 1]:
        start -= 1
    return start


def _is_explained(cut: bytes, following: Sequence[bytes], ended: Ended, wanted: bytes) -> bool:
    """Whether the answer `wanted` may have ended here: `cut` is the rest of its last token,
    `following` its tokens.
    """
    if not cut and all(map(_ends, following)):
        return True
    more = list(following)
    while more and _ends(more[-1]):
        more.pop()
    rest = cut + b"".join(more)
    words, bare = stripped(rest, right=False), squeezed(rest)
    if holds_an_end(bare):  # all this was thought
        return False
    if not words or any(text.startswith(encoded(stop)) for stop in ended.stops if stop for text in (rest, words)):
        return True
    if _is_half_a_character(words) or is_left_behind(bare):
        return True
    new_line = rest.lstrip(b" \t")[:1] in (b"\n", b"\r")
    letters = any(character.isalnum() for character in words.decode("utf-8", "replace"))
    again = bare.endswith(wanted)  # where the answer may well begin
    return ended.finish is Finish.STOP and (new_line or not letters) and not again


def _ends(text: bytes) -> bool:
    """Whether a token shows no text, or is one that engines list at an answer's end."""
    return not text or _END.fullmatch(stripped(text)) is not None


def _is_half_a_character(rest: bytes) -> bool:
    try:
        rest.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start == 0 and error.reason == "unexpected end of data"
    return False
