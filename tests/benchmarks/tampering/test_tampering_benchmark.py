"""Whoever changes anything that was written is found out, or it stands on the list of what is not
covered.
"""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.orm import Session

from benchmarks.tampering.changes import CHANGES, TABLES, make
from benchmarks.tampering.trials import deployment, tamper
from services.audit.verify import verify_ledger
from store.engine import reading
from store.sealing.coverage import COVERED, NOT_COVERED, RESIDUES
from store.sealing.states import pages


@pytest.mark.slow
def test_a_change_of_every_kind_on_every_table_is_found_or_listed(tmp_path: Path) -> None:
    with deployment(tmp_path) as (engine, head):
        made = tamper(engine, head, 0)
    assert [one.change for one in made if one.missed] == []
    assert {one.change.kind for one in made} == CHANGES.keys()
    assert {one.change.table for one in made} == {table.name for table in TABLES}
    listed = {f"{gap.table}.{gap.column}" for gap in NOT_COVERED} | RESIDUES.keys()
    assert {one.change.not_covered for one in made} <= listed | {None}
    assert sum(one.found for one in made) > 100


def test_the_deployment_is_untouched_holds_the_head_and_fills_every_table(tmp_path: Path) -> None:
    with deployment(tmp_path) as (engine, head), reading(engine) as session:
        found = verify_ledger(session, head=head)
        filled = {cover.kind: sum(map(len, pages(session, cover, 100))) for cover in COVERED}
    assert found.problems == ()
    assert found.unsealed > 1
    assert min(filled.values()) > 1, filled


@pytest.mark.slow
def test_only_the_head_tells_that_the_whole_ledger_was_made_anew(tmp_path: Path) -> None:
    certification = next(table for table in TABLES if table.name == "certification")
    with deployment(tmp_path) as (engine, head), engine.connect() as connection:
        for seed in range(5):
            make(connection, "recompute", certification, np.random.default_rng(seed))
            with Session(connection) as session:
                assert verify_ledger(session).verified
                found = verify_ledger(session, head=head)
            assert [problem.check for problem in found.problems] == ["head"]
            connection.rollback()
