"""The bounds of a JSON text: at each it is read, one beyond it is refused by what it has."""

import json
import math

import pytest

from knowgate._wire.strict_json import parse
from knowgate.errors import RecordInvalid


def fields(count: int) -> str:
    return json.dumps({f"k{number}": 1 for number in range(count)})


def test_an_object_has_as_many_fields_as_are_allowed() -> None:
    assert len(parse(fields(4096))) == 4096
    with pytest.raises(RecordInvalid, match="document is 'an object of 4097 fields'"):
        parse(fields(4097))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_longest_name_of_an_object_is_counted_wherever_it_stands(place: int) -> None:
    names = ["a", "b", "c"]
    names[place] = "n" * 1024
    assert list(parse(json.dumps(dict.fromkeys(names)))) == names
    names[place] = "n" * 1025
    with pytest.raises(RecordInvalid, match="document is 'a name of 1025 characters': a field's name has at most 1024"):
        parse(json.dumps(dict.fromkeys(names)))


@pytest.mark.parametrize("text", ["[1, 2, 3]", '{"a": [1, 2]}', b"[1, 2, 3]"])
def test_values_are_counted_before_they_are_made(text: str | bytes) -> None:
    assert parse(text, most_values=4)
    with pytest.raises(RecordInvalid, match="document is 'more than 3 values'"):
        parse(text, most_values=3)


@pytest.mark.parametrize("text", ['["a,[{,,", 2]', b'["a,[{,,", 2]', r'["a\",,,", 2]', '["line\\n,,,", 2]'])
def test_marks_within_a_text_are_no_values(text: str | bytes) -> None:
    assert parse(text, most_values=3)


@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_sixty_four_levels_are_read_and_no_more(opened: str) -> None:
    closed = "]" if opened == "[" else "}"
    deep = '{"rules": ' + opened * 63 + "1" + closed * 63 + "}"
    assert parse(deep)["rules"]
    with pytest.raises(RecordInvalid, match="rules is 'nested too deep': send lists and objects of at most 64 levels"):
        parse('{"first": 1, "rules": ' + opened * 64 + "1" + closed * 64 + ', "last": 1}')


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_name_given_twice_is_told_wherever_it_stands(place: int) -> None:
    names = ["a", "b", "c"]
    pairs = ",".join(f'"{name}": 1' for name in [*names, names[place]])
    with pytest.raises(RecordInvalid, match=f"{names[place]} is 'given twice'"):
        parse("{" + pairs + "}")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_finite_number_passes_only_for_who_asks_for_it(word: str) -> None:
    with pytest.raises(RecordInvalid, match=f"document is '{word}': JSON numbers are finite"):
        parse(f"[1, {word}]")
    assert not math.isfinite(parse(f"[1, {word}]", finite=False)[1])


@pytest.mark.parametrize("text", ["{", "", "[1,]", b"\xff"])
def test_what_is_no_json_is_named_by_its_kind(text: str | bytes) -> None:
    with pytest.raises(RecordInvalid, match=f"document is '{type(text).__name__}': malformed JSON"):
        parse(text)
