"""Decision ids carry their time and sort by it."""

import copy
import pickle
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowgate._records.ids import decided_at, new_id
from knowgate.errors import RecordInvalid

TIMES = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(TIMES)
def test_an_id_carries_its_time_to_the_millisecond(time: datetime) -> None:
    made = new_id(time)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert decided_at(made) == time.replace(microsecond=time.microsecond // 1000 * 1000)


@given(TIMES, st.integers(min_value=1, max_value=10_000))
def test_ids_sort_by_their_time(time: datetime, later_ms: int) -> None:
    later = time.replace(year=min(time.year, 9998)) + timedelta(milliseconds=later_ms)
    assert new_id(time.replace(year=min(time.year, 9998))) < new_id(later)


def test_ids_of_one_instant_differ() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert len({new_id(now) for _ in range(1000)}) == 1000


def test_an_id_without_a_time_is_of_now() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert before <= decided_at(new_id()) <= datetime.now(UTC)


def test_times_that_no_id_can_carry_are_refused() -> None:
    with pytest.raises(RecordInvalid, match="naive"):
        new_id(datetime(2026, 1, 2))  # noqa: DTZ001
    with pytest.raises(RecordInvalid, match="1970"):
        new_id(datetime(1969, 12, 31, tzinfo=UTC))


def test_only_the_time_of_a_uuid7_can_be_read() -> None:
    with pytest.raises(RecordInvalid, match="UUIDv7"):
        decided_at(uuid4())
    with pytest.raises(RecordInvalid, match="9999"):
        decided_at(UUID("ffffffff-ffff-7fff-bfff-ffffffffffff"))


def test_an_id_is_a_uuid_like_any_other() -> None:
    made = new_id()
    plain = UUID(int=made.int)
    assert (made, hash(made), str(made), made.version, made.variant) == (
        plain,
        hash(plain),
        str(plain),
        7,
        plain.variant,
    )
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == plain
    assert made.is_safe is plain.is_safe
