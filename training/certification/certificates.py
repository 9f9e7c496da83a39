"""The certificate that a bundle carries, from the certification and what was seen on its rows."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from evidence.certification.known_outcomes import label_basis
from evidence.costs.savings import Savings
from knowgate._bundles.bundle_documents import CertificateDocument, SeasonMark
from knowgate._records.records import Window
from knowgate.policy import PolicyKind
from knowgate.spec import Targets
from store.releases.seasons import SeasonRecord
from training.certification.certify import Certified
from training.certification.outcomes import logged_rows
from training.certification.report import SignalQuality, quality_of

APART = (
    "rows disjoint by decision and by prompt from all that was learned; half of the prompts, the same in every period"
)
NOTHING_LEARNED = "p_t learns nothing, so every row of the window was tested"


def certificate_of(
    certified: Certified,
    targets: Targets,
    *,
    attempt: int,
    qualities: Sequence[SignalQuality],
    savings: Savings | None,
    season: SeasonRecord | None = None,
    delta: float | None = None,
) -> CertificateDocument:
    """The certificate of one attempt, whatever its status.

    `delta` is what the attempt had; None = that of the target, by itself or together with all
    attempts of its season.
    """
    certification = certified.certification
    kept = certified.policy.kind is not PolicyKind.ESCALATE_ALL
    aurocs = {name: quality_of(qualities, name) for name in ("p_t", "p_ik", "score")}
    values = {name: None if one is None else one.auroc.value for name, one in aurocs.items()}
    return CertificateDocument(
        status=certification.status,
        target=targets.kind,
        target_value=targets.value,
        delta=targets.delta if delta is None else delta,
        delta_family=targets.delta,
        attempt=attempt,
        test=certification.test.value,
        n=certification.n,
        cohort=_cohort(certified, season),
        split=NOTHING_LEARNED if certified.learned_nothing else APART,
        estimated_drop=certification.estimated_drop if kept else None,
        drop_upper_bound=certification.drop_upper_bound if kept else None,
        retained_share=certification.retained_share,
        savings=None if savings is None else savings.value,
        savings_low=None if savings is None else savings.lower,
        savings_high=None if savings is None else savings.upper,
        probe_auroc=values["p_ik"],
        p_t_auroc=values["p_t"],
        score_auroc=values["score"],
        gains=tuple(one.gain for one in qualities if one.gain is not None),
        promise=targets.promise,
        season=None if season is None else SeasonMark(number=season.number, opened_at=season.opened_at),
        label_basis=label_basis(logged_rows(certified.rows), certified.certification, targets.trusted),
    )


def _cohort(certified: Certified, season: SeasonRecord | None) -> Window:
    """The block of decision time that the tested rows span, to the microsecond; of a season that of
    all it has counted.
    """
    seconds = certified.rows.seconds
    start = datetime.fromtimestamp(float(seconds.min()), UTC) if season is None else season.began_at
    end = datetime.fromtimestamp(float(seconds.max()), UTC) + timedelta(microseconds=1)
    return Window(start=start, end=end)
