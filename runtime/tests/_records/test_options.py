"""Which option a text is: spaces and marks around it mean nothing, and nothing else may stand
beside it.
"""

import pytest

from knowgate._records.options import option_of, require_options
from knowgate.backends.protocol import require_kind
from knowgate.errors import RecordInvalid
from knowgate.spec import TierSpec

LETTERS = ("A", "B", "C", "D")


@pytest.mark.parametrize("text", ["A", " A", "A.", "(A", "(A)", "**A**", "A:\n", '"A"', "“A”", "A!", "\tA "])
def test_spaces_and_marks_around_an_option_mean_nothing(text: str) -> None:
    assert option_of(text, LETTERS) == "A"


@pytest.mark.parametrize(
    "text", ["Aardvarks.", "A good one", "A because of", "a", "AB", "A B", "The answer is A", "", " ", "**"]
)
def test_nothing_else_may_stand_beside_an_option(text: str) -> None:
    assert option_of(text, LETTERS) is None


def test_options_of_words_and_of_marks_are_compared_as_they_stand() -> None:
    assert option_of("New York.", ("New York", "New")) == "New York"
    assert option_of(" ?", ("?", "!")) == "?"
    assert option_of("C++", ("C", "C++")) == "C++"
    assert option_of("-5", ("5", "-5")) == "-5"


@pytest.mark.parametrize(
    ("options", "why"), [(("A", "(A)"), "'A' and '(A)' differ at most by"), (("A", " "), "' ' has no text")]
)
def test_options_that_cannot_be_told_apart_are_refused_where_they_are_declared(
    options: tuple[str, ...], why: str
) -> None:
    with pytest.raises(RecordInvalid) as caught:
        require_options(options)
    assert why in str(caught.value)
    with pytest.raises(RecordInvalid, match="options"):
        TierSpec(name="small", model="small", parameters=1e9, options=options)
    with pytest.raises(RecordInvalid, match="options"):
        require_kind(None, options)
