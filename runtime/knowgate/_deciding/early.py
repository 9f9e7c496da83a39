"""A tier that was ruled on before it answered, and is to answer: what that was, until it does."""

from dataclasses import dataclass, replace

from knowgate._deciding.ruling import Ruling
from knowgate._records.observation import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """What was ruled on a tier before it answered, and what it had shown by then."""

    tier: int
    ruling: Ruling
    shown: Observation

    def with_state(self, shown: Observation) -> Observation:
        """What the tier showed with its answer, with the state by which it was ruled on."""
        before = self.shown
        if before.hidden is None:
            return shown
        tokens_in = before.tokens_in or shown.tokens_in  # an encoder reads for a tier that was not asked
        return replace(shown, hidden=before.hidden, fingerprint=before.fingerprint, tokens_in=tokens_in)

    def decided(self, ruling: Ruling) -> Ruling:
        """The ruling on an answer that was let come to learn from: the verdict had been made."""
        own = self.ruling
        return replace(
            ruling, verdict=own.verdict, fault=own.fault, explore=False, exploration_rate=own.exploration_rate
        )
