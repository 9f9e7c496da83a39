"""Cascades, bundles, certifications, promotions and tokens: what is declared, registered and
allowed.
"""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from store.errors import AttemptTaken, BundleMismatch, BundleUnknown, CascadeUnknown, StoreError, TokenNameTaken
from store.ledger import ledger
from store.releases.bundles import (
    BundleStatus,
    add_bundle,
    bundle,
    bundle_content,
    bundles,
    set_bundle_status,
    sign_bundle,
)
from store.releases.cascades import apply_cascade, cascade, cascade_names, cascade_version
from store.releases.certifications import CertificationRecord, add_certification, certifications, next_attempt_number
from store.releases.promotions import Outcome, PromotionRecord, add_promotion, promotions
from store.releases.seasons import SeasonRecord, add_season, latest_season
from store.sign_ins import NewSignIn, add_sign_in, end_sign_in, find_sign_in
from store.tokens import NewToken, TokenRole, add_token, create_token, find_token, note_use, revoke_token, tokens

CONTENT = b"\x00safetensors\xff"
BUNDLE = hashlib.sha256(CONTENT).hexdigest()


def test_a_cascade_reads_back_as_declared(session: Session, cast: Any) -> None:
    assert cascade(session, "geo") == cast.spec
    assert cascade_names(session) == ("geo",)


def test_only_a_changed_declaration_makes_a_version(session: Session, cast: Any) -> None:
    assert apply_cascade(session, cast.spec, now=cast.at(0)) == 1
    changed = replace(cast.spec, exploration_rate=0.1)
    assert apply_cascade(session, changed, now=cast.at(1)) == 2
    assert cascade_version(session, "geo") == 2
    assert cascade(session, "geo") == changed
    assert apply_cascade(session, cast.spec, now=cast.at(2)) == 3


@pytest.mark.parametrize("name", ["unheard", "a\x00"])
def test_an_unknown_cascade_is_named_with_those_known(session: Session, cast: Any, name: str) -> None:
    with pytest.raises(CascadeUnknown, match=r"known: geo.*cascade apply"):
        cascade(session, name)


def test_a_bundle_is_added_once_with_its_content(session: Session, cast: Any) -> None:
    added = add_bundle(session, BUNDLE, "geo", '{"b": 1, "a": 2.5}', CONTENT, BundleStatus.CANDIDATE, cast.at(0))
    assert added
    assert not add_bundle(session, BUNDLE, "geo", "{}", CONTENT, BundleStatus.PROMOTED, cast.at(1))
    assert bundle_content(session, BUNDLE) == CONTENT
    stored = bundle(session, BUNDLE)
    assert (stored.document, stored.status, stored.created_at) == ('{"a":2.5,"b":1}', "candidate", cast.at(0))
    assert [leaf.kind for leaf in ledger.leaves_of(session, BUNDLE)] == ["bundle"]


def test_a_bundle_whose_content_is_not_its_id_is_refused(session: Session, cast: Any) -> None:
    with pytest.raises(BundleMismatch, match=BUNDLE):
        add_bundle(session, "0" * 64, "geo", "{}", CONTENT, BundleStatus.CANDIDATE, cast.at(0))


def test_only_status_and_signature_of_a_bundle_change(session: Session, cast: Any) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    add_bundle(session, BUNDLE, "geo", "{}", CONTENT, BundleStatus.CANDIDATE, cast.at(0))
    add_bundle(session, other, "geo", "{}", b"other", BundleStatus.CERTIFIED, cast.at(1), signature="ab")
    set_bundle_status(session, BUNDLE, BundleStatus.PROMOTED)
    sign_bundle(session, BUNDLE, "cd")
    listed = [(item.id, item.status, item.signature) for item in bundles(session, "geo")]
    assert listed == [(other, "certified", "ab"), (BUNDLE, "promoted", "cd")]


@pytest.mark.parametrize("read", [bundle, bundle_content])
def test_an_unknown_bundle_is_named(session: Session, cast: Any, read: Any) -> None:
    for missing in ("0" * 64, "\x00"):
        with pytest.raises(BundleUnknown):
            read(session, missing)
    with pytest.raises(BundleUnknown):
        set_bundle_status(session, "0" * 64, BundleStatus.RETIRED)


def test_a_document_that_is_no_json_is_refused(session: Session, cast: Any) -> None:
    for document in ("{", '{"a": NaN}'):
        with pytest.raises(StoreError, match="no JSON"):
            add_bundle(session, BUNDLE, "geo", document, CONTENT, BundleStatus.CANDIDATE, cast.at(0))


def test_every_certification_spends_an_attempt_and_none_is_spent_twice(session: Session, cast: Any) -> None:
    record = CertificationRecord(
        cascade="geo",
        attempt=1,
        window=cast.window(0, 60),
        status="insufficient_evidence",
        target_kind="max_accuracy_drop",
        target_value=0.02,
        delta_family=0.1,
        delta_spent=0.05,
        n=120,
        document='{"test":"exact"}',
        decided_at=cast.at(61),
    )
    assert next_attempt_number(session, "geo") == 1
    add_certification(session, record)
    assert next_attempt_number(session, "geo") == 2
    with pytest.raises(AttemptTaken, match="attempt 1"):
        add_certification(session, record)
    second = replace(record, attempt=2, status="infeasible", delta_spent=0.025)
    key = add_certification(session, second)
    assert certifications(session, "geo") == (record, second)
    assert [leaf.kind for leaf in ledger.leaves_of(session, str(key))] == ["certification"]


def test_a_season_is_read_back_as_its_newest_attempt_left_it_and_no_attempt_counts_twice(
    session: Session, cast: Any
) -> None:
    add_bundle(session, BUNDLE, "geo", "{}", CONTENT, BundleStatus.CERTIFIED, cast.at(0))
    assert latest_season(session, "geo") is None
    first = SeasonRecord(
        cascade="geo",
        attempt=1,
        number=1,
        began_at=cast.at(0),
        opened_at=cast.at(5),
        counted_until=cast.at(5),
        bundle=BUNDLE,
        document='{"certified":2,"path":[0.5,0.25]}',
    )
    add_season(session, first)
    with pytest.raises(AttemptTaken, match="attempt 1"):
        add_season(session, replace(first, document="{}"))
    assert latest_season(session, "geo") == first
    second = replace(first, attempt=4, counted_until=cast.at(9), document='{"certified":3,"path":[0.5,0.25]}')
    add_season(session, second)
    assert latest_season(session, "geo") == second
    assert [leaf.kind for leaf in ledger.leaves_of(session, "geo/4")] == ["season"]


def test_promotions_are_a_history(session: Session, cast: Any) -> None:
    add_bundle(session, BUNDLE, "geo", "{}", CONTENT, BundleStatus.CERTIFIED, cast.at(0))
    first = PromotionRecord(
        cascade="geo",
        bundle=BUNDLE,
        previous=None,
        outcome=Outcome.PROMOTED,
        reason="first certificate",
        check='{"savings":0.4}',
        generation=1,
        decided_at=cast.at(1),
    )
    back = replace(
        first,
        bundle=None,
        previous=BUNDLE,
        outcome=Outcome.ROLLED_BACK,
        reason="asked for",
        generation=2,
        decided_at=cast.at(2),
    )
    keys = [add_promotion(session, record) for record in (first, back)]
    assert promotions(session, "geo") == (first, back)
    assert [len(ledger.leaves_of(session, str(key))) for key in keys] == [1, 1]


def test_a_token_is_known_by_its_plaintext_which_is_nowhere(session: Session, cast: Any) -> None:
    plaintext = create_token(session, "gateway", TokenRole.INGEST, cast.at(0))
    assert plaintext.startswith("kg_")
    found = find_token(session, plaintext)
    assert found is not None
    assert (found.name, found.role) == ("gateway", TokenRole.INGEST)
    assert find_token(session, plaintext + "x") is None
    (row,) = session.execute(text("SELECT * FROM token")).all()
    assert not any(plaintext in str(cell) for cell in row)


def test_a_revoked_token_opens_nothing(session: Session, cast: Any) -> None:
    plaintext = create_token(session, "gateway", TokenRole.READ, cast.at(0))
    assert revoke_token(session, "gateway", now=cast.at(1))
    assert not revoke_token(session, "gateway", now=cast.at(2))
    found = find_token(session, plaintext)
    assert found is not None and found.ended(cast.at(3)) == "revoked"
    assert [token.revoked_at for token in tokens(session)] == [cast.at(1)]
    with pytest.raises(TokenNameTaken, match="gateway"):
        create_token(session, "gateway", TokenRole.READ, cast.at(3))


def test_a_tokens_use_is_noted_to_the_minute(session: Session, cast: Any) -> None:
    plaintext = create_token(session, "gateway", TokenRole.RUNTIME, cast.at(0))
    seen = []
    for minutes in (1, 1.5, 2.5):
        found = find_token(session, plaintext)
        assert found is not None
        note_use(session, found, now=cast.at(minutes))
        seen.append(tokens(session)[0].last_used_at)
    assert seen == [cast.at(1), cast.at(1), cast.at(2.5)]


def test_a_token_reaches_the_cascades_it_names_until_it_expires(session: Session, cast: Any) -> None:
    wanted = NewToken(name="shipper", role=TokenRole.INGEST, cascades=("geo", "art", "geo"), expires_at=cast.at(60))
    found = find_token(session, add_token(session, wanted, now=cast.at(0)))
    assert found is not None and found.cascades == ("art", "geo")
    assert found.ended(cast.at(59)) is None
    assert str(found.ended(cast.at(60))).startswith("expired on ")


def test_a_sign_in_ends_with_its_token_by_its_age_and_when_it_is_ended(session: Session, cast: Any) -> None:
    until = {"revoked": None, "expires": cast.at(30), "kept": None}
    for name, expires_at in until.items():
        add_token(session, NewToken(name=name, role=TokenRole.READ, expires_at=expires_at), now=cast.at(0))
    keys = {token.name: token.id for token in tokens(session)}
    secrets = {
        name: add_sign_in(
            session,
            NewSignIn(name=name, role=TokenRole.READ, cascades=None, token_id=keys[name], expires_at=cast.at(60)),
            now=cast.at(0),
        )
        for name in until
    }
    assert revoke_token(session, "revoked", now=cast.at(10), by="ada")

    def ended(name: str, minutes: float) -> bool:
        found = find_sign_in(session, secrets[name])
        assert found is not None
        return found.ended(cast.at(minutes))

    assert [ended("revoked", 10), ended("expires", 29), ended("expires", 30)] == [True, False, True]
    assert [ended("kept", 59), ended("kept", 60)] == [False, True]
    end_sign_in(session, secrets["kept"], now=cast.at(5))
    assert ended("kept", 6)
