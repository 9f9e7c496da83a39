"""The assignment changes by compare-and-swap, and each generation is kept."""

import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from factories import make_assignment
from knowgate._bundles.assignment import Assignment
from knowgate._wire import codec
from store.engine import reading, transaction
from store.errors import GenerationMoved
from store.ledger import ledger
from store.releases.assignments import (
    RuntimeState,
    acknowledgements,
    add_acknowledgement,
    assignment,
    swap_assignment,
)
from store.tables import AssignmentHistoryRow


def generation(number: int, issued_at: datetime) -> Assignment:
    return make_assignment(
        cascade="geo",
        generation=number,
        champion="c" * 64,
        exploration_rate=0.05,
        issued_at=issued_at,
        signature="ab" * 32,
    )


def test_it_reads_back_to_the_byte_that_was_signed(session: Session, cast: Any) -> None:
    assert assignment(session, "geo") is None
    first = generation(1, cast.at(0.1234567))
    swap_assignment(session, first, expected_generation=None)
    read = assignment(session, "geo")
    assert read == first
    assert read is not None
    assert read.signed_bytes == first.signed_bytes


def test_a_swap_must_name_the_generation_in_force(session: Session, cast: Any) -> None:
    swap_assignment(session, generation(1, cast.at(0)), expected_generation=None)
    with pytest.raises(GenerationMoved, match="at generation 1, not None"):
        swap_assignment(session, generation(2, cast.at(1)), expected_generation=None)
    with pytest.raises(GenerationMoved, match="at generation 1, not 7"):
        swap_assignment(session, generation(8, cast.at(1)), expected_generation=7)
    swap_assignment(session, generation(2, cast.at(1)), expected_generation=1)
    assert _generations(session) == [1, 2]
    assert [leaf.kind for leaf in ledger.leaves_of(session, "geo/2")] == ["assignment_history"]


def test_generations_never_go_back(session: Session, cast: Any) -> None:
    swap_assignment(session, generation(5, cast.at(0)), expected_generation=None)
    for number in (4, 5):
        with pytest.raises(GenerationMoved):
            swap_assignment(session, generation(number, cast.at(1)), expected_generation=5)


SWAP = """
import json, sys
from knowgate._wire import codec
from knowgate._bundles.assignment import read_assignment
from store.releases.assignments import swap_assignment
from store.engine import open_engine, transaction
from store.errors import GenerationMoved

mine = read_assignment(json.loads(sys.argv[2]))
engine = open_engine(sys.argv[1])
engine.connect().close()
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
try:
    with transaction(engine) as session:
        swap_assignment(session, mine, expected_generation=1)
    sys.stdout.write("won")
except GenerationMoved:
    sys.stdout.write("lost")
"""


@pytest.mark.slow
def test_two_processes_that_swap_at_once_leave_one_winner(geo: Engine, database_url: str, cast: Any) -> None:
    with transaction(geo) as session:
        swap_assignment(session, generation(1, cast.at(0)), expected_generation=None)
    rivals = [replace(generation(2, cast.at(1)), champion=letter * 64) for letter in "de"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SWAP, database_url, codec.canonical(mine).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mine in rivals
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = [process.communicate(timeout=60)[0] for process in processes]
    assert sorted(outcomes) == ["lost", "won"]
    with reading(geo) as session:
        assert assignment(session, "geo") == rivals[outcomes.index("won")]
        assert _generations(session) == [1, 2]


def test_a_runtimes_last_word_counts(session: Session, cast: Any) -> None:
    first = RuntimeState(
        cascade="geo", runtime="host-1", generation=1, bundle=None, accepted=True, detail=None, at=cast.at(0)
    )
    other = replace(first, runtime="host-2")
    later = replace(first, generation=2, bundle="b" * 64, accepted=False, detail="wrong shape", at=cast.at(1))
    for said in (first, other, later):
        add_acknowledgement(session, said)
    assert acknowledgements(session, "geo") == (later, other)


def test_a_runtime_is_silent_when_it_has_missed_its_own_times(session: Session, cast: Any) -> None:
    now = cast.at(10)
    mute = RuntimeState(
        cascade="geo", runtime="mute", generation=1, bundle=None, accepted=True, detail=None, at=cast.at(-9999)
    )
    lively = replace(mute, runtime="lively", again_s=60.0, heard_at=cast.at(7.1), unshipped_bytes=3, refused_rows=0)
    gone = replace(lively, runtime="gone", heard_at=cast.at(6.9))
    for said in (mute, lively, gone):
        add_acknowledgement(session, said)
    assert {one.runtime: one.silent(now) for one in acknowledgements(session, "geo")} == {
        "mute": False,  # it speaks only when something changes
        "lively": False,
        "gone": True,
    }
    assert acknowledgements(session, "geo")[1].seen_at == cast.at(7.1)


def _generations(session: Session) -> list[int]:
    return list(session.scalars(select(AssignmentHistoryRow.generation).order_by(AssignmentHistoryRow.generation)))
