"""Why a query went where it went: everything that decided it, in one record."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from knowgate import Bundle, Decision, Window, read_bundle
from knowgate._bundles.bundle import read_document
from knowgate._bundles.bundle_documents import BundleDocument, CertificateDocument
from knowgate._records.receipts import Undeclared
from knowgate.policy import Policy
from services.audit.counterfactual import Counterfactual, counterfactual
from services.audit.proofs import place_of
from services.audit.replay import Replay
from services.audit.replay_stored import replay_decision, stored_vectors
from services.errors import InputInvalid
from store.days.left_leaves import see_left_rows
from store.jobs import job_runs
from store.jobs.occasions import Occasion
from store.labelling.graders import GraderError, graders
from store.ledger import ledger
from store.ledger.erased import erased_by
from store.ledger.ledger import Leaf
from store.releases import assignments, bundles, cascades
from store.sealing import merkle, row_leaves
from store.sealing.sealed_rows import SealedRow, sealed_row
from store.traffic import decisions, labels
from store.traffic.labels import StoredLabel
from store.traffic.undeclared import undeclared_models


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPlace:
    """Where the ledger holds a statement, and whether its proof leads to the sealed root."""

    kind: str
    hash: str
    batch: int | None  # None = not sealed yet
    root: str | None
    proven: bool | None  # None = not sealed yet


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGrader:
    """A grader as it was known when its label came."""

    label: UUID
    grader: str
    error: GraderError | None  # its latest measurement by then; None = nobody had measured it


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One decision with all that it rests on."""

    decision: Decision
    received_at: datetime
    erased_at: datetime | None
    erased_by: str | None  # who asked for it; None = not erased, or before that was recorded
    models: tuple[str, ...]  # every tier's name in the cascade as it is now
    undeclared: tuple[Undeclared, ...]  # attempts of another model than the cascade declares now
    policy: Policy | None  # None = no bundle was in force
    certificate: CertificateDocument | None
    training_window: Window | None
    bundle_created_at: datetime | None
    trained_for: Occasion | None  # None = by hand, or no run says it
    labels: tuple[StoredLabel, ...]
    graders: tuple[KnownGrader, ...]  # per label of a machine, what was known of it when the label came
    replay: Replay
    instead: Counterfactual | None  # by today's champion, or another bundle; None where there is none
    ledger: tuple[LedgerPlace, ...]


def find_decision(session: Session, name: str, cascade: str | None) -> Decision:
    """The decision whose id, or whose external id within `cascade`, is `name`.

    Raises InputInvalid where there is none.
    """
    try:
        return decisions.decision(session, UUID(name))
    except ValueError:
        pass
    known = cascades.cascade_names(session)
    matches = [
        decision
        for searched in ((cascade,) if cascade else known)
        if (decision := decisions.find_decision(session, searched, name)) is not None
    ]
    if not matches:
        raise InputInvalid(f"decision is {name!r}: no decision has this id or external id; it may not have arrived yet")
    if len(matches) > 1:
        names = ", ".join(decision.cascade for decision in matches)
        raise InputInvalid(f"decision is {name!r}: the cascades {names} all have it; add --cascade")
    return matches[0]


def named_subject(session: Session, name: str, cascade: str | None) -> str:
    """What the ledger calls what a person names: a decision's id, or whatever has a leaf. Raises
    InputInvalid.
    """
    see_left_rows(session)
    if ledger.leaves_of(session, name):
        return name
    return str(find_decision(session, name, cascade).id)


def explain(session: Session, decision: Decision, *, instead: Bundle | None = None) -> Explanation:
    """Gather everything that decided `decision`, decide it again, and once more by the bundle
    `instead`, else by today's champion.
    """
    see_left_rows(session)
    stored = decisions.stored_decision(session, decision.id)
    document = _document(session, decision.bundle)
    spec = cascades.cascade(session, decision.cascade)
    said = labels.labels_of(session, decision.id)
    run = None if decision.bundle is None else job_runs.run_of_bundle(session, decision.bundle)
    return Explanation(
        decision=decision,
        received_at=stored.received_at,
        erased_at=stored.erased_at,
        erased_by=erased_by(session, decision.id),
        models=tuple(tier.name for tier in spec.tiers),
        undeclared=undeclared_models([(decision, spec)]),
        policy=None if document is None else document.policy,
        certificate=None if document is None else document.certificate,
        training_window=None if document is None else document.training_window,
        bundle_created_at=None if document is None else document.created_at,
        trained_for=None if run is None else run.made_for,
        labels=said,
        graders=tuple(_known(session, decision.cascade, label) for label in said if label.grader is not None),
        replay=replay_decision(session, decision),
        instead=by_another(session, decision, instead),
        ledger=_places(session, str(decision.id)),
    )


def by_another(session: Session, decision: Decision, bundle: Bundle | None = None) -> Counterfactual | None:
    """What `bundle`, else today's champion, would have done with a stored decision; None where
    nothing is in force. Raises BundleDamaged and BundleRefused.
    """
    current = assignments.assignment(session, decision.cascade)
    champion = None if current is None else current.champion
    if bundle is None:
        if champion is None:
            return None
        bundle = read_bundle(bundles.bundle_content(session, champion), expected_id=champion)
    vectors = stored_vectors(session, [decision]).get(decision.id, {})
    return counterfactual(decision, bundle, vectors, is_champion=bundle.id == champion)


def _known(session: Session, cascade: str, label: StoredLabel) -> KnownGrader:
    seen = graders(session, cascade, as_of=label.received_at)
    error = next((one.error for one in seen if one.name == label.grader), None)
    return KnownGrader(label=label.id, grader=str(label.grader), error=error)


def _document(session: Session, bundle_id: str | None) -> BundleDocument | None:
    if bundle_id is None:
        return None
    return read_document(bundles.bundle(session, bundle_id).document)


def _places(session: Session, subject: str) -> tuple[LedgerPlace, ...]:
    row = sealed_row(session, subject)
    return tuple(
        _place(session, leaf, row if row is not None and row.leaf == leaf.id else None)
        for leaf in ledger.leaves_of(session, subject)
    )


def _place(session: Session, leaf: Leaf, row: SealedRow | None) -> LedgerPlace:
    stated = leaf.hash if row is None else row.hash
    sealed = place_of(session, leaf)
    if sealed is None:
        return LedgerPlace(kind=leaf.kind, hash=stated, batch=None, root=None, proven=None)
    hashes = [bytes.fromhex(item) for item in ledger.leaf_hashes(session, sealed.batch.number)]
    proven = merkle.verify(hashes[sealed.index], merkle.proof(hashes, sealed.index), bytes.fromhex(sealed.batch.root))
    if row is not None:
        proven = proven and row.root == row_leaves.read_payload(leaf.payload).root
    return LedgerPlace(kind=leaf.kind, hash=stated, batch=sealed.batch.number, root=sealed.batch.root, proven=proven)
