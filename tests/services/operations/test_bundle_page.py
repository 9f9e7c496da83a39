"""A bundle's page: what it promises in plain words, what that rests on, what became of it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from factories import make_certificate, make_comparison
from knowgate import Bundle, Policy, PolicyKind, write_bundle
from knowgate._bundles.bundle_documents import BundleDocument, CertificateStatus, LabelBasis, SeasonMark
from knowgate._records.records import LabelSource
from knowgate._wire import codec
from knowgate.spec import PromiseKind, TargetKind
from services.operations.bundle_page import promise_of
from store.engine import transaction
from store.jobs.outbox import add_message
from store.releases import bundles
from store.releases.bundles import BundleStatus
from store.releases.promotions import Outcome, PromotionRecord, add_promotion
from tests.services.conftest import NOW
from tests.services.pages.test_pages import page

MADE = NOW + timedelta(minutes=1)


@pytest.fixture
def challenger(engine: Engine, promoted: Bundle) -> Bundle:
    """A certified bundle that was compared with the champion, and declined."""
    basis = LabelBasis(trusted=(LabelSource.GOLD,), labels={"gold": 900}, forecasts={"judge": 300})
    document = BundleDocument(
        cascade="trivia",
        models=("tiny", "huge"),
        tiers=(None,),
        policy=Policy.of(PolicyKind.P_T, ({"p_t": 0.912345678},)),
        certificate=make_certificate(promise=PromiseKind.ROLLING, label_basis=basis, retained_share=0.3812),
        comparison=make_comparison(promoted.id),
        code_version="test",
        created_at=NOW - timedelta(hours=5),
        rows={"certify": 1200},
        parent=promoted.id,
    )
    made = write_bundle(document, (None,))
    with transaction(engine) as session:
        canonical = codec.canonical(document)
        bundles.add_bundle(session, made.id, "trivia", canonical, made.content, BundleStatus.REFUSED, MADE)
        declined = PromotionRecord(
            cascade="trivia",
            bundle=made.id,
            previous=promoted.id,
            outcome=Outcome.REFUSED,
            reason="too little evidence that it is as accurate as the champion",
            check="{}",
            generation=None,
            decided_at=NOW - timedelta(hours=4),
        )
        add_promotion(session, declined)
        add_message(session, "mlflow", made.id, "{}", now=NOW - timedelta(hours=5))
    return made


def test_a_bundle_says_what_it_promises_and_why_it_was_declined(
    client: TestClient, challenger: Bundle, promoted: Bundle
) -> None:
    text = page(client, f"/bundles/{challenger.id}")
    certificate = challenger.document.certificate
    assert promise_of(certificate) in text
    for expected in ("declined", "too little evidence that it is as accurate", "0.912", "waits for MLflow", "1,200"):
        assert expected in text
    assert "gold" in text and "corrected by the others" in text
    assert f'href="/bundles/{promoted.id}"' in text and "0.912345678" not in text
    champion = page(client, f"/bundles/{promoted.id}")
    assert "another took its place" in champion and "promote?bundle=" not in champion
    form = f"/cascades/trivia/promote?bundle={challenger.id}"
    assert f'href="{form}"' in text and f'value="{challenger.id}" required checked' in page(client, form)


def test_two_bundles_are_compared_place_by_place(client: TestClient, challenger: Bundle, promoted: Bundle) -> None:
    text = page(client, f"/bundles/{challenger.id}?with={promoted.id}")
    assert "<code>policy.kind</code>" in text and "<td>gates</td><td>p_t</td>" in text
    assert "no such bundle" in page(client, f"/bundles/{challenger.id}?with={'0' * 64}")
    page(client, f"/bundles/{'0' * 64}", status=404)


def test_the_bundles_of_a_cascade_are_listed_with_what_they_promise(
    client: TestClient, challenger: Bundle, promoted: Bundle
) -> None:
    text = page(client, "/cascades/trivia/bundles")
    assert text.index(challenger.id) < text.index(promoted.id)
    assert "in force" in text and "declined" in text and "refused" not in text and "38.1 %" in text
    assert "nothing is promised" in text  # of the champion, which carries no certificate


@pytest.mark.usefixtures("trivia")
def test_without_a_bundle_the_list_says_when_there_will_be_one(client: TestClient) -> None:
    assert "The first training makes one" in page(client, "/cascades/trivia/bundles")
    page(client, "/cascades/unheard-of/bundles", status=404)


def test_a_promise_is_one_sentence_without_symbols() -> None:
    given = make_certificate(
        promise=PromiseKind.ROLLING, target_value=0.02, delta=0.1, delta_family=0.2, retained_share=0.38
    )
    week = "Keeps about 38 % of answers; at most 2 points lost, with 90 % confidence in any given week."
    assert promise_of(given) == week
    season = replace(given, promise=PromiseKind.SEASON, season=SeasonMark(number=3, opened_at=NOW))
    assert promise_of(season).endswith("with 80 % confidence over all of season 3.")
    former = replace(given, promise=None, target=TargetKind.RETAINED_ACCURACY, target_value=0.95, retained_share=None)
    assert promise_of(former) == (
        "Keeps an unknown share of answers; at least 95 % of what is kept is right, with 80 % confidence over all its "
        "attempts."
    )
    for status in CertificateStatus:
        said = promise_of(replace(given, status=status))
        assert said.startswith("Keeps nothing") == (status is not CertificateStatus.CERTIFIED)
