"""One list of an attempt's columns: what is left out of it is unknown, every signal is in it."""

from dataclasses import dataclass, fields

import numpy as np
import pytest

from knowgate._records.records import Attempt, PTKind, Signals
from store.tables import AttemptRow
from store.traffic.attempt_columns import AttemptColumns, Integers, columns_of, taken
from store.traffic.example_columns import Examples


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown(AttemptColumns):
    """Attempts with a column of their own."""

    place: Integers

    def __post_init__(self) -> None:
        self.fill((2, 3))


def test_what_is_left_out_is_unknown_and_of_queries_where_it_is_one_per_query() -> None:
    shown = Shown(place=np.arange(6).reshape(2, 3), p_t=np.full((2, 3), 0.5))
    assert (shown.p_t == 0.5).all() and np.isnan(shown.entropy).all()
    assert shown.entropy.shape == (2, 3) and shown.slice.tolist() == [None, None]
    assert np.isnat(shown.occurred_at).all() and shown.occurred_at.shape == (2,)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([1.5, 2.5]), [2.5, None]),
        (np.array([7, 8]), [8, -1]),
        (np.array(["a", "b"], dtype=object), ["b", None]),
        (np.array([True, True]), [True, False]),
    ],
)
def test_nothing_is_known_where_there_is_no_place(values: np.ndarray, found: list[object]) -> None:
    read = taken(values, np.array([1, -1])).tolist()
    assert [None if value != value else value for value in read] == found


def test_a_cell_is_what_a_record_holds() -> None:
    columns = columns_of(AttemptColumns)
    tokens = columns["tokens_in"].cell(np.float64(12))
    assert tokens == 12 and isinstance(tokens, int)
    assert columns["p_t_kind"].cell("mean") is PTKind.MEAN
    assert columns["entropy"].cell(np.nan) is None and columns["model"].cell(None) is None


def test_every_signal_of_a_record_is_stored_and_joined() -> None:
    signals = {field.name for field in fields(Signals)} | {"entropy", "margin", "p_t_kind"}
    assert signals <= set(AttemptRow.__table__.c.keys())
    assert signals <= {field.name for field in fields(Examples)}
    nested = {"signals", "verdict", "vector"}
    assert {field.name for field in fields(Attempt)} - nested <= set(AttemptRow.__table__.c.keys())
