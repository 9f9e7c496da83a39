"""One rule says what can be stored, and everything that takes texts and whole numbers
in asks it.
"""

import pytest

from knowgate._wire import codec
from knowgate._wire.storable import LARGEST_INTEGER, fault_of_text
from knowgate.errors import RecordInvalid


@pytest.mark.parametrize("text", ["", "é", "\U0001f600", "\x01\x7f\u2028"])
def test_a_text_that_utf8_can_write_is_storable(text: str) -> None:
    assert fault_of_text(text) is None


@pytest.mark.parametrize(
    ("text", "cure"), [("a\0b", "NUL"), ("half \ud83d", "surrogate"), ("\udc00\ud800", "surrogate")]
)
def test_a_text_that_no_database_holds_is_refused_with_the_cure(text: str, cure: str) -> None:
    assert cure in str(fault_of_text(text))
    with pytest.raises(RecordInvalid, match=cure):
        codec.decode(str, text)


def test_the_largest_whole_number_is_that_of_64_bits() -> None:
    assert codec.decode(int, LARGEST_INTEGER) == 9_223_372_036_854_775_807
    with pytest.raises(RecordInvalid, match="64 bits"):
        codec.decode(int, LARGEST_INTEGER + 1)
