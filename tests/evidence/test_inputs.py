"""What is no argument of a figure is refused by name, row and value, wherever it stands."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from evidence.errors import InvalidInputError, NotIdentifiedError
from evidence.inputs import (
    count,
    flag_array,
    level,
    number,
    propensity_array,
    real_array,
    same_length,
    why_not_identified,
)

PLACES = pytest.mark.parametrize("place", [0, 1, 2])


def with_one(usual: float, other: float, place: int) -> list[float]:
    values = [usual] * 3
    values[place] = other
    return values


@PLACES
@pytest.mark.parametrize("value", [-0.1, 1.1, math.inf, -math.inf, math.nan])
def test_one_number_out_of_range_is_named(place: int, value: float) -> None:
    with pytest.raises(
        InvalidInputError, match=re.escape(f"p[{place}] is {value}, expected a finite number in [0.0, 1.0]")
    ):
        real_array("p", with_one(0.5, value, place), low=0.0, high=1.0)


@PLACES
@pytest.mark.parametrize("value", [-math.inf, 2.0])
def test_what_is_unknown_passes_where_it_may_and_nothing_else_with_it(place: int, value: float) -> None:
    assert np.isnan(real_array("p", with_one(0.5, math.nan, place), unknown_allowed=True)[place])
    with pytest.raises(InvalidInputError, match=re.escape(f"p[{place}] is {value}")):
        real_array("p", with_one(math.nan, value, place), low=0.0, high=1.0, unknown_allowed=True)


def test_the_ends_of_a_range_are_within_it() -> None:
    assert real_array("p", [0.0, 1.0], low=0.0, high=1.0).tolist() == [0.0, 1.0]
    assert number("p", 0.0, low=0.0, high=1.0) == 0.0 and number("p", 1.0, low=0.0, high=1.0) == 1.0
    assert level("delta", 0.5) == 0.5
    assert count("n", 1, low=1) == 1 and count("n", 0) == 0
    assert propensity_array("p", [1e-9, 1.0]).tolist() == [1e-9, 1.0]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([[0.5]], "p has 2 dimensions, expected 1"),
        (0.5, "p has 0 dimensions, expected 1"),
        ([], "p is empty"),
        (["a"], "p is not a sequence of numbers"),
        ([[1.0], [1.0, 2.0]], "p is not a sequence of numbers"),
    ],
)
def test_what_is_no_column_is_refused(values: object, named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        real_array("p", values)  # type: ignore[arg-type]


@PLACES
@pytest.mark.parametrize("value", [2.0, 0.5, -1.0])
def test_one_flag_that_is_neither_true_nor_false_is_named(place: int, value: float) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(f"seen[{place}] is {value}, expected true or false")):
        flag_array("seen", with_one(1.0, value, place))


def test_flags_come_as_truths_or_as_numbers() -> None:
    assert flag_array("seen", [True, False]).tolist() == [True, False]
    found = flag_array("seen", [1, 0])
    assert found.tolist() == [True, False] and found.dtype == np.bool_
    for shape in ((0,), (1, 2)):
        with pytest.raises(InvalidInputError, match=re.escape(f"seen has shape {shape}, expected [n]")):
            flag_array("seen", np.zeros(shape, dtype=bool))


@PLACES
def test_columns_of_unequal_length_are_counted(place: int) -> None:
    lengths = [int(length) for length in with_one(2, 3, place)]
    names = dict(zip("abc", (np.zeros(length) for length in lengths), strict=True))
    shown = ", ".join(f"{name} has {length}" for name, length in zip("abc", lengths, strict=True))
    with pytest.raises(InvalidInputError, match=shown):
        same_length(**names)
    assert same_length(a=[1, 2], b=np.zeros(2)) == 2


@pytest.mark.parametrize(
    ("check", "named"),
    [
        (lambda: number("x", math.nan), "x is nan, expected a finite number; correct it"),
        (lambda: number("x", -math.inf), "x is -inf, expected a finite number; correct it"),
        (lambda: number("x", 1.5, high=1.0), "x is 1.5, expected a finite number in [-inf, 1.0]"),
        (lambda: number("x", -0.5, low=0.0), "x is -0.5, expected a finite number in [0.0, inf]"),
        (lambda: level("delta", 0.0), "delta is 0.0, expected a level in (0, 0.5]"),
        (lambda: level("delta", 0.51), "delta is 0.51"),
        (lambda: level("delta", math.nan), "delta is nan"),
        (lambda: count("n", 0, low=1), "n is 0, expected a whole number ≥ 1"),
        (lambda: count("n", -1), "n is -1, expected a whole number ≥ 0"),
        (lambda: count("n", 1.5), "n is 1.5"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_number_is_named_with_its_range(check: Callable[[], object], named: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(named)):
        check()


@PLACES
def test_a_row_that_never_ran_or_ran_by_an_unknown_coin_identifies_nothing(place: int) -> None:
    assert why_not_identified([0.5, 1.0, 0.1]) is None
    with pytest.raises(InvalidInputError, match=r"propensity\[1\] is 1\.5"):
        why_not_identified([0.5, 1.5])
    assert f"row {place} has an unknown propensity" in str(why_not_identified(with_one(0.5, math.nan, place)))
    with pytest.raises(NotIdentifiedError, match=f"p: row {place} has propensity 0: such rows never run"):
        propensity_array("p", with_one(0.5, 0.0, place))
