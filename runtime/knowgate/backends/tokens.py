"""A token of an answer, with its log-probability and what else might have stood in its place."""

from dataclasses import dataclass

SPACES = b" \t\r\n\v\f"


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
    return text.translate(None, SPACES)


def encoded(text: str) -> bytes:
    """UTF-8, whatever the text holds."""
    return text.encode("utf-8", "surrogatepass")
