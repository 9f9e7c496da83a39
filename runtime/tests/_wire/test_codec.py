"""The codec is strict: what it reads is exactly what was meant, and every record has one canonical
form.
"""

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowgate._wire import codec
from knowgate.errors import RecordInvalid


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    radius: float
    kind: str = field(default="circle", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    side: float
    kind: str = field(default="square", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    id: UUID
    made_at: datetime
    length: timedelta
    shapes: tuple[Circle | Square, ...]
    weights: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    colour: Colour | None = None
    scale: float = 1.0
    title: str = ""
    framed: bool = False
    copies: int = 1


def drawing(**changes: Any) -> Drawing:
    fields: dict[str, Any] = {
        "id": UUID("019b76da-a800-7000-8000-000000000000"),
        "made_at": datetime(2026, 1, 2, tzinfo=UTC),
        "length": timedelta(minutes=1),
        "shapes": (Circle(radius=1.5), Square(side=2.0)),
    }
    return Drawing(**fields | changes)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
DRAWINGS = st.builds(
    Drawing,
    id=st.uuids(),
    made_at=st.datetimes(timezones=st.just(UTC)),
    length=st.timedeltas(min_value=timedelta(days=-999), max_value=timedelta(days=999)),
    shapes=st.lists(st.builds(Circle, radius=FINITE) | st.builds(Square, side=FINITE)).map(tuple),
    weights=st.dictionaries(TEXT, FINITE),
    counts=st.dictionaries(TEXT, st.integers(-(2**63) + 1, 2**63 - 1)),
    colour=st.none() | st.sampled_from(Colour),
    scale=FINITE,
    title=TEXT,
    framed=st.booleans(),
    copies=st.integers(0, 10),
)


@given(DRAWINGS)
def test_a_record_comes_back_as_it_was(record: Drawing) -> None:
    assert codec.decode(Drawing, codec.parse(codec.canonical(record))) == record


@given(DRAWINGS)
def test_the_canonical_form_survives_reading(record: Drawing) -> None:
    canonical = codec.canonical(record)
    assert codec.canonical(codec.decode(Drawing, codec.parse(canonical))) == canonical


def test_a_whole_number_and_an_offset_have_the_same_canonical_form_as_what_reading_returns() -> None:
    built = drawing(
        scale=2, weights={"a": 1}, made_at=datetime(2026, 1, 2, 5, tzinfo=timezone(timedelta(hours=5))), counts={"n": 3}
    )
    assert codec.canonical(built) == codec.canonical(drawing(scale=2.0, weights={"a": 1.0}, counts={"n": 3}))


def change(**changes: object) -> dict[str, Any]:
    return codec.encode(drawing()) | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colours": "red"}, "colours is 'present': this field is not known"),
        ({"colour": "green"}, "colour is 'green': use one of red, blue"),
        ({"colour": ["red"]}, "use one of red, blue"),
        ({"scale": "1"}, "scale is '1': a finite number"),
        ({"scale": True}, "scale is True: a finite number"),
        ({"scale": math.nan}, "scale is nan: a finite number"),
        ({"scale": 10**400}, "a finite number"),
        ({"copies": 1.0}, "copies is 1.0: a whole number"),
        ({"copies": True}, "copies is True: a whole number"),
        ({"copies": 2**63}, "at most 64 bits"),
        ({"framed": 1}, "framed is 1: true or false"),
        ({"title": None}, "title is None: a text"),
        ({"title": "a\0b"}, "no NUL"),
        ({"title": "\ud800"}, "surrogate"),
        ({"id": 5}, "id is 5: a UUID"),
        ({"id": "urn:uuid:019b76da-a800-7000-8000-000000000000"}, "a UUID is expected"),
        ({"made_at": "2026-01-02T00:00:00"}, "naive"),
        ({"made_at": "yesterday"}, "ISO 8601"),
        ({"made_at": 1767312000}, "ISO 8601"),
        ({"made_at": "0001-01-01T00:00:00+05:00"}, "years 1 and 9999"),
        ({"length": 1e300}, "duration"),
        ({"shapes": {}}, "shapes is {}: a list"),
        ({"shapes": [{"kind": "circle"}]}, r"shapes\[0\].radius is 'missing'"),
        ({"shapes": [{"kind": "line", "side": 1}]}, r"shapes\[0\].kind is 'line': use one of circle, square"),
        ({"shapes": ["circle"]}, "use one of circle, square"),
        ({"weights": []}, r"weights is \[\]: an object"),
        ({"weights": {"a": "b"}}, "weights.a is 'b'"),
        ({"weights": {"\0": 1.0}}, "no NUL"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordInvalid, match=message):
        codec.decode(Drawing, change(**changes))


def test_a_missing_field_is_refused() -> None:
    document = change()
    del document["made_at"]
    with pytest.raises(RecordInvalid, match="made_at is 'missing'"):
        codec.decode(Drawing, document)


def test_a_fixed_field_holds_its_one_value() -> None:
    with pytest.raises(RecordInvalid, match="it is always 'circle'"):
        codec.decode(Circle, {"radius": 1.0, "kind": "square"})
    assert codec.decode(Circle, {"radius": 1.0}) == Circle(radius=1.0)


def test_a_fault_found_by_the_record_itself_keeps_its_path() -> None:
    from knowgate.policy import Policy

    document = {"kind": "p_t", "rules": [[{"signal": "p_t", "threshold": 1.5}]]}
    with pytest.raises(RecordInvalid, match=r"rules\[0\]\[0\].threshold is 1.5"):
        codec.decode(Policy, document)


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', "[NaN]", "[Infinity]", "{", "", b"\xff", "[" * 100_000, '{"a":1} x']
)
def test_json_that_two_readers_might_read_differently_is_refused(text: str | bytes) -> None:
    with pytest.raises(RecordInvalid):
        codec.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{" + ",".join(f'"k{n}":1' for n in [*range(3000), 7]) + "}", "k7 is 'given twice'"),
        ("{" + ",".join(f'"k{n}":1' for n in range(5000)) + "}", "an object of 5000 fields"),
        ('[{"' + "x" * 1025 + '":1}]', "a name of 1025 characters"),
        ('{"a":1,"rules":' + "[" * 64 + "1" + "]" * 64 + "}", "rules is 'nested too deep'"),
        ('{"a":' * 65 + "1" + "}" * 65, "a is 'nested too deep'"),
        ("[" * 65 + "]" * 65, "document is 'nested too deep'"),
    ],
)
def test_json_of_many_fields_long_names_or_many_levels_is_refused(text: str, message: str) -> None:
    for written in (text, text.encode()):
        with pytest.raises(RecordInvalid, match=message):
            codec.parse(written)
    assert codec.parse("[" * 63 + "]" * 63)


def test_values_are_counted_and_what_stands_within_strings_is_none() -> None:
    for text in ("[1,2,3,4]", "[[],[]]", '[{"a":1},{}]', r'["a", "\"", "\\", "b,,,,"]'):
        assert codec.parse(text, most_values=5) == json.loads(text)
        for written in (text, text.encode()):
            with pytest.raises(RecordInvalid, match="more than 4 values"):
                codec.parse(written, most_values=4)
    with pytest.raises(RecordInvalid, match="malformed"):
        codec.parse('["' + '\\",' * 100_000, most_values=3)  # a string left open is passed over once


def test_a_document_nested_beyond_any_record_is_refused() -> None:
    from knowgate.policy import Policy

    document: dict[str, Any] = {"kind": "p_t", "rules": []}
    for _ in range(5000):
        document = {"kind": "p_t", "rules": [], "fallback": document}
    with pytest.raises(RecordInvalid, match="nested too deeply"):
        codec.decode(Policy, document)


def test_a_number_that_is_not_finite_has_no_canonical_form() -> None:
    with pytest.raises(RecordInvalid, match="no canonical JSON"):
        codec.canonical(drawing(scale=math.inf))


def test_a_naive_time_is_not_written() -> None:
    with pytest.raises(RecordInvalid, match="naive"):
        codec.encode(drawing(made_at=datetime(2026, 1, 2)))  # noqa: DTZ001


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(codec.encode(drawing()), JSON)))
def test_no_json_makes_the_codec_raise_anything_but_its_own_refusal(changes: dict[str, Any]) -> None:
    try:
        codec.decode(Drawing, change(**changes))
    except RecordInvalid as refusal:
        assert refusal.field
        assert refusal.cure


def test_canonical_bytes_are_sorted_and_without_spaces() -> None:
    assert codec.canonical({"b": [1, 2.5], "a": None}) == b'{"a":null,"b":[1,2.5]}'
    assert json.loads(codec.canonical(drawing()))["length"] == 60.0


@pytest.mark.parametrize(
    ("document", "field", "cure"),
    [
        ({"a": [{"b": "x\0"}]}, "a[0].b", "NUL"),
        ({"a": {"\ud800": 1}}, "a (a key)", "surrogate pair"),
        ({"\ud800": 1}, "(a key)", "surrogate pair"),
        ([1, [2, float("inf")]], "[1][1]", "finite"),
        ({"n": 2**63}, "n", "finite|64 bits"),
        ("half \ud83d", "document", "surrogate pair"),
    ],
)
def test_what_no_server_can_be_sent_is_named_by_its_place(document: object, field: str, cure: str) -> None:
    with pytest.raises(RecordInvalid, match=cure) as refused:
        codec.sendable(document)
    assert refused.value.field == field


def test_what_can_be_sent_comes_back_as_it_was_null_too() -> None:
    document = {"messages": [{"content": None, "n": 1, "p": 0.5, "ok": True}], "user": "ü"}
    assert codec.sendable(document) == document
