"""Every address, asked as everybody: the table of docs/security.md holds."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import Engine

from knowgate import Bundle, Decision
from knowgate._records.ids import new_id
from knowgate._wire import codec
from monitoring.names import Rule
from services.acts import Act
from services.command_line import COMMANDS, load
from services.http.access import LOOKERS
from services.http.auth import COOKIE
from services.settings import Auth, Settings
from store.engine import transaction
from store.releases import cascades
from store.tokens import NewToken, TokenRole, add_token, revoke_token
from store.traffic.decisions import add_decisions
from store.watching.alerts import AlertRecord, open_alert
from store.watching.deliveries import add_delivery
from tests.services.conftest import CASCADE, NOW

SECURITY = Path(__file__).parents[3] / "docs/security.md"
SAME_SITE = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
LAST = ("revoke", "erase", "sign-out")  # what takes from the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One address as the table has it."""

    method: str
    path: str
    roles: frozenset[str]  # none = open
    other: str  # what becomes of another cascade

    @property
    def is_page(self) -> bool:
        return not self.path.startswith("/v1/") and self.path != "/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks."""

    token: str | None
    role: str | None  # of a good token
    reach: str  # all, own or other

    @property
    def said(self) -> str:
        return f"{self.role or 'nobody'} of {self.reach}"


def table() -> list[Row]:
    rows = []
    for line in SECURITY.read_text().splitlines():
        found = re.fullmatch(r"\| `(GET|POST|PUT) (/\S*)` \| (.+) \| (.+) \|", line)
        if found is None:
            continue
        method, path, roles, other = found.groups()
        opens = frozenset() if roles == "open" else frozenset(roles.split(", "))
        paths = [path.replace("{act}", act) for act in Act] if "{act}" in path else [path]
        rows += [Row(method=method, path=one, roles=opens, other=other) for one in paths]
    return rows


@dataclass(frozen=True, kw_only=True)
class Things:
    """What the addresses name: of `trivia`, or of nobody."""

    params: dict[str, str]
    bodies: dict[str, Any]


@pytest.fixture
def things(engine: Engine, promoted: Bundle, decision: Callable[..., Decision]) -> Things:
    record = AlertRecord(cascade="trivia", rule=Rule.RISK.value, cause="it lost", details="{}", opened_at=NOW)
    sent = decision()
    with transaction(engine) as session:
        cascades.apply_cascade(session, replace(cascades.cascade(session, "trivia"), name="aside"), now=NOW)
        add_decisions(session, [sent], received_at=NOW)
        alert = open_alert(session, record)
        add_delivery(session, alert, "http://127.0.0.1/hook", "opened", lambda number: "{}", now=NOW)
        victim = NewToken(name="victim", role=TokenRole.READ, cascades=("trivia",))
        add_token(session, victim, now=NOW)
    with engine.connect() as connection:
        delivery = connection.exec_driver_sql("SELECT id FROM delivery").scalar_one()
    label = {"cascade": "trivia", "decision_id": str(sent.id), "source": "human", "correct": 1.0}
    return Things(
        params={
            "name": "trivia",
            "bundle_id": promoted.id,
            "alert_id": str(alert),
            "decision_id": str(sent.id),
            "delivery_id": str(UUID(str(delivery))),
            "token": "victim",
            "day": "2026-03-09",
            "book_name:path": Rule.RISK.value,
        },
        bodies={
            "/v1/decisions": {"decisions": [codec.encode(sent)]},
            "/v1/labels": {"labels": [label | {"labelled_at": NOW.isoformat()}]},
            "/v1/decide": {"cascade": "trivia", "p_t": 1.0},
            "/v1/tokens": {"name": "made", "role": "read", "cascades": ["trivia"]},
        },
    )


@pytest.fixture
def askers(engine: Engine, things: Things) -> list[Asker]:
    made = []
    reaches = {"all": None, "own": ("trivia",), "other": ("aside",)}
    with transaction(engine) as session:
        for role in TokenRole:
            for reach, of in reaches.items():
                wanted = NewToken(name=f"{role}-{reach}", role=role, cascades=of)
                made.append(Asker(token=add_token(session, wanted, now=NOW), role=role.value, reach=reach))
        for name in ("revoked", "expired"):
            ends = NOW if name == "expired" else None
            wanted = NewToken(name=name, role=TokenRole.ADMIN, expires_at=ends)
            token = add_token(session, wanted, now=NOW - timedelta(days=1))
            made.append(Asker(token=token, role=None, reach=name))
        revoke_token(session, "revoked", now=NOW)
    return [*made, Asker(token="kg_wrong", role=None, reach="wrong"), Asker(token=None, role=None, reach="none")]


@dataclass(frozen=True, kw_only=True)
class Door:
    """Asks addresses as somebody."""

    client: TestClient
    things: Things
    cookies: dict[str, str]  # by token

    def ask(self, row: Row, asker: Asker, *, headers: Mapping[str, str] = SAME_SITE, **params: str) -> Response:
        path = re.sub(r"\{([^}]*)\}", lambda found: (self.things.params | params)[found[1]], row.path)
        headers = dict(headers)
        if not row.is_page and asker.token is not None:
            headers = {"Authorization": f"Bearer {asker.token}"}
        elif asker.token in self.cookies:
            headers["Cookie"] = f"{COOKIE}={self.cookies[asker.token]}"
        content: dict[str, Any] = {"json": self.things.bodies.get(row.path, {"reason": "asked"})}
        if row.is_page:
            content = {"data": {"reason": ""}}
        if row.method == "PUT":
            content, headers["Content-Type"] = {"content": CASCADE}, "application/toml"
        if row.method == "GET":
            content = {}
        return self.client.request(row.method, path, headers=headers, follow_redirects=False, **content)


@pytest.fixture
def door(
    serve: Callable[[Settings], TestClient], settings: Settings, things: Things, askers: list[Asker]
) -> Iterator[Door]:
    client, cookies = serve(settings.model_copy(update={"auth": Auth.ON})), {}
    for asker in askers:
        if asker.token is not None:
            answer = client.post("/sign-in", data={"token": asker.token}, follow_redirects=False)
            assert (answer.status_code == 303) == (asker.role in LOOKERS), asker.said
            cookies |= {asker.token: secret} if (secret := answer.cookies.get(COOKIE)) else {}
            client.cookies.clear()
    yield Door(client=client, things=things, cookies=cookies)


def fault_of(row: Row, asker: Asker, door: Door) -> str | None:
    """What the answer to this asker should not be."""
    answer = door.ask(row, asker)
    status, text = answer.status_code, answer.text
    to_sign_in = answer.headers.get("location") == "/sign-in" and row.path != "/sign-out"
    if status >= 500:
        return f"{status}"
    if not row.roles:
        return "is not open" if status == 403 or to_sign_in or (status == 401 and row.path != "/sign-in") else None
    if row.is_page and asker.role not in LOOKERS:
        return None if to_sign_in else "is not sent to the sign-in page"
    if asker.role is None:
        return None if status == 401 and "cure" in text else f"{status}, not 401"
    if asker.role not in row.roles or (row.other == "whole" and asker.reach != "all"):
        return None if status == 403 and "cure" in text else f"{status}, not 403"
    if asker.reach == "other" and row.other in ("named", "in the body"):
        return None if status == 403 and "cure" in text else f"{status}, not 403"
    if asker.reach == "other" and row.other == "listed":
        return "tells of another cascade" if "trivia" in text else None
    return f"{status}, not let in" if status in (401, 403) or to_sign_in else None


def test_the_table_names_every_address_that_there_is(door: Door) -> None:
    app: Any = door.client.app
    found = {(method, str(one.path)) for one in iter_route_contexts(app.routes) for method in one.methods or ()}
    assert {(row.method, row.path) for row in table()} == {one for one in found if one[0] != "HEAD"}


def test_every_command_has_an_address_or_a_reason(door: Door) -> None:
    said: dict[str, str] = {}
    for line in SECURITY.read_text().partition("## Without the database's password")[2].splitlines():
        if (found := re.fullmatch(r"\| ((?:`[a-z -]+`(?:, )?)+) \| (.+) \|", line)) is not None:
            said |= dict.fromkeys(re.findall(r"`([^`]+)`", found[1]), found[2])
    known = set()
    for name in COMMANDS:
        group: Any = load(name)
        known |= {f"{name} {one}" for one in getattr(group, "commands", {})} or {name}
    assert said.keys() == known
    addresses = {f"{row.method} {row.path}" for row in table()}
    for name, where in said.items():
        for method, path in re.findall(r"`(GET|POST|PUT) (/[^`]*)`", where):
            path = re.sub(r"/(stop|observe|resume)$", "/stop", path)
            assert f"{method} {path}" in addresses, (name, path)


@pytest.mark.slow
def test_every_address_opens_to_whom_the_table_says_and_to_nobody_else(door: Door, askers: list[Asker]) -> None:
    rows = table()
    faults = [
        f"{row.method} {row.path} as {asker.said}: {fault}"
        for row in sorted(
            rows, key=lambda one: one.path.endswith(("revoke", "erase", "sign-out"))
        )  # they take from the others
        for asker in askers
        if (fault := fault_of(row, asker, door)) is not None
    ]
    assert not faults, "\n".join(faults)
    said = f"{len(rows)} addresses × {len(askers)} askers = {len(rows) * len(askers)} requests"
    assert said in SECURITY.read_text(), said


def test_a_form_of_another_site_is_refused_by_every_page(door: Door, askers: list[Asker]) -> None:
    (admin,) = (one for one in askers if (one.role, one.reach) == ("admin", "all"))
    forms = [row for row in table() if row.is_page and row.method == "POST"]
    for row in forms:
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = door.ask(row, admin, headers=SAME_SITE | headers)
            assert (answer.status_code, answer.json()["error"]["field"]) == (403, "origin"), row
    assert len(forms) == 15


def test_no_browser_keeps_a_page_that_asks_who_looks(door: Door, askers: list[Asker]) -> None:
    (admin,) = (one for one in askers if (one.role, one.reach) == ("admin", "all"))
    shown = [door.ask(row, admin) for row in table() if row.is_page and row.method == "GET" and row.roles]
    kept = [answer.url.path for answer in shown if answer.headers.get("cache-control") != "no-store"]
    assert not kept and len(shown) > 30


def test_whoever_reaches_another_cascade_cannot_tell_what_is_there_from_what_is_not(
    door: Door, askers: list[Asker]
) -> None:
    nobody = {"alert_id": new_id(NOW), "decision_id": new_id(NOW), "delivery_id": new_id(NOW)}
    unknown = {
        "name": "nowhere",
        "bundle_id": "0" * 64,
        "token": "nobody",
        **{one: str(id) for one, id in nobody.items()},
    }
    (asker,) = (one for one in askers if (one.role, one.reach) == ("admin", "other"))
    compared = 0
    for row in table():
        named = re.findall(r"\{([^}]*)\}", row.path)
        if row.other not in ("hidden", "named"):
            continue
        there, not_there = door.ask(row, asker), door.ask(row, asker, **unknown)
        said = [there.text, not_there.text]
        for one in named:
            said = [text.replace(door.things.params[one], "X").replace(unknown.get(one, "-"), "X") for text in said]
        assert (there.status_code, said[0]) == (not_there.status_code, said[1]), row
        compared += 1
    assert compared > 40
