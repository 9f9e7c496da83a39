"""P(T) and what goes with it, from probabilities of tokens: one definition for all who measure
them.

Decisions:
- Over an answer of several tokens the mean is the geometric one, exp of the mean log-probability:
  the likelihood of the answer with its length taken out (Malinin and Gales, "Uncertainty Estimation
  in Autoregressive Structured Prediction", 2021, section 3; the inverse of a perplexity). An
  arithmetic mean would hide one impossible token among many sure ones. The method that knowgate
  follows names the first answer token alone (Chen, Chen and Yen, 2026), which stays the default.
  The token that ends an answer is none of it, and is left out where there is another.
- The entropy (nats) is that of the allowed answers among themselves; the margin is by how much the
  likeliest of them exceeds the next, both as probabilities over the whole vocabulary.
- An endpoint lists its likeliest tokens only. An answer that is not among them is no likelier than
  the least of those, which bounds entropy and margin from both sides. Where the bounds lie within
  `WIDTH` of each other their middle is given, else nothing: it is just the surest answers whose
  rivals drop out of a list.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from knowgate.errors import RecordInvalid

WIDTH = 0.01  # nats, or probability


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionFigures:
    """Entropy (nats) and margin over the allowed answers; None = not known well enough."""

    entropy: float | None
    margin: float | None


def mean_p_t(log_probabilities: Sequence[float]) -> float:
    """The geometric mean of the tokens' probabilities. Raises RecordInvalid without tokens.

    >>> round(mean_p_t([math.log(0.9), math.log(0.4)]), 6)
    0.6
    """
    if not log_probabilities:
        raise RecordInvalid("log_probabilities", [], "an answer has at least one token")
    return min(1.0, math.exp(math.fsum(log_probabilities) / len(log_probabilities)))


def option_figures(known: Sequence[float], *, missing: int = 0, most: float = 0.0) -> OptionFigures:
    """Entropy and margin over `known` probabilities of answers, and `missing` others of at most
    `most` each.

    A known one below `most` is taken for a missing one: that widens the bounds, and keeps them
    simple.

    >>> option_figures([0.5, 0.25, 0.125, 0.125]).margin
    0.25
    >>> option_figures([0.9, 0.05], missing=2, most=0.04).entropy is None
    True
    >>> option_figures([0.9999], missing=3, most=1e-5).margin
    0.999895
    """
    likely = [mass for mass in known if mass >= most or not missing]
    known, missing = likely, missing + len(known) - len(likely)
    if not known or len(known) + missing < 2:
        return OptionFigures(entropy=None, margin=None)
    return OptionFigures(
        entropy=_settled(entropy_bounds(known, missing, most)), margin=_settled(margin_bounds(known, missing, most))
    )


def entropy_bounds(known: Sequence[float], missing: int, most: float) -> tuple[float, float]:
    """The least and the greatest entropy, given that `most` is no more than any of `known`.

    The entropy of normalised masses is quasi-concave in them, and grows with each mass that is
    below all others: so it is least where the missing ones are 0, and greatest where each is as
    large as it may be.
    """
    return _entropy(known), _entropy([*known, *[most] * missing])


def margin_bounds(known: Sequence[float], missing: int, most: float) -> tuple[float, float]:
    """The least and the greatest margin, given that `most` is no more than any of `known`."""
    first, *others = sorted(known, reverse=True)
    if others:
        return first - others[0], first - others[0]
    return first - (most if missing else 0.0), first


def _entropy(masses: Sequence[float]) -> float:
    total = math.fsum(masses)
    if not total > 0:
        return math.log(len(masses))
    shares = [mass / total for mass in masses]
    return max(0.0, -math.fsum(share * math.log(share) for share in shares if share > 0))


def _settled(bounds: tuple[float, float]) -> float | None:
    low, high = bounds
    return (low + high) / 2 if high - low <= WIDTH else None
