"""Verification a piece at a time: each goes on where the last one that found nothing ended, and
finds a ledger that was changed before there.
"""

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from services.audit.verify_newest import verify_newest
from store.engine import transaction
from store.ledger.ledger import append_leaf, seal
from store.ledger.verifications import VerificationRecord, add_verification, verifications
from tests.services.conftest import NOW


def sealed(engine: Engine, *sizes: int) -> None:
    """Batches of so many leaves."""
    for number, size in enumerate(sizes):
        with transaction(engine) as session:
            for leaf in range(size):
                append_leaf(session, "trivia", "upgrade", f"{number}/{leaf}", '{"former":0,"leaves":[]}', now=NOW)
            seal(session, now=NOW)


def verified(engine: Engine, most_leaves: int = 100) -> VerificationRecord | None:
    with transaction(engine) as session:
        made = verify_newest(session, by="ada", now=NOW, most_leaves=most_leaves)
        if made is not None:
            add_verification(session, made)
    return made


@pytest.mark.usefixtures("trivia")
def test_a_verification_goes_on_where_the_last_one_ended(engine: Engine) -> None:
    sealed(engine, 9, 2, 2)
    seen = [verified(engine, most_leaves=5), verified(engine, most_leaves=5)]
    assert [(one.first_batch, one.last_batch, one.problems) for one in seen if one] == [(1, 1, 0), (2, 3, 0)]
    assert verified(engine) is None
    with transaction(engine) as session:
        assert [one.by for one in verifications(session)] == ["ada", "ada"]


@pytest.mark.usefixtures("trivia")
def test_a_ledger_that_was_changed_before_what_is_verified_is_found(engine: Engine) -> None:
    sealed(engine, 3, 3)
    first = verified(engine)
    assert first is not None and first.last_batch == 2

    def after(statement: str) -> VerificationRecord | None:
        with Session(engine) as session:
            session.connection().exec_driver_sql(statement)
            return verify_newest(session, by="ada", now=NOW)

    cut = after("DELETE FROM ledger_batch WHERE number = 2")
    assert cut is not None and cut.problems == 1 and "ledger_batch 2: it was verified" in str(cut.said)
    again = after("UPDATE ledger_batch SET hash = 'f0' WHERE number = 2")
    assert again is not None and again.problems >= 1
    assert after("UPDATE ledger_leaf SET payload = '{}' WHERE batch = 1") is None  # the whole finds it
