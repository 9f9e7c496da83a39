"""P(T), entropy and margin of one answer, from its tokens: the one place for every engine, in this
process or not.

The tokens are aligned with the answer's text first (`alignment`): a list may also hold what a model
thought before, an end token, or a stop string that was cut off. What cannot be aligned has no
signals, and a note says so: a number of other tokens than the answer's would look like any other.
All kinds of P(T) (`knowgate._models.p_t`), entropy and margin are then read from the answer's own
tokens.
"""

import math
from collections.abc import Sequence

from knowgate._models.p_t import mean_p_t
from knowgate._records.observation import Observation
from knowgate._records.records import PTKind
from knowgate.backends._text.alignment import Ended, align
from knowgate.backends._text.option_tokens import read_option
from knowgate.backends._text.reasoning import answer_of
from knowgate.backends._text.tokens import Token

NOT_ALIGNED = "the logprobs are of other tokens than the answer's text: p_t is missing"
NO_END = "where the model's thoughts end and its answer begins is not clear: p_t is missing"


def read_signals(
    tokens: Sequence[Token],
    text: str,
    *,
    kind: PTKind,
    options: Sequence[str],
    ended: Ended,
    notes: list[str],
) -> Observation | None:
    """The signals of the answer `text` that `tokens` wrote; what is missing is named in `notes`.

    None where the tokens cannot be aligned with the text.
    """
    answer = answer_of(text, within=ended.within)
    if answer is None:
        notes.append(NO_END)
        return Observation()
    span = align([token.text for token in tokens], answer, ended)
    if span is None:
        return None
    written = tokens[span[0] : span[1]]
    of_options = read_option(tokens, span, answer, options, ended) if options else None
    if of_options is None:
        p_t = _p_t(kind, written, notes)
        return Observation(p_t=p_t)
    figures = of_options.figures
    if of_options.lack is not None:
        without = "p_t, entropy and margin are" if kind is PTKind.OPTION else "entropy and margin are"
        notes.append(f"{of_options.lack}: {without} missing")
    elif figures.entropy is None or figures.margin is None:
        gone = [name for name in ("entropy", "margin") if getattr(figures, name) is None]
        verb = "is" if len(gone) == 1 else "are"
        notes.append(f"top_logprobs lack {', '.join(of_options.lacking)}: {' and '.join(gone)} {verb} missing")
    p_t = of_options.p_t if kind is PTKind.OPTION else _p_t(kind, written, notes)
    return Observation(p_t=p_t, entropy=figures.entropy, margin=figures.margin)


def _p_t(kind: PTKind, written: Sequence[Token], notes: list[str]) -> float | None:
    if kind is PTKind.FIRST_TOKEN:
        first = written[0]
        if first.logprob is None:
            notes.append(f"{first.fault}: p_t is missing")
            return None
        return min(1.0, math.exp(first.logprob))
    known = [token.logprob for token in written if token.logprob is not None]
    if len(known) < len(written):
        why = next(token.fault for token in written if token.logprob is None)
        notes.append(f"{len(written) - len(known)} of {len(written)} logprobs are none ({why}): p_t is missing")
        return None
    return mean_p_t(known)
