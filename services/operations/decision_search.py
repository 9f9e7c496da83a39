"""The search for decisions: what an address asks for, the page of it, and the same as CSV.

An address says all of the question, so a search can be sent to somebody. Times are UTC.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from knowgate._records.records import Action, Reason
from knowgate.spec import CascadeSpec
from services.errors import InputInvalid
from services.pages.cascades.ranges import LENGTHS, RANGES, USUAL
from services.pages.figures_shown import REASONS
from store.engine import reading
from store.releases import cascades
from store.traffic.search import RIGHT, Found, Order, Place, Wanted, search

Word = TypeVar("Word", bound=StrEnum)

ROWS = 50  # of a page
CHUNK = 1000  # rows of a CSV file that are read at once
FIELDS = ("range", "since", "until", "slice", "id", "verdict", "reason", "right", "sure_from", "sure_to")
MORE_FIELDS = ("ood_from", "bundle", "tier", "order")
VERDICTS = {"kept": Action.RETAIN, "escalated": Action.ESCALATE}
RIGHTS = {"right": True, "wrong": False}
PRESETS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("Kept and wrong, surest first", {"verdict": "kept", "right": "wrong", "order": Order.SUREST}),
    ("Escalated though the small one was right", {"verdict": "escalated", "right": "right"}),
    ("Unlike anything seen", {"ood_from": "0.99", "order": Order.STRANGEST}),
)
COLUMNS = (
    *("id", "occurred_at", "external_id", "slice", "tier", "model", "verdict", "reason", "p_t", "p_ik", "score", "ood"),
    *("correct", "served_tier", "served_correct", "cost_usd", "generation", "bundle"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A question that is asked often."""

    title: str
    query: str
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage:
    """All that the page shows."""

    cascade: str
    tiers: tuple[str, ...]  # names, cheapest first
    asked: Mapping[str, str]  # the form's fields as they were given
    fault: str | None  # why the question cannot be answered
    presets: tuple[Preset, ...]
    rows: tuple[Found, ...]
    query: str  # of this page's first rows, without the place
    ordered: Mapping[str, str]  # the same question in each order
    following: str | None  # query of the next page; None on the last one
    goes_on: bool  # this is not the first page

    @property
    def tier(self) -> str:
        """The name of the tier that is looked at."""
        given = self.asked["tier"]
        return self.tiers[int(given)] if given.isdecimal() and int(given) < len(self.tiers) else self.tiers[0]


def search_page(session: Session, name: str, given: Mapping[str, str], *, now: datetime) -> SearchPage:
    """The page that these fields of an address ask for. Raises CascadeUnknown."""
    spec = cascades.cascade(session, name)
    asked = {field: given.get(field, "").strip() for field in (*FIELDS, *MORE_FIELDS)}
    asked["range"] = asked["range"] or ("all" if asked["id"] or asked["since"] or asked["until"] else USUAL)
    asked["order"] = "" if asked["order"] == Order.NEWEST else asked["order"]
    rows: tuple[Found, ...] = ()
    fault = following = None
    try:
        wanted, after = wanted_of(spec, asked, now=now), _place(given.get("after", ""))
        asked |= {name: f"{at:%Y-%m-%dT%H:%M:%S}" for name in ("since", "until") if (at := _time(name, asked))}
        rows = search(session, wanted, limit=ROWS + 1, after=after)
        if len(rows) > ROWS:
            following = _query(asked | {"after": _after(rows[ROWS - 1].place(wanted.order))})
    except InputInvalid as error:
        fault = str(error)
    return SearchPage(
        cascade=name,
        tiers=tuple(tier.name for tier in spec.tiers),
        asked=asked,
        fault=fault,
        presets=tuple(
            Preset(title=title, query=_query({"range": asked["range"], **fields}), chosen=_same(asked, fields))
            for title, fields in PRESETS
        ),
        rows=rows[:ROWS],
        query=_query(asked),
        ordered={order.value: _query(asked | {"order": order.value}) for order in Order},
        following=following,
        goes_on=bool(given.get("after")),
    )


def wanted_of(spec: CascadeSpec, asked: Mapping[str, str], *, now: datetime) -> Wanted:
    """What these fields ask for; one that is left out or empty asks for nothing. Raises
    InputInvalid.
    """
    length = LENGTHS.get(_one_of("range", asked, {word: word for word in RANGES}) or "all")
    since = _time("since", asked) or (None if length is None else now - length)
    return Wanted(
        cascade=spec.name,
        tier=_tier(asked.get("tier") or "0", spec),
        since=since,
        until=_time("until", asked),
        slice=asked.get("slice") or None,
        external_id=asked.get("id") or None,
        bundle=asked.get("bundle") or None,
        action=_one_of("verdict", asked, VERDICTS),
        reason=_word("reason", asked, Reason),
        right=_one_of("right", asked, RIGHTS),
        sure_from=_share("sure_from", asked),
        sure_to=_share("sure_to", asked),
        ood_from=_share("ood_from", asked),
        order=_word("order", asked, Order) or Order.NEWEST,
    )


def csv_rows(engine: Engine, wanted: Wanted, *, chunk: int = CHUNK) -> Iterator[str]:
    """The lines of a CSV file of all decisions that are wanted, read and written a chunk at a
    time.
    """
    yield _line(COLUMNS)
    after: Place | None = None
    while True:
        with reading(engine) as session:
            rows = search(session, wanted, limit=chunk, after=after)
        yield "".join(_line(_cells(row, wanted.tier)) for row in rows)
        if len(rows) < chunk:
            return
        after = rows[-1].place(wanted.order)


def reason_word(reason: Reason) -> str:
    """Why an answer was not kept, as a person says it.

    >>> reason_word(Reason.NO_BUNDLE), reason_word(Reason.UNCERTIFIED_REQUEST)
    ('there is no bundle for these models', 'no certificate covers the request')
    """
    return REASONS.get(reason.value, "no certificate covers the request")


def said(correct: float | None) -> str:
    """What a label says of an answer, in a word; nothing where there is none."""
    return "" if correct is None else "right" if correct >= RIGHT else "wrong"


def _cells(row: Found, tier: int) -> list[object]:
    verdict = {Action.RETAIN: "kept", Action.ESCALATE: "escalated"}.get(row.action) if row.action is not None else ""
    shown = {"tier": tier, "verdict": verdict, "occurred_at": row.occurred_at.isoformat()}
    return [shown[name] if name in shown else getattr(row, name) for name in COLUMNS]


def _line(cells: object) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([_cell(cell) for cell in cells])  # type: ignore[attr-defined]
    return text.getvalue()


def _cell(value: object) -> object:
    """A text that a spreadsheet would run is written as a text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _query(fields: Mapping[str, str]) -> str:
    return urlencode({name: str(value) for name, value in fields.items() if value})


def _same(asked: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    others = ("verdict", "reason", "right", "ood_from", "order")
    return all(asked[name] == fields.get(name, "") for name in others)


def _time(name: str, asked: Mapping[str, str]) -> datetime | None:
    text = asked.get(name, "")
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputInvalid(f"{name} is {text!r}: give a time in UTC, such as 2026-03-10T12:00") from None


def _tier(text: str, spec: CascadeSpec) -> int:
    if not text.isdecimal() or int(text[:9]) > spec.last:
        raise InputInvalid(f"tier is {text!r}: {spec.name} has the tiers 0 to {spec.last}")
    return int(text)


def _share(name: str, asked: Mapping[str, str]) -> float | None:
    text = asked.get(name, "")
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0.0 <= value <= 1.0:
        raise InputInvalid(f"{name} is {text!r}: give a number from 0 to 1")
    return value


def _word(name: str, asked: Mapping[str, str], words: type[Word]) -> Word | None:
    return _one_of(name, asked, {word.value: word for word in words})


Chosen = TypeVar("Chosen")


def _one_of(name: str, asked: Mapping[str, str], words: Mapping[str, Chosen]) -> Chosen | None:
    text = asked.get(name, "")
    if text and text not in words:
        raise InputInvalid(f"{name} is {text!r}: give one of {', '.join(words)}")
    return words[text] if text else None


def _after(place: Place) -> str:
    return str(place.id) if place.value is None else f"{place.id}~{place.value!r}"


def _place(text: str) -> Place | None:
    if not text:
        return None
    key, _, value = text.partition("~")
    try:
        return Place(id=UUID(key), value=float(value) if value else None)
    except ValueError:
        raise InputInvalid(f"after is {text!r}: follow the link of a page that there is") from None
