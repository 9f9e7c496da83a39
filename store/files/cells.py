"""A run of cells of one column as an Arrow array of its kind, or the first cell that is not of it.

CSV holds texts alone, so a number is what is spelled like one; JSON and Parquet have kinds of their
own, and there a text is no number. A whole number in a column of texts has one spelling, so it
stands for its digits; a number with a fraction has many (1.0, 1e0), so it is refused, as are truth
values and times.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from knowgate._wire.storable import fault_of_text
from store.files.wanted import NULL_WORDS, CellRefused

Build = Callable[[Sequence[Any]], pa.Array]

A_NUMBER = "a number is expected"
A_TRUTH = "a number, or true or false, is expected"
A_TIME = "a time is expected, e.g. 2026-01-31T12:00:00Z"
NO_SPELLING = "it has more than one spelling as text: write it in quotes, as it is meant"
SPELLING = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
TRUE_WORDS, FALSE_WORDS = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_TRUE, _FALSE = pa.array(TRUE_WORDS), pa.array(FALSE_WORDS)


def csv_texts(cells: Sequence[str]) -> pa.Array:
    """Each cell as it stands there; an empty one is null."""
    column = pa.array(cells, pa.string())
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def csv_times(cells: Sequence[str]) -> pa.Array:
    """As texts, which `Columns.times` reads; empty cells and words for null are null."""
    column = pc.utf8_trim_whitespace(pa.array(cells, pa.string()))
    return pc.if_else(_is_null(column), pa.scalar(None, pa.string()), column)


def csv_numbers(cells: Sequence[str]) -> pa.Array:
    """Numbers by their spelling; spaces around one mean nothing."""
    return _spelled(cells, _trimmed(cells), A_NUMBER)


def csv_truths(cells: Sequence[str]) -> pa.Array:
    """Numbers, or true and false."""
    column = _trimmed(cells)
    column = pc.if_else(pc.is_in(column, _TRUE), "1", column)
    return _spelled(cells, pc.if_else(pc.is_in(column, _FALSE), "0", column), A_TRUTH)


def json_texts(cells: Sequence[Any]) -> pa.Array:
    """Texts, and whole numbers by their digits."""
    kinds = set(map(type, cells))
    if not kinds <= {str, int, type(None)}:
        index = next(
            at for at, cell in enumerate(cells) if not isinstance(cell, (str, int, type(None))) or _truth(cell)
        )
        cure = NO_SPELLING if isinstance(cells[index], float) else "write it as text"
        raise CellRefused(index, cells[index], cure)
    if int in kinds:
        cells = [str(cell) if type(cell) is int else cell for cell in cells]
    try:
        column = pa.array(cells, pa.string())
    except UnicodeEncodeError:
        faults = ((at, cell, fault_of_text(cell)) for at, cell in enumerate(cells) if cell is not None)
        raise next(CellRefused(at, cell, cure) for at, cell, cure in faults if cure is not None) from None
    return without_nul(column)


def json_times(cells: Sequence[Any]) -> pa.Array:
    """Texts alone: a number does not say whether it counts seconds or milliseconds."""
    index = next((at for at, cell in enumerate(cells) if not isinstance(cell, (str, type(None)))), None)
    if index is not None:
        raise CellRefused(index, cells[index], f"{A_TIME}, as text")
    return json_texts(cells)


def json_numbers(cells: Sequence[Any]) -> pa.Array:
    """Numbers alone."""
    return _json_numbers(cells, {int, float, type(None)}, A_NUMBER)


def json_truths(cells: Sequence[Any]) -> pa.Array:
    """Numbers and truth values."""
    return _json_numbers(cells, {int, float, bool, type(None)}, A_TRUTH)


def without_nul(column: Any) -> Any:
    """The column of texts. Raises CellRefused for one with a NUL character, which no database
    column can hold.
    """
    with_nul = pc.fill_null(pc.match_substring(column, "\0"), False)
    if pc.any(with_nul).as_py():
        index = pc.index(with_nul, True).as_py()
        raise CellRefused(index, column[index].as_py(), str(fault_of_text("\0")))
    return column


def _json_numbers(cells: Sequence[Any], kinds: set[type], expected: str) -> pa.Array:
    if not set(map(type, cells)) <= kinds:
        index = next(at for at, cell in enumerate(cells) if type(cell) not in kinds)
        raise CellRefused(index, cells[index], expected)
    try:
        return pa.array(cells, pa.float64())
    except (pa.ArrowInvalid, OverflowError):
        index = next(at for at, cell in enumerate(cells) if isinstance(cell, int) and abs(cell) > 2**53)
        raise CellRefused(index, cells[index], f"{expected}, whole ones up to {2**53}") from None


def _trimmed(cells: Sequence[str]) -> Any:
    return pc.utf8_trim(pa.array(cells, pa.string()), characters=" \t")


def _spelled(cells: Sequence[str], column: Any, expected: str) -> pa.Array:
    empty = _is_null(column)
    wrong = pc.and_not(pc.invert(empty), pc.match_substring_regex(column, SPELLING))
    if pc.any(wrong).as_py():
        index = pc.index(wrong, True).as_py()
        raise CellRefused(index, cells[index], expected)
    return pc.if_else(empty, pa.scalar(None, pa.string()), column).cast(pa.float64())


def _is_null(column: Any) -> Any:
    return pc.is_in(column, pa.array(["", *NULL_WORDS]))


def _truth(cell: object) -> bool:
    return isinstance(cell, bool)
