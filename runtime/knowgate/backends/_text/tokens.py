"""A token of an answer, with its log-probability and what else might have stood in its place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A token that might have stood in another one's place."""

    text: bytes
    logprob: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token that a model wrote."""

    text: bytes  # what it adds to the answer, in UTF-8, perhaps a part of a character; empty for an end
    logprob: float | None  # None = there is none of the model's
    others: tuple[Listed, ...] | None = None  # what else is listed in its place; None = nothing is shown
    unlisted: float = 1.0  # the most that a token which is not listed may have; 0 where all that matter are listed
    fault: str | None = None  # why there is no log-probability


def squeezed(text: bytes) -> bytes:
    """`text` without its spaces: engines trim them, and show a token's own leading space or not."""
    return _back("".join(_decoded(text).split()))


def stripped(text: bytes, marks: str | None = None, *, left: bool = True, right: bool = True) -> bytes:
    """`text` without the `marks` (None = spaces) on these sides."""
    shown = _decoded(text)
    shown = shown.lstrip(marks) if left else shown
    return _back(shown.rstrip(marks) if right else shown)


def behind(text: bytes, used: int) -> bytes:
    """What `text` holds behind its first `used` bytes that are no spaces."""
    shown = _decoded(text)
    for at, character in enumerate(shown):
        if used <= 0:
            return _back(shown[at:])
        used -= 0 if character.isspace() else len(_back(character))
    return b""


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _back(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """UTF-8, whatever the text holds."""
    return text.encode("utf-8", "surrogatepass")
