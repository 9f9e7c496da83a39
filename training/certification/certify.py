"""Certify a policy on rows that taught nothing: the configured rule, and p_t as the policy for
missing signals.

Decisions:
- A rule that looks at a probe spends 80 % of the attempt's δ; the other 20 % certify a p_t policy
  of its own. It decides where a signal is missing, and it serves alone where the rule itself could
  not be certified. p_t learns nothing, so it is tested on every row of the window that certifies;
  the rule on the certification rows only.
- Candidates are decided by `knowgate.policy.retain_mask`, fallback included: what is certified is
  what will be served.
- Of a chain of three tiers and more several paths are walked, each at its share of δ, and the one
  that saves most is kept (`evidence.certification.chain`). Where rows taught, they say how fast the
  tiers open beside each other, and that one path is walked at the whole δ. What saves nothing is
  refused by name.
- Where something is in force under a rolling promise, an attempt that could hardly certify anything
  is not made (`evidence.certification.rolling`).
- A bolder threshold needs the small tier's correctness on queries that escalate today, which is why
  the window's explored and escalated rows are labelled at both tiers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evidence.certification.certificate import Certification, Target, Thresholds
from evidence.certification.certify import refuse_overlap
from evidence.certification.chain import certify_chain
from evidence.certification.known_outcomes import forecast_error
from evidence.certification.nested_path import Signals, entry_points, nested_tallies, signals_of_rows
from evidence.certification.path import chain_paths, path_of
from evidence.certification.rolling import Outlook, outlook_of
from knowgate._bundles.bundle_documents import CertificateStatus
from knowgate._records.arrays import BoolArray, IntArray
from knowgate.policy import Policy, PolicyKind, escalate_all, kept_tiers
from knowgate.spec import Targets
from training.certification.outcomes import labelled_decisions, logged_rows, testable
from training.certification.paths import learn_pace, learn_speed
from training.certification.savings import ended_at, retained_share, saves_on
from training.rows.dataset import CascadeRows
from training.rows.splits import Part, Split

FALLBACK_SHARE = 0.2  # of the attempt's δ


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certified:
    """A policy with the certification that it carries, whatever its status."""

    policy: Policy  # escalate_all where nothing is certified
    certification: Certification
    rows: CascadeRows  # those that were tested
    signals: tuple[Signals, ...]  # of those rows, per non-last tier
    kept: IntArray  # [tested rows] the tier that each is kept at
    learned_nothing: bool  # the rule looks at p_t alone, so every row could be tested
    fallback: Certification | None = None  # of the policy for missing signals, where it was tested apart

    @property
    def ended(self) -> BoolArray:
        """[tested rows, tiers − 1] where the policy ends a tier before it answers."""
        return ended_at(self.policy, self.rows, self.signals)

    @property
    def certified(self) -> bool:
        return self.certification.status is CertificateStatus.CERTIFIED


def certify_kind(
    rows: CascadeRows, split: Split, signals: Sequence[Signals], targets: Targets, *, kind: PolicyKind, delta: float
) -> Certified | None:
    """Certify `kind` at level `delta`; `signals` are of all rows [n] per non-last tier.

    None where not one row's outcomes are known, so that nothing can be tested.
    """
    if kind is PolicyKind.P_T:
        return _certify(
            rows, rows.seconds >= split.since, signals, targets, kind, delta, chain_paths(kind, signals), None
        )
    fallback = certify_kind(rows, split, signals, targets, kind=PolicyKind.P_T, delta=FALLBACK_SHARE * delta)
    kept_back = fallback.policy if fallback is not None and fallback.certified else None
    tested = split.rows(Part.CERTIFICATION)
    _refuse_overlap(rows, split)
    path = path_on(rows, split, signals, targets, kind)
    main = _certify(rows, tested, signals, targets, kind, (1 - FALLBACK_SHARE) * delta, [path], kept_back)
    if main is None or (fallback is not None and fallback.certified and not main.certified):
        return fallback
    return replace(main, fallback=None if fallback is None else fallback.certification)


def outlook_on(
    rows: CascadeRows, split: Split, signals: Sequence[Signals], targets: Targets, *, kind: PolicyKind, delta: float
) -> Outlook:
    """Whether an attempt to certify `kind` is worth making, by what the rows that teach show of the
    same candidates. `p_t` learns nothing, so no rows are left that could say it: it is always made.

    The labels that it waits for are decisions of the window that certifies, of prompts that teach
    too: who labels does not know which is which, so both grow in one proportion.
    """
    tested, taught = split.rows(Part.CERTIFICATION), split.rows(Part.VALIDATION, Part.CALIBRATION)
    known, teaching = testable(rows.take(tested)), testable(rows.take(taught))
    if kind is PolicyKind.P_T or known is None or teaching is None:
        return Outlook(made=True, labels_needed=None)
    path = path_on(rows, split, signals, targets, kind)
    shown = signals_of_rows(signals, taught)
    entry = entry_points([Policy(kind=kind, rules=rules) for rules in path], shown, rows.take(taught).ran)
    target, level = Target(kind=targets.kind, value=targets.value), (1 - FALLBACK_SHARE) * delta
    outlook = outlook_of(nested_tallies(path, entry, teaching, level), known, target, level, targets.min_retained_share)
    if outlook.labels_needed is None:
        return outlook
    a_label_each = labelled_decisions(rows.take(rows.seconds >= split.since), targets.kind) / max(known.known, 1)
    return replace(outlook, labels_needed=max(1, math.ceil(outlook.labels_needed * a_label_each)))


def kept_at(policy: Policy, rows: CascadeRows, signals: Sequence[Signals]) -> IntArray:
    """[n] the tier that each decision is kept at under `policy`.

    A tier that did not run may have kept anything, so it counts as having kept: its outcome is
    unknown.
    """
    return kept_tiers(policy, signals, rows.ran)


def _certify(
    rows: CascadeRows,
    tested: npt.NDArray[np.bool_],
    signals: Sequence[Signals],
    targets: Targets,
    kind: PolicyKind,
    delta: float,
    paths: list[list[Thresholds]],
    fallback: Policy | None,
) -> Certified | None:
    tested_rows = rows.take(tested)
    shown = signals_of_rows(signals, tested)
    known = testable(tested_rows, forecast_error(logged_rows(rows.take(~tested))))
    if known is None or not all(paths):
        return None
    certification = certify_chain(
        kind,
        shown,
        known,
        Target(kind=targets.kind, value=targets.value),
        delta,
        paths=paths,
        saves=saves_on(tested_rows, shown),
        fallback=fallback,
        ran=tested_rows.ran,
        ends_early=bool(rows.early),
        min_retained_share=targets.min_retained_share,
    ).certification
    policy = escalate_all(len(rows.tiers))
    if certification.status is CertificateStatus.CERTIFIED:
        policy = Policy(kind=kind, rules=certification.thresholds, fallback=fallback)
    kept = kept_at(policy, tested_rows, shown)
    share = retained_share(tested_rows, kept, ended_at(policy, tested_rows, shown))
    return Certified(
        policy=policy,
        certification=replace(certification, retained_share=share),
        rows=tested_rows,
        signals=shown,
        kept=kept,
        learned_nothing=kind is PolicyKind.P_T,
    )


def path_on(
    rows: CascadeRows, split: Split, signals: Sequence[Signals], targets: Targets, kind: PolicyKind
) -> list[Thresholds]:
    """The candidates of a rule at quantiles of the rows that certify, which are looked at without a
    label. How fast its gates open, and the tiers of a chain, is learned on rows that teach.
    """
    tested, taught = split.rows(Part.CERTIFICATION), split.rows(Part.VALIDATION, Part.CALIBRATION)
    unlabelled, teaching = signals_of_rows(signals, tested), signals_of_rows(signals, taught)
    taught_rows, speed = rows.take(taught), None
    saves, ran = saves_on(taught_rows, teaching), taught_rows.ran
    if kind is PolicyKind.GATES:
        by_savings = saves if len(signals) == 1 and 0 in rows.early else None
        first, last = taught_rows.tiers[0], taught_rows.tiers[-1]
        speed = learn_speed(teaching[0], first.correct, last.correct, targets.allowed, saves=by_savings, ran=ran)
    known = testable(taught_rows) if len(signals) > 1 else None
    if known is None:
        return path_of(kind, unlabelled, speed=speed)
    early = bool(rows.early)
    pace = learn_pace(kind, teaching, known, targets.allowed, saves, ran=ran, speed=speed, ends_early=early)
    return path_of(kind, unlabelled, speed=speed, pace=pace)


def _refuse_overlap(rows: CascadeRows, split: Split) -> None:
    """The split promises it; a certificate does not rest on a promise. Raises
    evidence.errors.OverlapError.
    """
    taught, tested = split.rows(Part.FIT, Part.VALIDATION, Part.CALIBRATION), split.rows(Part.CERTIFICATION)
    for names in (rows.ids, rows.prompt_hashes):
        certify = {str(name) for name, keep in zip(names, tested, strict=True) if keep and name is not None}
        learned = {str(name) for name, keep in zip(names, taught, strict=True) if keep and name is not None}
        refuse_overlap(certify, learned)
