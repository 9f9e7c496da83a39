"""JSON lines, one object each: what JSON does not have (NaN, a name twice) is refused with its
line. Only logs of other systems (`nested_rows`) may hold NaN and Infinity, as log-probabilities.
"""

import json
from collections.abc import Iterator
from typing import Any, TextIO

from store.files.wanted import at_line

RUN_ROWS, RUN_CHARACTERS = 16_384, 8 << 20  # of a run, so that memory is bounded by the columns that are kept
MOST_DIGITS = 4300  # of a whole number: more is not read as one by Python
CURE = "correct the line; it holds one whole object"


class JsonlRows:
    """The objects of an open file, a run at a time; `names` grows by what they name."""

    def __init__(self, stream: TextIO, file: str, *, finite: bool = True) -> None:
        self.lines = 0  # read so far
        self._decoder = decoder(finite=finite)
        self.names: list[str] = []
        self._file = file
        self._stream = stream

    def runs(self) -> Iterator[tuple[list[dict[str, Any]], list[int]]]:
        """Objects with their lines, as many at a time as fit a run."""
        rows: list[dict[str, Any]] = []
        starts: list[int] = []
        characters = 0
        for line in self._stream:
            self.lines += 1
            if line.isspace():
                continue
            rows.append(self._object(line))
            starts.append(self.lines)
            characters += len(line)
            if len(rows) == RUN_ROWS or characters > RUN_CHARACTERS:
                self._name(rows)
                yield rows, starts
                rows, starts, characters = [], [], 0
        self._name(rows)
        yield rows, starts

    def _object(self, line: str) -> dict[str, Any]:
        try:
            row = self._decoder.decode(line)
        except (ValueError, RecursionError) as error:
            raise at_line(self._file, self.lines, f" is no JSON ({why(error, line)}): {CURE}") from error
        if not isinstance(row, dict):
            raise at_line(self._file, self.lines, f" is {str(row)[:80]}: write an object, a name for each column")
        return row

    def _name(self, rows: list[dict[str, Any]]) -> None:
        for names in dict.fromkeys(map(tuple, rows)):
            self.names += [name for name in names if name not in self.names]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {twice!r} twice")
    return fields


def _whole(text: str) -> float:
    """Minus nought is the one whole number with two spellings, so it may not stand for a text."""
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits is a text at most: write it in quotes")
    return -0.0 if text == "-0" else int(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON; write null where it is unknown")


def why(error: Exception, line: str) -> str:
    """What is wrong, and where in the line: a line of a megabyte is not looked through."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    rest = line[error.pos : error.pos + 30].strip()
    return f"{error.msg} at character {error.pos + 1}: {rest!r}" if rest else f"{error.msg} at its end"


def decoder(*, finite: bool) -> json.JSONDecoder:
    """What reads one object; `finite` refuses NaN and Infinity."""
    constant = _no_number if finite else float
    return json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_whole, parse_constant=constant)
