"""An explanation as lines for a person."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from knowgate import Attempt, Policy, Role
from knowgate._bundles.bundle import LabelBasis
from knowgate.policy import NOTHING_KEPT
from monitoring.words import percent, points, short, to_tenths
from services.audit.explain import Explanation, KnownGrader
from services.audit.findings import CHECKS
from services.audit.verify import Verification

if TYPE_CHECKING:
    from monitoring.alarms.what_if import WhatIf

ROUTES_SHOWN = 20


def explanation_lines(explained: Explanation) -> list[str]:
    """What was asked, what every tier showed, why it was kept or not, and what that rests on."""
    return [*_head(explained), *_attempts(explained), *_grounds(explained), *_proof(explained)]


def verification_lines(verification: Verification) -> list[str]:
    """Every check with what it was over, then every problem."""
    lines = [
        f"{'FAILED ' if check.problems else 'ok     '} {check.name:<8} {check.checked:>9,}  {CHECKS[check.name]}"
        for check in verification.checks
    ]
    lines.append(
        f"{verification.batches:,} batches, {verification.entries:,} sealed leaves, {verification.unsealed:,} unsealed,"
        f" {verification.erased:,} erased"
    )
    for check in verification.checks:
        shown = [problem for problem in verification.problems if problem.check == check.name]
        lines += [f"{check.name}: {problem}" for problem in shown]
        if check.problems > len(shown):
            lines.append(f"{check.name}: and {check.problems - len(shown):,} more")
    return lines


def what_if_lines(found: "WhatIf") -> list[str]:
    """A bundle over a window, beside what was served."""
    start, end = found.window.start, found.window.end
    return [
        f"bundle {short(found.bundle)} over {found.cascade}, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
        f"  compared     {found.compared:,} of {found.decisions:,} decisions: of the others nothing shows the route",
        f"  kept share   {to_tenths(found.kept_share)} as served, {to_tenths(found.would_keep_share)} with it",
        f"  savings      {_share(found.savings_usd)} as served, {_share(found.would_save_usd)} with it",
        f"  accuracy     {_accuracy(found)}",
        f"  routes       {found.changed:,} would have changed",
        *(f"    {one.decision}  tier {one.served} to {one.would_serve}" for one in found.routes[:ROUTES_SHOWN]),
        *([f"    and {found.changed - ROUTES_SHOWN:,} more (--json)"] if found.changed > ROUTES_SHOWN else []),
    ]


def _accuracy(found: "WhatIf") -> str:
    change = found.accuracy_change
    if change.lower is None or change.upper is None:
        return f"not known: {change.why_not or 'no changed route has both of its answers labelled'}"
    value = "" if change.value is None else f"{points(change.value, signed=True, digits=2)}, "
    known = f"{change.known:,} of {found.changed:,} changed routes are labelled"
    low, high = (points(end, signed=True, digits=2) for end in (change.lower, change.upper))
    return f"{value}from {low} to {high} at {percent(change.confidence, digits=0)}; {known}"


def _share(value: float | None) -> str:
    return "not known" if value is None else to_tenths(value)


def _head(explained: Explanation) -> Iterator[str]:
    decision = explained.decision
    yield f"decision {decision.id} of cascade {decision.cascade}, {decision.occurred_at.isoformat(timespec='seconds')}"
    if decision.external_id is not None:
        yield f"  external id  {decision.external_id}"
    if decision.slice is not None:
        yield f"  slice        {decision.slice}"
    if explained.erased_at is not None:
        asked = "on request" if explained.erased_by is None else f"as {explained.erased_by} asked"
        yield f"  erased {asked}, {explained.erased_at.isoformat(timespec='seconds')}"
    yield f"  served by    tier {decision.served.tier} ({_name(explained, decision.served.tier)})"


def _attempts(explained: Explanation) -> Iterator[str]:
    for attempt in explained.decision.attempts:
        yield ""
        yield f"tier {attempt.tier} ({_name(explained, attempt.tier)}): {attempt.role}{_cost(attempt)}"
        for one in explained.undeclared:
            if one.tier == attempt.tier:
                yield f"  model        {one.model}; {one.declared} is declared, so nothing is learned from it"
        if attempt.note is not None:
            yield f"  note         {attempt.note}"
        verdict = attempt.verdict
        if verdict is None:
            uncovered = f": {attempt.fault}, no certificate covers the request" if attempt.fault is not None else ""
            yield f"  nothing is decided here{uncovered}"
            continue
        yield f"  {verdict.action}{'' if verdict.reason is None else f', because of {verdict.reason}'}"
        if attempt.role in (Role.SKIPPED, Role.EXPLORATION):
            beside = verdict.reason in NOTHING_KEPT
            yield f"  {'nobody waited for it' if beside else 'decided before it answered'}{_by_chance(attempt)}"
        if attempt.fault is not None:
            yield f"  fault        {attempt.fault}"
        for gate in verdict.gates:
            seen = "missing" if gate.value is None else f"{gate.value:.6f}"
            sign = "≤" if gate.gate == "ood" else "≥"
            yield f"  {gate.gate:<6} {seen:>9}  {sign} {gate.threshold:.6f}  {'passes' if gate.passed else 'fails'}"
        if verdict.fallback:
            yield "  a signal was missing: the certified fallback policy decided"


def _by_chance(attempt: Attempt) -> str:
    chance = "unknown" if attempt.run_propensity is None else f"{attempt.run_propensity:.4g}"
    return f"; the chance that it answered all the same: {chance}"


def _grounds(explained: Explanation) -> Iterator[str]:
    yield ""
    if explained.policy is None:
        yield "no bundle was in force: everything escalates"
    else:
        yield f"bundle {explained.decision.bundle}"
        yield f"  policy       {explained.policy.kind}: {_thresholds(explained.policy)}"
        if explained.training_window is not None:
            start, end = explained.training_window.start, explained.training_window.end
            yield f"  trained on   {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        if explained.trained_for is not None:
            yield f"  trained for  {explained.trained_for}"
        certificate = explained.certificate
        if certificate is not None:
            yield (
                f"  certificate  {certificate.status}: {certificate.target} {certificate.target_value}, "
                f"attempt {certificate.attempt}, δ {certificate.delta:.4f} of {certificate.delta_family}, "
                f"n {certificate.n}, {certificate.test}"
            )
            yield f"  promise      {certificate.sentence}"
            if certificate.label_basis is not None:
                yield f"  rests on     {_resting(certificate.label_basis)}"
    for label in explained.labels:
        yield (
            f"label of tier {label.tier}: {label.correct:g} from {label.source}, "
            f"{label.labelled_at.isoformat(timespec='seconds')}"
        )
    for known in explained.graders:
        yield f"  by {known.grader}, {_how_good(known)}"


def _resting(basis: LabelBasis) -> str:
    counted = ", ".join(f"{count} {source}" for source, count in basis.labels.items()) or "no"
    text = f"{counted} labels"
    if basis.rows_forecast:
        text += f", and corrected forecasts on {basis.rows_forecast} rows"
    if basis.agreement_with:
        text += f"; trusted though they err: {', '.join(basis.agreement_with)}, so it is about agreement with them"
    return text


def _how_good(known: KnownGrader) -> str:
    error = known.error
    if error is None:
        return "whose error nobody had measured then"
    return (
        f"which then had called {error.wrong_called_right} of {error.wrong} wrong answers right and"
        f" {error.right_called_wrong} of {error.right} right ones wrong"
    )


def _proof(explained: Explanation) -> Iterator[str]:
    yield ""
    replay = explained.replay
    how = "the same" if replay.matches else "DIFFERENTLY"
    yield f"replay: {replay.attempts} verdicts from signals, {replay.vectors} from vectors too, came out {how}"
    for mismatch in replay.mismatches:
        yield f"  tier {mismatch.tier} {mismatch.what}: stored {mismatch.stored}, replayed {mismatch.replayed}"
    if explained.instead is not None:
        yield f"instead: {explained.instead.sentence}"
    for place in explained.ledger:
        if place.batch is None:
            yield f"ledger: {place.kind} leaf {place.hash[:16]}…, not sealed yet"
        else:
            proven = "is under" if place.proven else "is NOT under"
            yield f"ledger: {place.kind} leaf {place.hash[:16]}… {proven} the root of batch {place.batch}"


def _name(explained: Explanation, tier: int) -> str:
    return explained.models[tier] if tier < len(explained.models) else "unknown"


def _cost(attempt: Attempt) -> str:
    return "" if attempt.cost_usd is None else f", {attempt.cost_usd:.3g} USD"


def _thresholds(policy: Policy) -> str:
    rules = []
    for tier, gates in enumerate(policy.thresholds):
        kept = "nothing" if gates is None else ", ".join(f"{gate} {value:.4f}" for gate, value in gates.items())
        rules.append(f"tier {tier} keeps {kept}")
    return "; ".join(rules)
