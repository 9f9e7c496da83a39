"""JSON text to plain values, strictly, and within bounds of time and memory: what every door of
ours reads with.

A key that stands twice, NaN and Infinity are read differently by different readers, so they are
refused. The bounds hold whoever wrote the text: they are far above any document of ours, and below
what would stop the process that reads.
"""

import json
import re
from typing import Any

from knowgate.errors import RecordInvalid

Json = Any

MOST_VALUES = 5_000_000  # in all: each takes some hundred bytes of memory, and two of the text
MOST_FIELDS = 4096  # of one object
LONGEST_NAME = 1024  # characters of a field's name, which errors repeat
DEEPEST = 64  # levels of lists and objects within each other
_STRING = r'"(?:[^"\\]++|\\.)*+"?'  # the end is optional, so that an open string is read once, not from each quote


def parse(text: str | bytes, *, most_values: int = MOST_VALUES, finite: bool = True) -> Json:
    """Plain JSON values of a JSON text, read strictly: a key given twice, NaN and Infinity are
    refused.

    `finite` False lets NaN and Infinity through, for who says by the field what they cost;
    `codec.decode` refuses them.

    So is a text of too many values, fields or levels: the time and the memory that one takes grow
    with its length. Raises RecordInvalid.

    >>> parse('{"share": 0.5}')
    {'share': 0.5}
    """
    try:
        opened = _require_few_values(text, most_values)
        constant = _refuse_constant if finite else float
        document = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=constant)
    except RecordInvalid:
        raise
    except RecursionError as error:
        raise _too_deep("document") from error
    except (ValueError, TypeError) as error:
        raise RecordInvalid("document", type(text).__name__, f"malformed JSON: {error}") from error
    if opened >= DEEPEST:
        _require_shallow(document)
    return document


def _require_few_values(text: str | bytes, most: int) -> int:
    """Counted before anything is made of them. Commas and brackets within strings count only where
    that decides. Returns how many lists and objects there are at most.
    """
    marks: tuple[Any, ...] = (",", "[", "{") if isinstance(text, str) else (b",", b"[", b"{")
    commas, *brackets = map(text.count, marks)
    if commas + sum(brackets) < most:
        return sum(brackets)
    bare: Any = re.sub(_STRING, "", text, flags=re.S) if isinstance(text, str) else _without_strings(text)
    if sum(map(bare.count, marks)) >= most:
        raise RecordInvalid("document", f"more than {most} values", "send it in parts")
    return sum(brackets)


def _without_strings(text: bytes) -> bytes:
    return re.sub(_STRING.encode(), b"", text, flags=re.S)


def _require_shallow(document: Json) -> None:
    """Level by level, so that the check itself cannot be nested too deep."""
    parts = document.items() if isinstance(document, dict) else [("document", document)]
    for name, part in parts:
        level = [part] if isinstance(part, (dict, list)) else []
        for _ in range(DEEPEST - 1):
            level = [
                item
                for value in level
                for item in (value.values() if type(value) is dict else value)
                if type(item) is dict or type(item) is list
            ]
            if not level:
                break
        else:
            if any(level):
                raise _too_deep(name)


def _too_deep(field: str) -> RecordInvalid:
    return RecordInvalid(field, "nested too deep", f"send lists and objects of at most {DEEPEST} levels")


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    if len(pairs) > MOST_FIELDS:
        raise RecordInvalid("document", f"an object of {len(pairs)} fields", f"an object has at most {MOST_FIELDS}")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise RecordInvalid(twice[:LONGEST_NAME], "given twice", "give each field once")
    if fields and max(map(len, fields)) > LONGEST_NAME:
        cure = f"a field's name has at most {LONGEST_NAME} characters"
        raise RecordInvalid("document", f"a name of {max(map(len, fields))} characters", cure)
    return fields


def _refuse_constant(name: str) -> Json:
    raise RecordInvalid("document", name, "JSON numbers are finite; leave the field out or write null")
