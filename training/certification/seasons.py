"""A season of the trainer: what it is fixed to, when it goes on, and what its counters certify
(`evidence.certification.season`).

Decisions:
- A season is of one set of models, one rule and the paths that were fixed without its rows. While
  it lasts nothing is learned; each attempt counts the decisions that came since the one before.
- It ends with its quarter, with a risk alarm that has read decisions of it, and when target, rule,
  models or a fingerprint change. Then the next one begins, with counters at nothing.
- Its certificates have no policy for missing signals: a query without them escalates.
- A chain of which nothing teaches has several paths, each at an equal share of δ; of what they have
  certified that is taken which saves most on the newest rows: of each path its boldest level, or
  any, where a gate may end a tier before it answers. Costs follow from no label.
- The path of a retained accuracy starts where the least share worth having is retained, by scores
  alone, since each of its levels waits for rows of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from evidence.certification.certificate import Certification, CertificationTest, Target, Thresholds
from evidence.certification.certification_rows import CertificationRows
from evidence.certification.counted import CountedDrop, CountedRows
from evidence.certification.nested_path import Signals, entry_points
from evidence.certification.season import QUARTER, Season, season_of, with_look, with_rows
from evidence.certification.tally import tally_of
from evidence.certification.worth import saves_most
from knowgate._bundles.bundle import Bundle
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.arrays import IntArray
from knowgate.policy import Policy, PolicyKind, escalate_all, kept_tiers
from knowgate.spec import CascadeSpec, TargetKind, Targets
from store.releases.seasons import SeasonRecord
from training.certification.certify import Certified
from training.certification.outcomes import testable
from training.certification.savings import ended_at, retained_share, saves_on
from training.errors import TrainingRefused
from training.rows.dataset import CascadeRows, TierVectors


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCounts:
    """One path of a season, and what was counted at each of its levels."""

    path: tuple[Thresholds, ...]
    plus: tuple[int, ...]
    minus: tuple[int, ...]
    counted: tuple[int, ...]
    rows: int = 0
    looks: int = 0
    rows_at_look: int = 0
    certified: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonDocument:
    """A season as it is stored: what it is fixed to, and its counters."""

    kind: PolicyKind  # of its paths
    rule: PolicyKind  # that was declared
    target: TargetKind
    target_value: float
    delta: float  # of the season
    paths: tuple[PathCounts, ...]


def begin(
    kind: PolicyKind,
    targets: Targets,
    paths: Sequence[Sequence[Thresholds]],
    rows: CascadeRows,
    signals: Sequence[Signals],
) -> SeasonDocument | None:
    """A season on these paths that has counted nothing; None where a path is empty.

    `rows` [n] are the first that will be counted; of them and their signals only scores are looked
    at.
    """
    usable = [_worth_having(kind, targets, path, rows, signals) for path in paths]
    if not usable or not all(usable):
        return None
    nothing = [(0,) * len(path) for path in usable]
    return SeasonDocument(
        kind=kind,
        rule=targets.rule,
        target=targets.kind,
        target_value=targets.value,
        delta=targets.delta,
        paths=tuple(
            PathCounts(path=tuple(path), plus=zero, minus=zero, counted=zero)
            for path, zero in zip(usable, nothing, strict=True)
        ),
    )


def goes_on(
    season: SeasonRecord,
    document: SeasonDocument,
    bundle: Bundle,
    spec: CascadeSpec,
    *,
    end: datetime,
    alarm: datetime | None,
) -> bool:
    """Whether decisions before `end` are still the season's; `alarm` is what the last risk alarm
    has read so far.
    """
    targets, last = spec.targets, bundle.document
    return (
        end - season.opened_at < QUARTER
        and (alarm is None or alarm <= season.began_at)
        and (document.target, document.target_value, document.delta) == (targets.kind, targets.value, targets.delta)
        and document.rule is targets.rule
        and last.models == tuple(tier.named_model for tier in spec.tiers)
        and last.p_t_kinds == tuple(tier.p_t_kind for tier in spec.tiers[:-1])
    )


def same_states(bundle: Bundle, vectors: Sequence[TierVectors | None]) -> bool:
    """Whether the bundle's probes read the vectors that are shipped now."""
    return all(
        models is None or stored is None or models.document.fingerprint in stored.fingerprints
        for models, stored in zip(bundle.tiers, vectors, strict=True)
    )


def count(
    document: SeasonDocument, rows: CascadeRows, signals: tuple[Signals, ...], targets: Targets
) -> tuple[SeasonDocument, Certified] | None:
    """The season after these rows [n], which it has not counted before, and what it certifies now.

    None where no row's outcomes are known. Raises TrainingRefused for labels that are fractions.
    """
    known = testable(rows)
    if known is None:
        return None
    _refuse_fractions(known)
    target, share = Target(kind=document.target, value=document.target_value), document.delta / len(document.paths)
    seasons = [
        with_look(with_rows(_season(one, target, share), _entry(document.kind, one.path, rows, signals), known))
        for one in document.paths
    ]
    counted = replace(document, paths=tuple(_written(one) for one in seasons))
    chosen, shown, savings = _best(document.kind, seasons, rows, signals)
    status = CertificateStatus.INSUFFICIENT_EVIDENCE
    if shown is not None:
        saves = savings is None or savings > 0.0
        status = CertificateStatus.CERTIFIED if saves else CertificateStatus.SAVES_NOTHING
    policy = shown if shown is not None and status is CertificateStatus.CERTIFIED else escalate_all(len(rows.tiers))
    kept = kept_tiers(policy, signals, rows.ran)
    certification = _certification(chosen, status, policy, known, kept, document.delta, targets)
    certified = Certified(
        policy=policy,
        certification=replace(
            certification, retained_share=retained_share(rows, kept, ended_at(policy, rows, signals))
        ),
        rows=rows,
        signals=signals,
        kept=kept,
        learned_nothing=document.kind is PolicyKind.P_T,
    )
    return counted, certified


def _refuse_fractions(known: CertificationRows) -> None:
    """Raises TrainingRefused where labels lie between 0 and 1: no exact test counts them."""
    correct = np.asarray(known.correct, dtype=np.float64)
    fractions = int(((correct > 0.0) & (correct < 1.0)).any(axis=1).sum())
    if fractions:
        cure = 'label what is right by 1 and what is not by 0, or declare targets.promise = "rolling"'
        raise TrainingRefused(f"{fractions} decisions have labels between 0 and 1, which no season counts: {cure}")


def _best(
    kind: PolicyKind, seasons: Sequence[Season], rows: CascadeRows, signals: Sequence[Signals]
) -> tuple[Season, Policy | None, float | None]:
    """Of what the paths have certified that which saves most, or keeps most where costs are
    unknown, as its season at that level; and what it saves.
    """
    levels = [
        replace(one, certified=shown)
        for one in seasons
        for shown in range(one.certified, 0 if rows.early else max(one.certified - 1, 0), -1)
    ]
    if not levels:
        return seasons[0], None, None
    policies = [Policy(kind=kind, rules=one.path[one.certified - 1]) for one in levels]
    best, savings = saves_most(policies, signals, saves_on(rows, signals), ran=rows.ran)
    return levels[best], policies[best], savings


def _certification(
    season: Season,
    status: CertificateStatus,
    policy: Policy,
    known: CertificationRows,
    kept: IntArray,
    delta: float,
    targets: Targets,
) -> Certification:
    """The season's certificate; the drop is of all that was counted, what is retained of the newest
    rows.
    """
    certified = status is CertificateStatus.CERTIFIED
    newest, level = tally_of(known, kept, delta), max(season.certified - 1, 0)
    drop, bound = (newest.drop.estimate, newest.drop.upper_bound(delta)) if certified else (0.0, 0.0)
    accuracy = None
    plus, minus, counted = (int(of[level]) for of in (season.plus, season.minus, season.counted))
    if certified and season.target.kind is TargetKind.MAX_ACCURACY_DROP:
        whole = CountedDrop(rows=CountedRows(n=counted, assumed_wrong=0), plus=plus, minus=minus)
        drop, bound = whole.estimate, min(whole.upper_bound(delta), season.target.value)
    elif certified:
        accuracy = 1.0 - plus / counted
    return Certification(
        status=status,
        target=season.target,
        delta=delta,
        test=CertificationTest.SEASON,
        n=season.rows,
        thresholds=policy.rules,
        retained_share=newest.retained_share if certified else 0.0,
        estimated_drop=drop,
        drop_upper_bound=bound,
        retained_accuracy=accuracy,
        retained_accuracy_lower_bound=None if accuracy is None else season.target.value,
        stopped_at=None,
        labels_needed=0 if certified else None,
        least_escalation=None,
        rows_assumed_wrong=known.assumed_wrong(kept),
        min_retained_share=targets.min_retained_share,
    )


def _worth_having(
    kind: PolicyKind, targets: Targets, path: Sequence[Thresholds], rows: CascadeRows, signals: Sequence[Signals]
) -> list[Thresholds]:
    if targets.kind is TargetKind.MAX_ACCURACY_DROP or not path or rows.n == 0:
        return list(path)
    opened = _entry(kind, path, rows, signals).min(axis=1)
    return [at for number, at in enumerate(path) if (opened <= number).mean() >= targets.min_retained_share]


def _entry(kind: PolicyKind, path: Sequence[Thresholds], rows: CascadeRows, signals: Sequence[Signals]) -> IntArray:
    return entry_points([Policy(kind=kind, rules=rules) for rules in path], signals, rows.ran)


def _season(counts: PathCounts, target: Target, delta: float) -> Season:
    return replace(
        season_of(counts.path, target, delta),
        plus=np.array(counts.plus, dtype=np.int64),
        minus=np.array(counts.minus, dtype=np.int64),
        counted=np.array(counts.counted, dtype=np.int64),
        rows=counts.rows,
        looks=counts.looks,
        rows_at_look=counts.rows_at_look,
        certified=counts.certified,
    )


def _written(season: Season) -> PathCounts:
    return PathCounts(
        path=season.path,
        plus=tuple(season.plus.tolist()),
        minus=tuple(season.minus.tolist()),
        counted=tuple(season.counted.tolist()),
        rows=season.rows,
        looks=season.looks,
        rows_at_look=season.rows_at_look,
        certified=season.certified,
    )
