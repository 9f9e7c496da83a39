"""What a move does to the last tier: how many of the queries it answers today, and how many it
would then. Whoever stops a cascade by night must know whether the large model can take it.

Today's share is measured over the last day that was watched: what escalated, and what was explored
beside a kept answer. What would be is by the certificate of the bundle that would decide: what it
does not keep, and the explored share of the rest. So it is as near as certificate and traffic are.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from knowgate._bundles.assignment import Assignment
from knowgate._bundles.bundle_documents import CertificateDocument
from knowgate._records.records import Window
from knowgate.spec import CascadeSpec
from monitoring.names import FigureName
from monitoring.words import to_tenths
from services.promotion.lapses import certificate_of
from services.promotion.rollout_state import State, state_of
from store.releases import bundles
from store.watching.figure_means import Wanted, joined, last_watched, means

LATELY = timedelta(days=1)
_SHARES = (FigureName.ESCALATED_SHARE.value, FigureName.EXPLORED_SHARE.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTierLoad:
    """The share of the queries that the last tier answers, and would answer."""

    today: float
    measured: bool  # over the last day; else by the certificate of what decides
    then: float

    @property
    def sentence(self) -> str:
        """
        >>> LastTierLoad(today=0.5, measured=True, then=1.0).sentence
        'The last tier would answer 100.0 % of the queries, 2.0 × its load today (50.0 %).'
        """
        known = "" if self.measured else " by the certificate"
        times = f"{self.then / self.today:.1f} × its load today" if self.today > 0.0 else "where today it answers none"
        today = f"{to_tenths(self.today)}{known}"
        return f"The last tier would answer {to_tenths(self.then)} of the queries, {times} ({today})."


def load_of(
    session: Session, current: Assignment, spec: CascadeSpec, then: CertificateDocument | None
) -> LastTierLoad | None:
    """The load if a bundle with this certificate decided (None = if nothing were kept); None where
    nothing says how many it keeps.
    """
    would = expected_share(then, spec) if then is not None else 1.0
    measured = _measured(session, spec.name)
    today = _by_certificate(session, current, spec) if measured is None else measured
    if would is None or today is None:
        return None
    return LastTierLoad(today=today, measured=measured is not None, then=would)


def expected_share(certificate: CertificateDocument, spec: CascadeSpec) -> float | None:
    """The share of the queries that the last tier answers where a bundle with this certificate
    decides.
    """
    kept = certificate.retained_share
    return None if kept is None else 1.0 - kept * (1.0 - spec.exploration_rate)


def _measured(session: Session, cascade: str) -> float | None:
    """Over the last day that was watched; None before anything was."""
    watched = last_watched(session, cascade)
    if watched is None:
        return None
    lately = Wanted(cascade=cascade, names=_SHARES, window=Window(start=watched - LATELY, end=watched))
    known = [mean for mean in means(session, lately) if mean.value is not None and mean.n > 0]
    shares = {name: joined([mean for mean in known if mean.name == name]) for name in _SHARES}
    escalated, explored = shares[_SHARES[0]], shares[_SHARES[1]]
    if escalated is None or escalated.value is None:
        return None
    return min(1.0, escalated.value + (0.0 if explored is None else explored.value or 0.0))


def _by_certificate(session: Session, current: Assignment, spec: CascadeSpec) -> float | None:
    if state_of(current) is not State.ACTIVE:
        return 1.0
    decides = current.champion
    certificate = None if decides is None else certificate_of(bundles.bundle(session, decides))
    return None if certificate is None else expected_share(certificate, spec)
