"""CSV as RFC 4180 has it: a row that departs from it is refused with its line, never joined with
its neighbours.

A quote may open a cell, close it, or stand twice for itself; anywhere else it says that texts were
written without quoting, and then nobody knows where a row ends. Python's reader finds the ends of
rows, strictly; what it lets pass (a quote within a cell that none opened) is looked for in those
rows that hold a quote at all. Two stray quotes may pair at the edges of cells, as a quoted text
with line breaks does: where the lines between read as rows by themselves, nobody would know which
it was, and they are refused.
"""

import csv
import re
from collections.abc import Iterator
from typing import TextIO

from store.errors import FileRefused
from store.files.cells import FALSE_WORDS, SPELLING, TRUE_WORDS
from store.files.wanted import NULL_WORDS, Wanted, at_line

CELL = r'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
RECORD = re.compile(rf"{CELL}(?:,{CELL})*+")
LONGEST = 64 << 20  # characters of a cell
RUN_ROWS, RUN_CHARACTERS = 16_384, 8 << 20  # of a run, so that memory is bounded by the columns that are kept
OTHER_SEPARATORS = ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"))
WITHIN = re.compile(r'(?:(?<=,)|^)"[^"]*+(?:""[^"]*+)*+"(?=,|$)')  # a cell whose quotes open and close in its line
MISMATCH = ": its quotes do not match; put a text with commas, quotes or line breaks in quotes, and write a quote twice"
SWALLOWS = (
    " opens a quote that runs over line {line}, which reads as a row of its own: write a quote within a text twice;"
    " where it is one text all the same, give the table as JSONL or Parquet"
)
NUMBER = re.compile(SPELLING)
WORDS = (*TRUE_WORDS, *FALSE_WORDS, *NULL_WORDS)


class CsvRows:
    """The head and the rows of an open file, a run at a time."""

    def __init__(self, stream: TextIO, file: str, wanted: Wanted) -> None:
        csv.field_size_limit(LONGEST)
        self.lines = 0  # read so far
        self._file = file
        self._quoted: list[str] = []  # lines of the row under way, where it holds a quote
        self._characters = 0
        self._reader = csv.reader(self._watched(stream), strict=True)
        self.names: list[str] = []
        self._numbers: list[int] = []  # places of the columns that hold numbers
        self.names = self._head()
        numbers = {*wanted.numbers, *wanted.truths}
        self._numbers = [at for at, name in enumerate(self.names) if name in numbers]

    def runs(self) -> Iterator[tuple[list[list[str]], list[int]]]:
        """Rows with the line that each begins at, as many at a time as fit a run."""
        width = len(self.names)
        rows: list[list[str]] = []
        starts: list[int] = []
        start = self._reader.line_num + 1
        try:
            for row in self._reader:
                if self._quoted:
                    self._check_quotes(start)
                if row:
                    if len(row) != width:
                        cure = "quote a text that holds a comma" if len(row) > width else "write every cell, also empty"
                        raise at_line(self._file, start, f" has {len(row)} cells and the head {width}: {cure}")
                    rows.append(row)
                    starts.append(start)
                    if len(rows) == RUN_ROWS or self._characters > RUN_CHARACTERS:
                        yield rows, starts
                        rows, starts, self._characters = [], [], 0
                start = self._reader.line_num + 1
        except csv.Error as error:
            raise self._mismatch(start, error) from error
        self.lines = self._reader.line_num
        yield rows, starts

    def _head(self) -> list[str]:
        """The names. Raises FileRefused for a first line that is another kind of file's."""
        try:
            names = next((row for row in self._reader if row), [])
        except csv.Error as error:
            self._refuse_other_separators("".join(self._quoted))
            raise self._mismatch(1, error) from error
        self._refuse_other_separators("".join(self._quoted) or ",".join(names))
        if self._quoted:
            self._check_quotes(1)
        return names

    def _refuse_other_separators(self, head: str) -> None:
        if head.startswith("sep="):
            raise at_line(self._file, 1, f" is {head!r}, which only spreadsheets read: remove that line")
        for separator, name in OTHER_SEPARATORS:
            if separator in head and "," not in head:
                raise FileRefused(
                    f"{self._file}: its columns are separated by {name}; write it again with commas and decimal points"
                )

    def _watched(self, stream: TextIO) -> Iterator[str]:
        """The lines, those of a row with a quote kept until the row ends."""
        for number, line in enumerate(stream, start=1):
            if "\0" in line:
                raise at_line(self._file, number, " holds a NUL character: save the file as text in UTF-8")
            if self._quoted or '"' in line:
                self._quoted.append(line)
            self._characters += len(line)
            yield line

    def _check_quotes(self, start: int) -> None:
        lines = self._quoted.copy()
        self._quoted.clear()
        if RECORD.fullmatch("".join(lines).rstrip("\r\n")) is None:
            raise at_line(self._file, start, MISMATCH)
        if len(lines) > 1 and self._reads_alone(lines[0]):
            swallowed = next((at for at, line in enumerate(lines[1:], start + 1) if self._reads_alone(line)), None)
            if swallowed is not None:
                raise at_line(self._file, start, SWALLOWS.format(line=swallowed))

    def _reads_alone(self, line: str) -> bool:
        """Whether a line by itself has as many cells as the head, with numbers where the head has
        them.
        """
        cells = WITHIN.sub("", line.rstrip("\r\n")).split(",")
        if len(cells) != len(self.names):
            return False
        written = [cell for at in self._numbers if (cell := cells[at].strip(' \t"'))]
        return bool(written) and all(cell in WORDS or NUMBER.fullmatch(cell) for cell in written)

    def _mismatch(self, start: int, error: csv.Error) -> FileRefused:
        if "field limit" in str(error):
            return at_line(self._file, start, f" begins a text longer than {LONGEST} characters, or one never closed")
        return at_line(self._file, start, MISMATCH)
