"""People sign in by an identity provider: a real one, of another's making, on loopback."""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient

from services.errors import SettingInvalid
from services.http.auth import COOKIE
from services.pages.routes_sign_in import BEGUN
from services.settings import RoleRule, Settings, read_settings
from tests import servers
from tests.services.conftest import HASH_KEY

HERE = "http://127.0.0.1"
USERS = (
    {"sub": "1", "preferred_username": "ada", "groups": ["oncall", "all"]},
    {"sub": "2", "preferred_username": "bo", "groups": ["support"]},
    {"sub": "3", "preferred_username": "eve", "groups": ["sales"]},
)
ROLES = "groups=oncall:operator, groups=support:read@aside"

pytestmark = pytest.mark.usefixtures("promoted")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, log = servers.free_port(), tmp_path_factory.mktemp("oidc") / "log"
    users = [part for user in USERS for part in ("--user-claims", json.dumps(user))]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true", *users]
    url = f"http://127.0.0.1:{port}"
    with servers.running(command, environment={"PYTHONWARNINGS": "ignore"}, log=log) as process:
        servers.wait_until_answering(f"{url}/.well-known/openid-configuration", process, within_s=120)
        yield url


def environment(issuer: str) -> dict[str, str]:
    return {
        "KNOWGATE_HASH_KEY": HASH_KEY,
        "KNOWGATE_PUBLIC_URL": HERE,
        "KNOWGATE_OIDC_ISSUER": issuer,
        "KNOWGATE_OIDC_CLIENT_ID": "knowgate",
        "KNOWGATE_OIDC_CLIENT_SECRET": "client-secret-of-tests",
        "KNOWGATE_OIDC_ROLES": ROLES,
    }


@pytest.fixture
def browser(serve: Callable[[Settings], TestClient], provider: str) -> TestClient:
    return serve(read_settings(environment(provider)))


def begin(browser: TestClient) -> str:
    answer = browser.get("/sign-in/oidc", follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def vouch(url: str, sub: str) -> str:
    """What the provider sends the browser back with."""
    with httpx2.Client(trust_env=False) as client:
        answer = client.post(url, data={"sub": sub})
    assert answer.headers["location"].startswith(f"{HERE}/sign-in/oidc/back?"), answer.text
    return answer.headers["location"].removeprefix(HERE)


def test_whoever_the_provider_vouches_for_looks_and_acts_by_their_role(browser: TestClient) -> None:
    assert "/sign-in/oidc" in browser.get("/sign-in").text
    url = begin(browser)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert asked["code_challenge_method"] == "S256" and asked["nonce"] and asked["state"]
    state, nonce, verifier = browser.cookies[BEGUN].split(".")
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert (asked["state"], asked["nonce"], asked["code_challenge"]) == (state, nonce, challenge)
    answer = browser.get(vouch(url, "1"), follow_redirects=False)
    assert (answer.status_code, answer.headers["refresh"]) == (200, "0; url=/") and "as ada" in answer.text
    secret = browser.cookies[COOKIE]
    assert browser.get("/jobs", follow_redirects=False).status_code == 200
    assert browser.get("/v1/alerts", headers={"Authorization": f"Bearer {secret}"}).status_code == 401
    form = {"reason": "a holiday", "duration": "2d", "confirm": "yes"}
    done = browser.post("/cascades/trivia/freeze", data=form, headers={"Origin": HERE}, follow_redirects=False)
    assert done.status_code == 303, re.sub(r"<[^>]*>", "", done.text)
    assert "by ada" in browser.get("/cascades/trivia").text
    browser.post("/sign-out", headers={"Origin": HERE})
    again = browser.get("/", headers={"Cookie": f"{COOKIE}={secret}"}, follow_redirects=False)
    assert again.headers["location"] == "/sign-in"


def test_a_rule_may_give_some_cascades_alone_and_who_fits_none_is_not_let_in(browser: TestClient) -> None:
    answer = browser.get(vouch(begin(browser), "2"))
    assert "as bo" in answer.text
    assert "trivia" not in browser.get("/").text
    assert browser.get("/cascades/trivia").status_code == browser.get("/jobs").status_code == 403
    browser.cookies.clear()
    answer = browser.get(vouch(begin(browser), "3"))
    assert answer.status_code == 401 and "no rule of KNOWGATE_OIDC_ROLES fits" in answer.text
    assert COOKIE not in browser.cookies


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1, None])
def test_what_another_sign_in_began_ends_in_nothing(browser: TestClient, part: int | None) -> None:
    """The state, the nonce and the whole cookie of another browser."""
    back = vouch(begin(browser), "1")
    kept = browser.cookies[BEGUN].split(".")
    browser.cookies.clear()
    cookie = {}
    if part is not None:
        kept[part] = "another"
        cookie = {"Cookie": f"{BEGUN}={'.'.join(kept)}"}
    answer = browser.get(back, headers=cookie, follow_redirects=False)
    assert answer.status_code == 401 and COOKIE not in answer.cookies


def test_a_code_is_taken_once(browser: TestClient) -> None:
    back = vouch(begin(browser), "1")
    cookie = {"Cookie": f"{BEGUN}={browser.cookies[BEGUN]}"}
    browser.cookies.clear()
    assert browser.get(back, headers=cookie, follow_redirects=False).status_code == 200
    browser.cookies.clear()
    assert browser.get(back, headers=cookie, follow_redirects=False).status_code == 401


def test_a_provider_that_is_away_or_another_is_said(serve: Callable[[Settings], TestClient], provider: str) -> None:
    for issuer in (f"http://127.0.0.1:{servers.free_port()}", provider.replace("127.0.0.1", "localhost")):
        client = serve(read_settings(environment(issuer)))
        answer = client.get("/sign-in/oidc", follow_redirects=False)
        expected = 401 if "127" in issuer else 303  # it calls itself what it is asked by
        assert answer.status_code == expected


def test_settings_of_a_provider_are_whole_and_safe() -> None:
    given = environment("https://login.acme.eu")
    read = read_settings(given)
    assert read.oidc_roles == (
        RoleRule(claim="groups", value="oncall", role="operator", cascades=None),
        RoleRule(claim="groups", value="support", role="read", cascades=("aside",)),
    )
    assert "client-secret-of-tests" not in repr(read)
    for change in (
        {"KNOWGATE_OIDC_ISSUER": "http://login.acme.eu"},
        {"KNOWGATE_OIDC_ROLES": ""},
        {"KNOWGATE_OIDC_ROLES": "groups=oncall:king"},
        {"KNOWGATE_PUBLIC_URL": ""},
    ):
        with pytest.raises(SettingInvalid, match="KNOWGATE_OIDC"):
            read_settings(given | change)
