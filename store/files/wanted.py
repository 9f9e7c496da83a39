"""Which columns of a user's file are read, and what is said of a place in it that cannot be."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from store.errors import FileRefused

NULL_WORDS = ("null", "NULL", "None")  # where a number or a time is expected; in a column of texts they are texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The columns that are read, by what they hold. Of all others the name alone is kept."""

    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    truths: tuple[str, ...] = ()  # numbers in whose place true and false may stand
    times: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys((*self.texts, *self.numbers, *self.truths, *self.times)))

    def called(self, mapping: Mapping[str, str | None]) -> "Wanted":
        """The columns of other names in place of these; None = it is not read."""
        kinds = {kind.name: getattr(self, kind.name) for kind in fields(self)}
        return Wanted(
            **{
                kind: tuple(called for name in names if (called := mapping.get(name, name)))
                for kind, names in kinds.items()
            }
        )


class CellRefused(Exception):
    """One cell of a run of rows cannot be read; the reader knows which row and line that is."""

    def __init__(self, index: int, value: object, cure: str) -> None:
        self.index = index
        self.value = value
        self.cure = cure
        super().__init__(cure)


def at_line(file: str, line: int, fault: str) -> FileRefused:
    """What is wrong with one line, counted from 1."""
    return FileRefused(f"{file}: line {line}{fault}")


def at_cell(file: str, name: str, row: int, line: int | None, value: object, cure: str) -> FileRefused:
    """What is wrong with one cell; `row` counts from 0 here, from 1 where it is shown."""
    return FileRefused(cell_fault(file, name, row, line, value, cure))


def cell_fault(file: str, name: str, row: int, line: int | None, value: object, cure: str) -> str:
    """The sentence that names a cell by column, row and line.

    >>> cell_fault("a.csv", "p_t", 3, 5, "high", "a number is expected")
    "a.csv: line 5: column p_t, row 4 is 'high': a number is expected"
    """
    at = "" if line is None else f" line {line}:"
    shown = "empty" if value is None else _short(repr(value))
    return f"{file}:{at} column {name}, row {row + 1} is {shown}: {cure}"


def not_utf8(path: Path) -> FileRefused:
    """What is wrong with a file of another encoding, with the line."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"{line[error.start]:#04x}"
                return FileRefused(
                    f"{path}: line {number} holds the byte {byte}, which is not UTF-8; save the file as UTF-8"
                )
    return FileRefused(f"{path} is not UTF-8; save the file as UTF-8")


def lines_without_rows(file: Path, rows: int, lines: int | None) -> str | None:
    """How many lines of a file are no row of their own, if any are: a stray quote may have eaten
    some.

    >>> lines_without_rows(Path("a.csv"), 1, 3)
    'a.csv: 1 rows read, 3 lines in the file: 1 lie within quoted texts or are empty'
    """
    heads = 1 if file.suffix == ".csv" else 0
    if lines is None or lines - heads <= rows:
        return None
    within = lines - heads - rows
    return f"{file.name}: {rows} rows read, {lines} lines in the file: {within} lie within quoted texts or are empty"


def shown_names(names: Iterable[str]) -> str:
    """Columns' names for a message; in quotes where one would not be seen as it is.

    >>> print(shown_names(["id", " correct", "p\u200b", ""]))
    id, ' correct', 'p\u200b', ''
    """
    return ", ".join(name if name == name.strip() and name.isprintable() and name else ascii(name) for name in names)


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"
