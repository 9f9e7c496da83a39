"""The promotion check: what a certified challenger must show before it decides.

1. It is certified: its own certificate keeps the target against the last tier.
2. Against what is in force on the same rows, it is not shown to lose more accuracy than the target
   allows (the same exact or betting test, paired).
3. Where it is bolder along the champion's own path, that it loses no more is shown: there the
   champion is the safer one. Otherwise its own certificate is enough.
4. Under a rolling promise it may save less: what is in force for a period is what that period
   certified, and nothing else may choose. Within a season what was certified stays so, and a
   challenger does not give savings away, unless the champion was stopped or has been shown to break
   its promise. What the champion promised may have ended with its season: then it does not count.
5. Nothing it rests on is older than the last ring of the risk alarm: either it was certified on
   decisions that came since, or the same test passes on them too (`monitoring.alarms.since_ring`).
   Until then it waits.

The trainer makes the paired comparison on those certification rows from whose prompts the champion
has not learned either; here it is judged against what is in force at this moment. If that has moved
since, the comparison says nothing about it: under a rolling promise the challenger's own
certificate is enough, otherwise it is refused. A refusal for the champion's sake alone ends with a
stop: what speaks for a champion that may keep nothing speaks for nobody.
"""

from dataclasses import dataclass
from enum import StrEnum

from knowgate._bundles.assignment import Assignment, Mode
from knowgate._bundles.bundle_documents import (
    BundleDocument,
    CertificateDocument,
    CertificateStatus,
    ComparisonDocument,
)
from knowgate.spec import PromiseKind, TargetKind
from monitoring.alarms.looks import LEAST_DECISIONS, SinceRing
from monitoring.words import points, short, to_tenths
from store.releases.rings import RingRecord

SAVINGS_TOLERANCE = 0.01  # of the last tier's cost: a smaller loss is noise


class Ground(StrEnum):
    """What a check ended on."""

    FIT = "fit"
    DAMAGED = "damaged"
    CONDEMNED = "condemned"
    NOT_CERTIFIED = "not_certified"
    SAVES_NOTHING = "saves_nothing"
    NOT_COMPARED = "not_compared"
    LESS_ACCURATE = "less_accurate"
    NOT_SHOWN_ACCURATE = "not_shown_accurate"
    GIVES_SAVINGS_AWAY = "gives_savings_away"
    STOPPED_BY_PERSON = "stopped_by_person"
    FROZEN = "frozen"
    RISK_ALARM = "risk_alarm"
    AWAITS_APPROVAL = "awaits_approval"  # it passed; a person has the last word
    DECLINED = "declined"  # that word


_WAITING = (Ground.STOPPED_BY_PERSON, Ground.FROZEN, Ground.RISK_ALARM, Ground.AWAITS_APPROVAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why no job puts a challenger in force that is fit (`services.promotion.holds`)."""

    ground: Ground  # STOPPED_BY_PERSON, FROZEN or AWAITS_APPROVAL
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionCheck:
    """The verdict on a challenger, with everything it rests on."""

    passed: bool
    reason: str
    champion: str | None  # in force at the time of the check
    stopped: bool  # the champion may keep nothing
    certificate: CertificateDocument | None
    comparison: ComparisonDocument | None
    ground: Ground = Ground.FIT
    since: SinceRing | None = None  # on the decisions after the last ring of the risk alarm, where they were looked at

    @property
    def waits(self) -> bool:
        """Whether it may pass later, with nothing changed but time."""
        return self.ground in _WAITING


def check_promotion(
    challenger: BundleDocument,
    in_force: Assignment,
    *,
    hold: Hold | None = None,
    ring: RingRecord | None = None,
    since: SinceRing | None = None,
) -> PromotionCheck:
    """Judge `challenger` against what is in force, what holds it back, and the last ring of the
    risk alarm.

    `since` is the newest look at it on the decisions after that ring. Approval is the last word:
    only what passes all else awaits it.
    """
    stopped = in_force.mode is not Mode.ACTIVE
    ground, reason = _ground(challenger, in_force.champion, stopped)
    held = hold is not None and hold.ground is not Ground.AWAITS_APPROVAL
    if ground is Ground.FIT and ring is not None and not held:
        ground, reason = _ground_since(challenger.certificate, ring, since, reason)
    if ground is Ground.FIT and hold is not None:
        ground, reason = hold.ground, f"it waits: {hold.why}"
    return PromotionCheck(
        passed=ground is Ground.FIT,
        reason=reason,
        champion=in_force.champion,
        stopped=stopped,
        certificate=challenger.certificate,
        comparison=challenger.comparison,
        ground=ground,
        since=since,
    )


def check_failed(in_force: Assignment, ground: Ground, found: str) -> PromotionCheck:
    """The verdict on a challenger that cannot be read, or that is condemned."""
    return PromotionCheck(
        passed=False,
        reason=found,
        champion=in_force.champion,
        stopped=in_force.mode is not Mode.ACTIVE,
        certificate=None,
        comparison=None,
        ground=ground,
    )


def refused_for_the_champion(challenger: BundleDocument) -> bool:
    """Whether nothing was said against a refused challenger but that the champion of its time was
    to be preferred.
    """
    against_itself, _ = _ground(challenger, None, stopped=True)
    comparison = challenger.comparison
    accurate = comparison is None or (not comparison.harmful and (comparison.passed or not comparison.bolder))
    return against_itself is Ground.FIT and accurate


def _ground(challenger: BundleDocument, champion: str | None, stopped: bool) -> tuple[Ground, str]:
    certificate, comparison = challenger.certificate, challenger.comparison
    if certificate is None or certificate.status is not CertificateStatus.CERTIFIED:
        return Ground.NOT_CERTIFIED, "it carries no certificate"
    if certificate.savings is not None and certificate.savings <= 0:
        reason = f"it saves nothing: {to_tenths(certificate.savings)} of the last tier's cost"
        return Ground.SAVES_NOTHING, reason
    if champion is None or stopped:
        return Ground.FIT, "certified, and what is in force keeps nothing"
    if comparison is None or comparison.champion != champion:
        reason = f"it was not compared with champion {short(champion)}, which came into force meanwhile"
        if certificate.promise is PromiseKind.ROLLING:
            return Ground.FIT, f"certified for this period; {reason}"
        return Ground.NOT_COMPARED, reason
    return _compare(comparison, certificate.promise)


def _compare(comparison: ComparisonDocument, promise: PromiseKind | None) -> tuple[Ground, str]:
    lost, most = 100 * comparison.estimated_drop, 100 * comparison.drop_upper_bound
    dropped = f"accuracy against the champion: {-lost:+.2f} points, at worst {-most:+.2f}"
    if comparison.harmful:
        reason = f"it is less accurate than the champion by more than {100 * comparison.epsilon:g} points ({dropped})"
        return Ground.LESS_ACCURATE, reason
    if not comparison.passed and comparison.bolder:
        reason = f"too little evidence that it is as accurate as the champion: {dropped}, on {comparison.n} rows"
        return Ground.NOT_SHOWN_ACCURATE, reason
    if comparison.champion_broken:
        return Ground.FIT, f"the champion no longer keeps its promise, and {dropped}"
    if comparison.champion_ended:
        return Ground.FIT, f"certified for this season, which the champion's promise does not reach ({dropped})"
    if promise is PromiseKind.ROLLING:
        return Ground.FIT, f"certified for this period, and not shown to harm ({dropped})"
    if comparison.savings_gain is not None and comparison.savings_gain < -SAVINGS_TOLERANCE:
        reason = f"it would give away {to_tenths(-comparison.savings_gain)} of the last tier's cost in savings"
        return Ground.GIVES_SAVINGS_AWAY, reason
    return Ground.FIT, f"as accurate as the champion ({dropped}), and it saves no less"


def _ground_since(
    certificate: CertificateDocument | None, ring: RingRecord, since: SinceRing | None, reason: str
) -> tuple[Ground, str]:
    """Whether the evidence of a challenger that is fit otherwise is newer than the ring."""
    if certificate is not None and certificate.cohort.start >= ring.read_until:
        return Ground.FIT, reason
    rang = f"the risk alarm of {ring.rang_at:%Y-%m-%d %H:%M} UTC"
    if since is None or since.estimate is None:
        seen = "none" if since is None else f"{since.decisions}, none of them with a verdict on it,"
        finding = f"it waits: it was certified before {rang}, and of the decisions since {seen} can be judged yet"
        return (
            Ground.RISK_ALARM,
            f"{finding} ({LEAST_DECISIONS} are needed on which every tier ran)" if since is None else finding,
        )
    if since.target is TargetKind.MAX_ACCURACY_DROP:
        lost, promised = points(since.estimate, digits=2), points(since.target_value)
        finding = f"it would lose {lost} points of accuracy, at most {promised} are promised"
    else:
        right, promised = to_tenths(since.estimate), to_tenths(since.target_value)
        finding = f"what it would retain is right in {right}, {promised} are promised"
    finding = f"on {since.n} decisions since {rang} {finding}"
    if since.shown:
        return Ground.FIT, f"{reason}; {finding}"
    short = "the promise would be broken" if since.broken else "too little evidence yet"
    return Ground.RISK_ALARM, f"it waits: {finding}: {short}"
