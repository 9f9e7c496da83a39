"""What was found at two endpoints, and what it means, in plain sentences."""

from collections.abc import Iterator, Sequence

from evidence.bounds.power import rows_needed_for_drop
from knowgate._records.request import LOGPROBS
from knowgate.spec import CascadeSpec
from services.endpoints.first_file import Tier
from services.next_attempt import fewest_labels

HALF = 0.5  # of the drop that is allowed, for the figure of what a first certificate may take


def found_in_words(tiers: Sequence[Tier], spec: CascadeSpec) -> Iterator[str]:
    """A line per finding, what it means for the cascade, and what a first certificate takes."""
    for tier in tiers:
        yield from _of_tier(tier)
    yield from _of_signals(tiers[0])
    if tiers[0].parameters >= tiers[-1].parameters:
        yield "the first tier is as large as the last: nothing is saved unless its price is lower; declare prices"
    yield from _of_labels(spec)


def _of_tier(tier: Tier) -> Iterator[str]:
    served, trial = tier.served, tier.trial
    version = "" if served.version is None else f" {served.version}"
    context = "" if served.context is None else f", context of {served.context} tokens"
    yield f"{tier.name}: {served.model} at {tier.url}, engine: {served.engine}{version}{context}"
    if trial.p_t is not None:
        yield f"  log-probabilities: yes (the first token of a test answer had {trial.p_t:.3f})"
    elif LOGPROBS in trial.request:
        yield "  log-probabilities: no (it refuses to be asked, and `request` says so; the last tier needs none)"
    else:
        yield f"  log-probabilities: no ({'; '.join(trial.notes) or 'the endpoint gives none'})"
    if tier.options:
        unseen = [option for option in tier.options if option not in trial.one_token]
        yield f"  options of one token: {', '.join(trial.one_token) or 'none was seen'}"
        if unseen:
            yield f"  not seen as one: {', '.join(unseen)} (several will do, where the answer's list shows them)"
    yield f"  hidden states: {'yes' if trial.states else 'no'}"
    yield f"  the same question twice, the same answer: {'yes' if trial.same else 'no'}"
    if not trial.same:
        yield "  what decides is certified for answers that repeat; say why it does not under tiers.request"


def _of_signals(first: Tier) -> Iterator[str]:
    if first.trial.p_t is not None:
        yield 'signals: P(T), the probability that the first tier gave to its answer; rule = "p_t" decides by it'
    else:
        yield "signals: none. Without P(T) nothing is ever kept: serve the first tier with log-probabilities, or"
        yield 'declare an `encoder` that reads the prompts in its place, and rule = "p_ik" (docs/signals.md)'
    if first.trial.states:
        yield "         P(IK) can be had too: name `layers`, make the fingerprint (`knowgate fingerprint`), hand it to"
        yield '         the gateway (`--fingerprint`), and declare rule = "gates"'
    elif first.trial.p_t is not None:
        yield "         no P(IK): this engine hands no hidden states out; vLLM and SGLang do, or an `encoder`"


def _of_labels(spec: CascadeSpec) -> Iterator[str]:
    targets = spec.targets
    likely = rows_needed_for_drop(HALF * targets.value, 0.0, targets.value, targets.delta)
    yield (
        f"labels: the first certificate takes {fewest_labels(targets)} labelled decisions where not one speaks against "
        f"it, about {likely} where half of the drop you allow ({targets.value:g}) is really lost"
    )
