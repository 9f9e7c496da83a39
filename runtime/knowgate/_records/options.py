"""Which of the allowed answers a text is: one rule for every engine, in serving and in training.

Decisions:
- Spaces and marks around an option mean nothing: ` A`, `A.`, `(A)` and `**A**` are spellings of the
  option `A`.
- Nothing else may stand beside it. "Aardvarks." begins with an A and is none; neither is "A good
  question".
- Case counts: `a` is another answer than `A`.
- An option of marks alone, such as `?`, is compared as it stands, without the spaces around it.
"""

from collections.abc import Sequence

from knowgate.errors import RecordInvalid

MARKS = " \t\r\n\v\f\u00a0\u3000.,:;!?()[]{}*_\"'`“”‘’«»。，：；！？（）"


def bare(text: str) -> str:
    """`text` without the spaces and marks around it.

    >>> bare(" **(A).** "), bare(" ? ")
    ('A', '?')
    """
    return text.strip(MARKS) or text.strip()


def option_of(text: str, options: Sequence[str]) -> str | None:
    """The option that `text` is; None where it is none.

    >>> option_of("(B).", ["A", "B"]), option_of("B because of Lima", ["A", "B"])
    ('B', None)
    """
    said = bare(text)
    return next((option for option in options if said and bare(option) == said), None)


def require_options(options: Sequence[str]) -> None:
    """Raises RecordInvalid for an option without text, and for two that the rule above cannot tell
    apart.
    """
    seen: dict[str, str] = {}
    for option in options:
        text = bare(option)
        if not text:
            raise RecordInvalid("options", list(options), f"{option!r} has no text: leave it out")
        if text in seen:
            cure = f"{seen[text]!r} and {option!r} differ at most by the marks and spaces around them: give each once"
            raise RecordInvalid("options", list(options), cure)
        seen[text] = option
