"""A challenger beside the champion, on rows that certified the challenger and taught neither.

Decisions:
- The same test as for thresholds: X = correct_champion − correct_challenger of what each would have
  served, exact where rows count equally, betting where they weigh. Where both keep the same tier, X
  = 0 whatever anybody answered, so such a row needs neither a run nor a label, and counts once.
  Where they keep tiers of the same answer, X = 0 whoever is right, so such a row needs no label.
- The level is the target's δ. A comparison is not part of the certificate's promise, which stands
  on its own.
- Whether the challenger keeps more than the champion along the champion's own path is said beside
  it: there, and only there, is the champion known to be the safer of the two. A probe that was
  learned anew makes another path.
- Whether the champion's own promise is broken on these rows is tested too: a champion that broke
  its word may be replaced by one that saves less.
"""

from collections.abc import Sequence

import numpy as np

from evidence.certification.certification_rows import CertificationRows
from evidence.certification.known_outcomes import certification_rows
from evidence.certification.nested_path import Signals, signals_of_rows
from evidence.certification.tally import Tally, tally_of
from knowgate._bundles.bundle import Bundle, ComparisonDocument
from knowgate._records.arrays import IntArray
from knowgate.policy import Policy, PolicyKind
from knowgate.spec import Targets
from training.certification.certify import Certified, kept_at
from training.certification.outcomes import logged_rows
from training.certification.savings import cohort_savings, ended_at
from training.rows.dataset import CascadeRows, TierVectors
from training.tiers.learn import signal_columns


def compare_with_champion(
    rows: CascadeRows,
    vectors: Sequence[TierVectors | None],
    certified: Certified,
    champion: Bundle,
    targets: Targets,
) -> ComparisonDocument:
    """`rows` and `vectors` (per non-last tier) are of the whole window; the tested rows are
    compared.
    """
    tested = np.isin(np.array(rows.ids), np.array(certified.rows.ids))
    seen = [signals_under(champion, rows, tier, stored) for tier, stored in enumerate(vectors)]
    signals = signals_of_rows(seen, tested)
    tested_rows = certified.rows
    kept = kept_at(champion.document.policy, tested_rows, signals)
    known = certification_rows(logged_rows(tested_rows))
    paired = _paired_tally(known, kept, certified.kept, targets.delta).drop
    alone = tally_of(known, kept, targets.delta)
    epsilon = targets.allowed
    ours = cohort_savings(tested_rows, certified.kept, certified.ended)
    theirs = cohort_savings(tested_rows, kept, ended_at(champion.document.policy, tested_rows, signals))
    passed = paired.shown(epsilon, targets.delta)
    bound = paired.upper_bound(targets.delta)
    return ComparisonDocument(
        champion=champion.id,
        passed=passed,
        harmful=paired.missed(epsilon, targets.delta),
        champion_broken=alone.on(targets.kind).missed(targets.value, targets.delta),
        estimated_drop=paired.estimate,
        drop_upper_bound=min(bound, epsilon) if passed else bound,  # the bound is solved to a share of its error
        epsilon=epsilon,
        delta=targets.delta,
        test=paired.basis(epsilon).test.value,
        n=tested_rows.n,
        savings_gain=None if ours is None or theirs is None else ours.value - theirs.value,
        bolder=bolder_on_its_path(certified.policy, champion.document.policy),
    )


def bolder_on_its_path(challenger: Policy, champion: Policy) -> bool:
    """Whether the challenger opens a tier further than the champion on the same path: that of P(T),
    which learns nothing. Rules that look at probes are learned anew with each of them.
    """
    if not challenger.kind is champion.kind is PolicyKind.P_T or len(challenger.rules) != len(champion.rules):
        return False
    for new, old in zip(challenger.rules, champion.rules, strict=True):
        if new is not None and (old is None or new[0].threshold < old[0].threshold):
            return True
    return False


def signals_under(bundle: Bundle, rows: CascadeRows, tier: int, vectors: TierVectors | None) -> Signals:
    """What a bundle would have seen at a tier; without vectors of its own fingerprint only P(T) is
    left to it.

    A P(T) of another kind than its own it would not have looked at.
    """
    models = bundle.tiers[tier]
    if models is None or vectors is None or models.document.fingerprint not in vectors.fingerprints:
        seen = signal_columns(rows, tier, None, None)
    else:
        seen = signal_columns(rows, tier, models, vectors, vectors.fingerprints.index(models.document.fingerprint))
    if rows.p_t_kinds and rows.p_t_kinds[tier] is not bundle.document.p_t_kinds[tier]:
        unknown = np.full(rows.n, np.nan)
        seen |= {"p_t": unknown, "score": unknown}
    return seen


def _paired_tally(known: CertificationRows, champion_kept: IntArray, challenger_kept: IntArray, delta: float) -> Tally:
    """The evidence on X, with the challenger in the place of a kept tier and the champion in that
    of the last.
    """
    at = np.arange(known.n)
    correct = np.asarray(known.correct, dtype=np.float64)
    same = champion_kept == challenger_kept
    like_last = np.column_stack([np.asarray(known.agrees, dtype=np.bool_), np.ones(known.n, dtype=np.bool_)])
    alike = like_last[at, challenger_kept] & like_last[at, champion_kept]
    pair = CertificationRows(
        correct=np.column_stack([correct[at, challenger_kept], correct[at, champion_kept]]),
        agrees=(same | alike)[:, None],
        propensity=np.where(same, 1.0, np.asarray(known.propensity, dtype=np.float64)),
        observed=same | np.asarray(known.observed, dtype=np.bool_),
        ids=known.ids,
    )
    return tally_of(pair, np.zeros(known.n, dtype=np.int64), delta)
