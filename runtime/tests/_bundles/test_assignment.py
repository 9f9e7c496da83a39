"""An assignment that exists may come into force; one that is read says what is wrong with it."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_assignment
from knowgate._bundles.assignment import Assignment, read_assignment
from knowgate._wire import codec
from knowgate.errors import AssignmentRefused, RecordInvalid

ISSUED = datetime(2026, 1, 2, tzinfo=UTC)


def assignment(**changes: Any) -> Assignment:
    return make_assignment(
        **{"generation": 3, "champion": "a" * 64, "exploration_rate": 0.05, "issued_at": ISSUED} | changes
    )


def document(**changes: object) -> dict[str, Any]:
    return codec.encode(assignment()) | changes


def test_an_assignment_comes_back_as_it_was() -> None:
    assigned = assignment(challenger="b" * 64, share=0.25, signature="00")
    assert read_assignment(codec.parse(codec.canonical(assigned))) == assigned


@given(st.integers(0, 1) | st.floats(0, 1), st.integers(-12, 12), st.text("0123456789abcdef", max_size=4))
def test_the_signed_bytes_are_those_of_the_reader_and_leave_the_signature_out(
    rate: float, offset_hours: int, signature: str
) -> None:
    zone = timezone(timedelta(hours=offset_hours))
    built = assignment(exploration_rate=rate, issued_at=ISSUED.astimezone(zone), signature=signature)
    read = read_assignment(codec.parse(codec.canonical(built)))
    assert read.signed_bytes == built.signed_bytes == assignment(exploration_rate=rate).signed_bytes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "knowgate.assignment.v2"}, "this runtime reads knowgate.assignment.v1"),
        ({"generation": -1}, "generations count from 0"),
        ({"exploration_rate": 1.5}, "exploration_rate is 1.5"),
        ({"share": 0.1}, "a share above 0 needs a challenger"),
        ({"share": -0.1}, "share is -0.1"),
        ({"mode": "sleep"}, "mode is 'sleep': use one of observe, active, escalate_all"),
        ({"valid_until": "2026-01-03T00:00:00"}, "naive"),
        ({"valid_till": "2026-01-03T00:00:00Z"}, "not known"),
    ],
)
def test_a_wrong_assignment_is_refused_naming_field_value_and_cure(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AssignmentRefused, match=message):
        read_assignment(document(**changes))


@pytest.mark.parametrize("content", [None, [], "x", 3])
def test_what_is_no_object_is_refused(content: object) -> None:
    with pytest.raises(AssignmentRefused, match="an object is expected"):
        read_assignment(content)


def test_a_naive_time_is_refused_when_built_too() -> None:
    with pytest.raises(RecordInvalid, match="valid_until"):
        assignment(valid_until=datetime(2026, 1, 3))  # noqa: DTZ001
