"""Which decision a label speaks of, which labels contradict each other, which rows are refused."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from store import clocks
from store.rejections import find_unstorable, storable
from store.statements import contradict, contradicting, in_words
from store.traffic.adoption import Target, ambiguous, choose, label_digest, too_early

DAY = datetime(2026, 3, 2, tzinfo=UTC)


def at(minute: float) -> datetime:
    return DAY + timedelta(minutes=minute)


def target(number: int, minute: float, *, cascade: str = "geo", namesakes: int = 1) -> Target:
    return Target(
        id=UUID(int=number),
        cascade=cascade,
        occurred_at=at(minute),
        served_tier=0,
        tiers=frozenset({0}),
        namesakes=namesakes,
    )


@pytest.mark.parametrize(
    ("labelled", "chosen"), [(5, 1), (9.99, 1), (10, 1), (19.99, 1), (20, 2), (29.9, 2), (30, 4), (99, 4)]
)
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_a_label_speaks_of_the_newest_decision_before_it_else_of_the_first(
    labelled: float, chosen: int, order: tuple[int, ...]
) -> None:
    targets = [target(1, 10), target(2, 20), target(3, 30), target(4, 30)]
    found = choose([targets[number] for number in order], at(labelled))
    assert found is not None and (found.id, found.namesakes) == (UUID(int=chosen), 4)


def test_one_decision_has_no_namesakes_and_none_is_none() -> None:
    assert choose([], at(0)) is None
    assert choose([target(1, 10)], at(0)) == target(1, 10)


def test_an_id_of_several_decisions_is_told_once_per_decision_it_was_taken_for() -> None:
    one, other = target(1, 10, namesakes=3), target(2, 20, namesakes=2)
    named = [("b", other), ("a", one), ("a", one), (None, one), ("c", target(3, 30))]
    found = ambiguous(named)
    assert [(each.external_id, each.decision_id.int, each.decisions) for each in found] == [("a", 1, 3), ("b", 2, 2)]
    assert str(found[0]).startswith(f"external_id 'a' is that of 3 decisions of geo; the label was taken for {one.id}")


@pytest.mark.parametrize(("seconds", "early"), [(-61, True), (-60, False), (0, False), (60, False)])
def test_clocks_may_differ_by_a_minute_and_no_more(seconds: float, early: bool) -> None:
    moved = timedelta(seconds=seconds)
    assert too_early(target(1, 10), at(10) + moved) is early
    assert clocks.ahead(at(10) - moved, at(10)) is early


@pytest.mark.parametrize(
    "changed",
    [
        {"correct": 0.0},
        {"labelled_at": at(1)},
        {"label_propensity": 0.5},
        {"label_propensity": None},
        {"grader": "anna"},
        {"names": ("x", 1)},
    ],
)
def test_a_digest_tells_one_statement_from_another(changed: dict[str, Any]) -> None:
    def digest(
        *, correct: float = 1.0, labelled_at: datetime = DAY, label_propensity: float | None = 1.0,
        names: tuple[object, ...] = ("x", 0), grader: str | None = None,
    ) -> str:  # fmt: skip
        return label_digest(correct, labelled_at, label_propensity, *names, grader=grader)

    assert digest() == digest() != digest(**changed)
    elsewhere = DAY.astimezone(datetime.fromisoformat("2026-01-01T00:00:00+05:00").tzinfo)
    assert digest(labelled_at=elsewhere) == digest(), "one time, however it is written"
    assert len(digest()) == 32


def row(number: int, **said: Any) -> dict[str, Any]:
    usual = {
        "decision_id": UUID(int=9), "tier": 0, "source": "gold", "labelled_at": DAY,
        "correct": 1.0, "label_propensity": None, "grader": None, "arrival": UUID(int=number),
    }  # fmt: skip
    return usual | said


@pytest.mark.parametrize("place", [0, 1, 2])
def test_labels_that_contradict_each_other_are_all_named_wherever_the_other_stands(place: int) -> None:
    rows = [row(number) for number in range(3)]
    rows[place] = row(place, correct=0.0)
    assert contradicting(rows) == {UUID(int=number) for number in range(3)}


@pytest.mark.parametrize(
    "apart", [{"decision_id": UUID(int=8)}, {"tier": 1}, {"source": "human"}, {"labelled_at": at(1)}]
)
def test_labels_of_another_answer_source_or_time_contradict_nothing(apart: dict[str, Any]) -> None:
    assert contradicting([row(0), row(1, correct=0.0, **apart)]) == frozenset()
    assert contradicting([row(0), row(1, grader="anna"), row(2, label_propensity=0.5)]) == frozenset()


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [((1.0, None), (1.0, 0.5), False), ((1.0, 0.4), (1.0, 0.5), True), ((1.0, 0.5), (0.0, 0.5), True)],
)
def test_an_unknown_propensity_fits_any(one: Any, other: Any, both: bool) -> None:
    class Said:
        def __init__(self, said: tuple[float, float | None]) -> None:
            self.correct, self.label_propensity = said

    assert contradict(Said(one), Said(other)) is contradict(Said(other), Said(one)) is both


def test_what_a_label_says_is_shown_with_every_digit() -> None:
    assert in_words(1.0, None, None) == "correct 1"
    assert in_words(0.1 + 0.2, None, "anna") == "correct 0.30000000000000004 (grader anna)"
    assert in_words(0.0, 0.5, None) == "correct 0 (label_propensity 0.5)"


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("prompt", "a\x00b", "'a\\x00b'"),
        ("tokens_in", 2**63, str(2**63)),
        ("run_propensity", 9.9e-10, "9.9e-10"),
    ],
)
def test_the_first_value_that_no_column_holds_is_named(place: int, name: str, value: Any, shown: str) -> None:
    fields: list[tuple[str, Any]] = [("slice", "a"), ("tokens_out", 2**63 - 1), ("label_propensity", 1e-9)]
    assert find_unstorable(4, [*fields, ("usd", 0.0), ("grader", None)]) is None
    fields.insert(place, (name, value))
    found = find_unstorable(4, [*fields, ("slice", "\x00")])
    assert found is not None and (found.index, found.field, found.value) == (4, name, shown)
    assert storable("a") and not storable("\x00")
