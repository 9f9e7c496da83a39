"""External ids that labels wait for, beside stored ones that look the same or that a spreadsheet
may have made of them.

Nothing is matched by this: two ids that look alike may be two. It names what a person should look
at.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal

LARGEST = 3  # stored ids named beside one that waits
_SCIENTIFIC = re.compile(r"[+-]?[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]{1,2}")
_WHOLE = re.compile(r"[0-9]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """One id that waits and a stored one like it."""

    waiting: str
    stored: str
    differ_by: str


def near_misses(waiting: Collection[str], stored: Iterable[str]) -> tuple[NearMiss, ...]:
    """Pairs that differ by Unicode form, invisible characters, spaces, quotes, dashes, case, zeros
    or what a spreadsheet makes of long numbers.

    >>> [pair.differ_by for pair in near_misses({"7 "}, ["7", "8"])]
    ['spaces']
    """
    if not waiting:
        return ()
    folded: dict[str, list[str]] = {}
    rounded: dict[tuple[int, str], list[str]] = {}
    for name in sorted(waiting):
        folded.setdefault(_fold(name), []).append(name)
        if _SCIENTIFIC.fullmatch(name.strip()):
            mantissa = re.split("[eE]", name.strip())[0]
            digits = len(re.sub("[^0-9]", "", mantissa))
            rounded.setdefault((digits, _rounded(Decimal(name.strip().replace(",", ".")), digits)), []).append(name)
    misses: dict[str, dict[str, str]] = {}
    for name in stored:
        for other in folded.get(_fold(name), ()):
            if other != name:
                _note(misses, other, name, _difference(other, name))
        if rounded and _WHOLE.fullmatch(name):
            for digits in {digits for digits, _ in rounded}:
                for other in rounded.get((digits, _rounded(Decimal(name), digits)), ()):
                    _note(misses, other, name, "scientific notation")
    return tuple(
        NearMiss(waiting=name, stored=other, differ_by=why)
        for name, others in sorted(misses.items())
        for other, why in others.items()
    )


def _note(misses: dict[str, dict[str, str]], waiting: str, stored: str, why: str) -> None:
    others = misses.setdefault(waiting, {})
    if len(others) < LARGEST:
        others.setdefault(stored, why)


def _in_one_form(text: str) -> str:
    """Compatible characters as one, digits of every script too."""
    text = unicodedata.normalize("NFKC", text)
    return text if text.isascii() else "".join(str(unicodedata.decimal(char, char)) for char in text)


def _without_invisible(text: str) -> str:
    return "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Cc") or char.isspace())


def _without_zeros(text: str) -> str:
    """A number without the zeros before it, or those that a column of floats puts behind it or
    leaves out there.
    """
    match = re.fullmatch(r"0*([0-9]+?)(?:(\.[0-9]*?)0*)?", text)
    return text if match is None else (match.group(1) + (match.group(2) or "")).rstrip(".")


def _without_separators(text: str) -> str:
    return re.sub("[, ']", "", text) if _THOUSANDS.fullmatch(text) else text


_THOUSANDS = re.compile(r"[0-9]{1,3}(?:[, '][0-9]{3})+")
_STEPS: dict[str, Callable[[str], str]] = {
    "Unicode form": _in_one_form,
    "spaces": lambda text: " ".join(text.split()),
    "invisible characters": _without_invisible,
    "quotes": lambda text: text.strip("'\"`\u2018\u2019\u201c\u201d"),
    "dashes": lambda text: re.sub("[\u2010-\u2015\u2212]", "-", text),
    "separators of thousands": _without_separators,
    "case": str.casefold,
    "zeros": _without_zeros,
}


def _fold(text: str, without: str | None = None) -> str:
    if without is None and text.isascii() and text.isalnum():
        return _without_zeros(text.casefold())  # no other step changes it
    for name, step in _STEPS.items():
        if name != without:
            text = step(text)
    return text


def _difference(one: str, other: str) -> str:
    """The steps without which the two would not be the same; the one that does where each could be
    spared.
    """
    needed = [name for name in _STEPS if _fold(one, name) != _fold(other, name)]
    alone = [name for name in ("spaces", *_STEPS) if _STEPS[name](one) == _STEPS[name](other)]
    return " and ".join(needed) or (alone[0] if alone else "how they are written")


def _rounded(number: Decimal, digits: int) -> str:
    return f"{number:.{digits - 1}E}"
