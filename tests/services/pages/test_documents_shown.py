"""A bundle's document as a page reads it."""

from datetime import UTC, datetime

from factories import make_certificate
from knowgate._bundles.bundle_documents import BundleDocument
from knowgate._wire import codec
from knowgate.policy import escalate_all
from knowgate.spec import PromiseKind
from services.pages.rendering import document_shown


def test_a_certificate_says_in_words_what_its_delta_is_the_chance_against() -> None:
    certificate = make_certificate(promise=PromiseKind.ROLLING)
    document = BundleDocument(
        cascade="quiz",
        models=("small", "large"),
        tiers=(None,),
        policy=escalate_all(2),
        certificate=certificate,
        code_version="test",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    shown = document_shown(codec.canonical(document).decode())
    assert shown["certificate"]["sentence"] == certificate.sentence
    assert shown["certificate"]["n"] == certificate.n
