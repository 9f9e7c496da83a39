"""The probability of the chosen option, and entropy and margin of all options, from the tokens of
one answer.

Decisions:
- The answer is an option by `knowgate._records.options`, or it has no option probability.
- An option of several tokens has the product of their probabilities. Marks before it are none of
  them.
- Its spellings are summed: at each of its tokens, whatever is listed there and would have completed
  the same option (`A`, ` A`, `A.`, `(A`) is added, each once. A token that only begins an option
  counts for nothing, since what would have followed is not shown.
- What the other options have is what is listed of them in the same way. One of which nothing
  complete is listed has at most what begins it, and what a token that is not listed may have;
  `knowgate._models.p_t` bounds the figures with that.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from knowgate._models.p_t import OptionFigures, option_figures
from knowgate._records.options import MARKS, bare, option_of
from knowgate.backends._text.alignment import Ended, Span, with_first_bytes
from knowgate.backends._text.tokens import Token, encoded, squeezed, stripped
from knowgate.backends.protocol import Finish

NOTHING = OptionFigures(entropy=None, margin=None)
SLACK = 1e-3  # of an option's probability that may be unknown where it counts as known
SHOWN = 40  # characters of an answer that a note shows


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionReading:
    """What the tokens say of the options; `lack` is why they say nothing."""

    p_t: float | None = None
    figures: OptionFigures = NOTHING
    lacking: tuple[str, ...] = ()  # the options whose probability is not shown
    lack: str | None = None


@dataclass(slots=True)
class _Mass:
    """What is known of one option's probability."""

    text: bytes  # without spaces and marks
    complete: float = 0.0
    begun: float = 0.0  # of tokens that begin it, behind which nothing is shown
    unlisted: float = 0.0  # the most that tokens which are not listed may add


@dataclass(slots=True)
class _Masses:
    """What is known of all options, position by position along the answer's own tokens."""

    of: dict[str, _Mass]
    so_far: float = 1.0  # the probability of the tokens that were walked
    spelt: bytes = b""  # by them, of the option
    begun: bool = False  # whether there were any

    def see(self, token: Token) -> None:
        """What else might have stood in this token's place."""
        for other in token.others or ():
            self._count(other.text, self.so_far * math.exp(other.logprob))
        for mass in self.possible():
            if token.others is None:  # all of it may have gone on to this option
                mass.begun += self.so_far * token.unlisted
            else:
                mass.unlisted += self.so_far * token.unlisted

    def step(self, token: Token, spelt: bytes) -> None:
        """Goes past a token, behind which this much of the option is spelt."""
        assert token.logprob is not None
        self.so_far *= math.exp(token.logprob)
        self.spelt, self.begun = spelt, True

    def _count(self, text: bytes, probability: float) -> None:
        shown = squeezed(text)
        for mass in self.possible():
            rest = mass.text[len(self.spelt) :]
            without = stripped(shown, MARKS, left=not self.begun)
            if rest in (without, shown):
                mass.complete += probability
            elif 0 < len(begins := shown if self.begun else stripped(shown, MARKS, right=False)) < len(
                rest
            ) and rest.startswith(begins):
                mass.begun += probability

    def possible(self) -> list[_Mass]:
        """The options that begin with what is spelt, and go on."""
        return [
            mass for mass in self.of.values() if mass.text.startswith(self.spelt) and len(mass.text) > len(self.spelt)
        ]


def read_option(
    tokens: Sequence[Token], span: Span, answer: str, options: Sequence[str], ended: Ended
) -> OptionReading:
    """What `tokens`, of which `span` wrote `answer`, say of the options."""
    shown = repr(answer.strip()[:SHOWN])
    chosen = option_of(answer, options)
    if chosen is None:
        return OptionReading(lack=f"the answer {shown} is no option")
    own = _path(tokens, span, answer)
    if own is None:
        return OptionReading(lack=f"the tokens of the option {shown} are not legible")
    (first, behind), spelt = own
    path = tokens[first:behind]
    faults = [token.fault for token in path if token.logprob is None]
    if faults:
        return OptionReading(lack=faults[0])
    masses = _Masses(of={option: _Mass(text=squeezed(encoded(bare(option)))) for option in options})
    for token, text in zip(path, spelt, strict=True):
        masses.see(token)
        masses.step(token, text)
    if masses.possible():  # options that the answer might have gone on to
        if behind == len(tokens) and ended.finish is Finish.LENGTH:
            return OptionReading(lack=f"the answer {shown} was cut off where it might have become a longer option")
        masses.see(tokens[behind] if behind < len(tokens) else Token(text=b"", logprob=None))
    masses.of[chosen].complete += masses.so_far
    listed = all(token.others is not None for token in path)
    figures, lacking = _figures(masses, chosen) if listed else (NOTHING, tuple(options))
    return OptionReading(p_t=min(1.0, masses.of[chosen].complete), figures=figures, lacking=lacking)


def _path(tokens: Sequence[Token], span: Span, answer: str) -> tuple[Span, list[bytes]] | None:
    """The option's own tokens, and how much of it is spelt behind each; None where its bytes are
    not shown.
    """
    core = squeezed(encoded(bare(answer)))
    begin = len(squeezed(encoded(answer[: answer.index(bare(answer))])))
    texts = [token.text for token in tokens[span[0] : span[1]]]
    ends = list(accumulate(len(squeezed(text)) for text in texts))
    if not squeezed(b"".join(texts)).startswith(core, begin):
        return None
    first, last = bisect_right(ends, begin), bisect_left(ends, begin + len(core))
    first = with_first_bytes(texts, first, core[0])
    return (span[0] + first, span[0] + last + 1), [core[: max(0, end - begin)] for end in ends[first : last + 1]]


def _figures(masses: _Masses, chosen: str) -> tuple[OptionFigures, tuple[str, ...]]:
    """Entropy and margin, and the options of whose probability there is only a bound."""
    known = {option: mass.complete for option, mass in masses.of.items() if mass.complete > 0 and mass.begun <= SLACK}
    lacking = tuple(option for option in masses.of if option not in known)
    if chosen not in known:
        return NOTHING, lacking
    bounds = [mass.complete + mass.begun + mass.unlisted for option, mass in masses.of.items() if option not in known]
    most = max(bounds, default=0.0)
    return option_figures(list(known.values()), missing=len(lacking), most=min(1.0, most)), lacking
