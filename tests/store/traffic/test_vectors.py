"""Where vectors lie."""

from typing import Any

from sqlalchemy.orm import Session

from store.traffic.decisions import add_decisions
from store.traffic.vectors import VectorRow, add_shard, vector_rows


def place(sent: Any, row: int, tier: int = 0) -> VectorRow:
    return VectorRow(decision_id=sent.id, tier=tier, row=row, sha256=f"{row:064}")


def test_each_vector_is_found_in_its_shard(session: Session, cast: Any) -> None:
    sent = [cast.retained(index) for index in range(3)]
    add_decisions(session, sent, received_at=cast.at(3))
    rows = [place(sent[0], 0), place(sent[1], 1), place(sent[0], 2, tier=1)]
    shard = add_shard(session, "geo", "file:///1", "d" * 64, rows, dimension=8, now=cast.at(3))
    found = vector_rows(session, "geo", 0, [item.id for item in sent])
    assert {key: (item.shard, item.url, item.row, item.dimension) for key, item in found.items()} == {
        sent[0].id: (shard, "file:///1", 0, 8),
        sent[1].id: (shard, "file:///1", 1, 8),
    }
    assert found[sent[1].id].sha256 == f"{1:064}"


def test_a_shard_recorded_again_changes_nothing(session: Session, cast: Any) -> None:
    sent = cast.retained()
    add_decisions(session, [sent], received_at=cast.at(1))
    first = add_shard(session, "geo", "file:///1", "d" * 64, [place(sent, 0)], dimension=8, now=cast.at(1))
    again = add_shard(session, "geo", "file:///1", "d" * 64, [place(sent, 5)], dimension=8, now=cast.at(2))
    add_shard(session, "geo", "file:///2", "e" * 64, [place(sent, 9)], dimension=8, now=cast.at(2))
    assert again == first
    found = vector_rows(session, "geo", 0, [sent.id])[sent.id]
    assert (found.url, found.row) == ("file:///1", 0)
