"""The pages show what is stored, to those who may look, and work without a script."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import Engine, text

from factories import make_label
from knowgate import Bundle, Decision, Window
from monitoring.words import short
from services.clock import SimulatedClock
from services.http.auth import COOKIE
from services.pages.cascades.overview import look_once
from services.pages.decision_page import story
from services.pages.figures_shown import REASONS, TITLES
from services.settings import Auth, Settings
from store.engine import transaction
from store.jobs import job_runs
from store.jobs.occasions import Occasion, TrainingReason
from store.releases import assignments, certifications, promotions
from store.releases.cascades import cascade
from store.releases.certifications import CertificationRecord
from store.releases.promotions import Outcome, PromotionRecord
from store.tokens import TokenRole, create_token
from store.traffic.decisions import add_decisions
from store.traffic.labels import add_labels
from store.watching import alerts, figures
from store.watching.alerts import AlertRecord
from store.watching.figures import FigureRow

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed wrongly or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open}"
        self.open.pop()


NO_REFITS = "no interval: of 3 of 9 scores the calibrator's own error is not known"


def page(client: TestClient, path: str, status: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == status
    parser = Balanced()
    parser.feed(response.text)
    assert not parser.open
    assert response.text.count("<script") == response.text.count('<script src="/page.js" defer></script>') == 1
    assert "http://" not in response.text.replace("http://127.0.0.1", "")
    assert not re.search(r"<[^>]+ (style|on[a-z]+)=", response.text)  # the browser would not take it
    return response.text


def figure(name: str, day: int, value: float | None, *, mature: bool = True, slice: str | None = None) -> FigureRow:
    start = NOW - timedelta(days=20 - day)
    return FigureRow(
        cascade="trivia",
        window=Window(start=start, end=start + timedelta(days=1)),
        name=name,
        n=500,
        mature=mature,
        computed_at=NOW,
        slice=slice,
        value=value,
        low=None if value is None else value - 0.02,
        high=None if value is None else value + 0.02,
        not_identified="no propensity is known" if value is None else None,
    )


@pytest.fixture
def watched(engine: Engine, promoted: Bundle) -> Bundle:
    """Twenty days of figures, an open alert, a promotion, a certificate and a runtime
    that refused.
    """
    rows = [figure("savings_usd", day, 0.3 + 0.01 * day, mature=day < 15) for day in range(20)]
    rows += [figure("drop", day, 0.01) for day in range(15)] + [figure("novel_figure", day, 7.0) for day in range(3)]
    rows += [figure("accuracy_last", 14, None)]
    rows += [replace(figure("cbpe", 14, 0.875), low=None, high=None, not_identified=NO_REFITS)]
    rows += [figure("savings_usd", 14, 0.2, slice=name) for name in ("geography", "law <b>")]
    window = Window(start=NOW - timedelta(days=20), end=NOW - timedelta(days=6))
    with transaction(engine) as session:
        figures.put_figures(session, rows)
        alerts.open_alert(
            session,
            AlertRecord(cascade="trivia", rule="savings", cause="traffic moved to <law>", details="{}", opened_at=NOW),
        )
        promotions.add_promotion(
            session,
            PromotionRecord(
                cascade="trivia",
                bundle=promoted.id,
                previous=None,
                outcome=Outcome.PROMOTED,
                reason="the first certified bundle",
                check="{}",
                generation=1,
                decided_at=NOW - timedelta(days=3),
            ),
        )
        certifications.add_certification(
            session,
            CertificationRecord(
                cascade="trivia",
                attempt=1,
                window=window,
                status="certified",
                target_kind="max_accuracy_drop",
                target_value=0.02,
                delta_family=0.1,
                delta_spent=0.06,
                n=1200,
                document="{}",
                decided_at=NOW - timedelta(days=3),
                bundle=promoted.id,
            ),
        )
        assignments.add_acknowledgement(
            session,
            assignments.RuntimeState(
                cascade="trivia",
                runtime="gateway-7",
                generation=1,
                bundle=promoted.id,
                accepted=False,
                detail="wrong signature",
                at=NOW,
            ),
        )
    return promoted


def test_without_a_cascade_the_first_page_says_what_to_do(client: TestClient) -> None:
    assert "knowgate cascade apply" in page(client, "/")


def test_the_first_page_lists_cascades_with_what_is_in_force(client: TestClient, watched: Bundle) -> None:
    text = page(client, "/")
    assert "The cascade saves less than promised." in text
    assert watched.id[:8] in text
    assert "46.0 %" in text and "45.2 – 46.8" in text  # the mean of the last 7 days' savings, and its narrower interval
    assert "<svg" in text
    assert "refuses what is in force" in text
    assert "active since 7 Mar" in text


def test_a_service_starts_though_its_first_page_cannot_be_read(
    engine: Engine, watched: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    look_once(engine, now=NOW)
    assert not caplog.records
    with transaction(engine) as session:
        session.execute(text("ALTER TABLE alert RENAME TO alert_that_was"))
    look_once(engine, now=NOW)
    assert [record.message for record in caplog.records] == ["the overview cannot be read"]


def test_a_cascades_page_shows_figures_decisions_about_it_and_its_runtimes(client: TestClient, watched: Bundle) -> None:
    text = page(client, "/cascades/trivia?range=30d")
    assert "promise rolling (in any given week the thresholds in force keep the target, confidence 1 − δ)" in text
    for expected in (
        "traffic moved to &lt;law&gt;",
        "the first certified bundle",
        "1200",
        "wrong signature",
        "p_ik ≥ 0.6000, p_t ≥ 0.8000",
        "promise kept",
        "1.0 points lost of 2.0 allowed (",
        f"Promoted {watched.id[:8]}: the first certified bundle",
        "promised: at most 2.0 points",
    ):
        assert expected in text, expected
    assert "no decision is stored yet, so no attempt is planned" in text
    assert text.count("<figure") == 2  # savings and drop
    assert "7 Mar 12:00 UTC: Promoted" in text


def test_a_cascades_page_shows_how_long_answers_take_and_what_sending_on_adds(
    client: TestClient, engine: Engine, trivia: str
) -> None:
    def took(name: str, ms: float, tier: int | None = None) -> list[FigureRow]:
        rows = [replace(figure(name, day, ms), low=None, high=None, tier=tier) for day in (17, 18)]
        return [replace(row, not_identified="no interval: 9 times are too few") for row in rows]

    rows = took("latency_p95_ms", 4200.0) + took("latency_p95_ms", 640.0, 0) + took("latency_p95_ms", 3900.0, 1)
    with transaction(engine) as session:
        figures.put_figures(session, [*rows, *took("escalation_added_p50_ms", 331.0)])
    text = page(client, f"/cascades/{trivia}?range=7d")
    section = text.partition('id="latency"')[2].partition("</details>\n<details")[0]
    for expected in (
        "95 % of the answers take at most",
        "a run of small",
        "a run of large",
        "4.2 s",
        "640 ms",
        "331 ms",
    ):
        assert expected in section, expected
    assert "Half of the answers take at most" not in section and "What sending on adds" in section


def test_the_long_tables_have_pages_of_their_own(client: TestClient, watched: Bundle) -> None:
    text = page(client, "/cascades/trivia/figures")
    assert "Novel figure" in text and "42.0 – 46.0" in text
    text = page(client, "/cascades/trivia/slices?range=7d")
    assert "geography" in text and "law &lt;b&gt;" in text and "?range=7d&amp;slice=law+%3Cb%3E" in text
    text = page(client, "/cascades/trivia/how")
    assert "No decision was made in this time." in text
    for path in ("figures", "slices", "how"):
        page(client, f"/cascades/nobody/{path}", status=404)


def test_the_page_of_words_names_every_figure_that_a_page_calls_otherwise(client: TestClient) -> None:
    text = page(client, "/glossary")
    assert all(f"<code>{name}</code>" in text for name in (*TITLES, *REASONS))
    assert 'href="/glossary"' in page(client, "/")


def test_a_slice_that_is_none_is_said_with_those_that_there_are(
    client: TestClient, engine: Engine, watched: Bundle
) -> None:
    with transaction(engine) as session:
        figures.put_figures(session, [figure("queries", 14, 120.0, slice="geography")])
    text = page(client, "/cascades/trivia?range=30d&slice=geografy")
    assert "No query of the last 30 days is of a slice <strong>geografy</strong>" in text
    assert '<a href="/cascades/trivia?range=30d&amp;slice=geography">geography</a>' in text
    assert "No figure of this time yet" not in text and "no window of this time yet" not in text


def test_code_of_an_error_is_set_as_code(client: TestClient, watched: Bundle) -> None:
    answer = client.get("/cascades/nix")
    assert "Cascade is &#39;nix&#39;" in answer.text and "<code>knowgate cascade apply</code>" in answer.text
    assert answer.status_code == 404 and "`" not in answer.text


def test_a_slice_and_a_time_are_chosen_in_the_address(client: TestClient, watched: Bundle) -> None:
    text = page(client, "/cascades/trivia?range=30d&slice=geography")
    assert "Over the last 30 days, geography" in text and "<option selected>geography</option>" in text
    assert "20.0 %" in text and "46.0 %" not in text
    assert 'href="/cascades/trivia?range=24h&amp;slice=geography"' in text
    assert "Over the last 7 days" in page(client, "/cascades/trivia?range=nonsense")


def test_a_cascades_page_says_why_it_was_trained_and_what_came_of_it(
    client: TestClient, engine: Engine, trivia: str
) -> None:
    day = timedelta(days=1)
    drift = Occasion(reason=TrainingReason.DRIFT, why="drift alert: p_t moved <far>", key="ring:1")
    asked = Occasion(reason=TrainingReason.ASKED, why="a new market", key="asked:1", asked_by="ada")
    with transaction(engine) as session:
        for number, occasion in enumerate((drift, asked)):
            window = Window(start=NOW - (number + 2) * day, end=NOW - (number + 1) * day)
            run = job_runs.claim(session, "train", trivia, window, owner="t", lease=day, now=NOW, occasion=occasion)
            assert run is not None
            if occasion is drift:
                job_runs.finish(session, run, "not_attempted", now=NOW, labels_needed=321)
    text = page(client, f"/cascades/{trivia}")
    for expected in ("drift alert: p_t moved &lt;far&gt;", "not attempted", "321", "a new market", "ada", "under way"):
        assert expected in text


def test_a_cascade_without_anything_says_that_everything_escalates(client: TestClient, trivia: str) -> None:
    text = page(client, f"/cascades/{trivia}")
    assert "Nothing is assigned" in text and "large" in text
    assert "For the first certificate: no decision is stored yet" in text
    page(client, "/cascades/unheard-of", status=404)


def test_a_decisions_page_says_what_todays_champion_would_have_done(
    client: TestClient, engine: Engine, promoted: Bundle, decision: Callable[..., Decision]
) -> None:
    sent = decision(bundle=promoted.id)
    with transaction(engine) as session:
        add_decisions(session, [sent], received_at=NOW)
    assert f"bundle {short(promoted.id)}, the champion of today, would have served tier 1 too" in page(
        client, f"/decisions/{sent.id}"
    )


def test_a_decisions_page_says_why_it_went_where_it_went(
    client: TestClient, engine: Engine, trivia: str, decision: Callable[..., Decision]
) -> None:
    sent = decision(cascade=trivia)
    said = make_label(cascade=trivia, correct=0.0, labelled_at=NOW, decision_id=sent.id, tier=0)
    with transaction(engine) as session:
        add_decisions(session, [sent], received_at=NOW)
        add_labels(session, [said], received_at=NOW)
    text = page(client, f"/decisions/{sent.id}")
    assert "The query went on to large: p_t was 0.5000, at least 0.9000 is needed." in text
    assert "its answer was served" in text
    assert "wrong" in text and "gold" in text
    assert "not sealed yet" in text
    assert "Decided again" not in text, "nothing is in force"
    page(client, "/decisions/nonsense", status=404)
    page(client, f"/decisions/{sent.id}".replace("-7", "-4"), status=404)


def test_a_decision_is_found_by_either_id(
    client: TestClient, engine: Engine, trivia: str, decision: Callable[..., Decision]
) -> None:
    sent = decision(cascade=trivia)
    with transaction(engine) as session:
        add_decisions(session, [sent], received_at=NOW)
    for name in ("q0", str(sent.id)):
        response = client.get(f"/cascades/{trivia}/find", params={"id": name}, follow_redirects=False)
        assert (response.status_code, response.headers["location"]) == (303, f"/decisions/{sent.id}")
    page(client, f"/cascades/{trivia}/find?id=nobody", status=404)


def test_every_way_a_decision_can_go_has_its_sentence(
    engine: Engine, trivia: str, decision: Callable[..., Decision]
) -> None:
    from knowgate import Action, GateOutcome, Reason, Role, Verdict

    made = decision(cascade=trivia)
    with transaction(engine) as session:
        spec = cascade(session, trivia)
    small, last = made.attempts

    def sentence(action: Action, reason: Reason | None, **changes: object) -> str:
        verdict = Verdict(action=action, reason=reason, **changes)  # type: ignore[arg-type]
        return story(replace(small, verdict=verdict), made, spec)

    assert "kept" in sentence(Action.RETAIN, None)
    assert "fallback" in sentence(Action.RETAIN, None, fallback=True)
    for reason in (Reason.NO_BUNDLE, Reason.EXPIRED, Reason.ESCALATE_ALL, Reason.MISSING_SIGNAL):
        assert sentence(Action.ESCALATE, reason).startswith("The query went on to large: ")
        assert "no reason" not in sentence(Action.ESCALATE, reason)
    outside = replace(last, role=Role.SERVED, fault=Reason.UNCERTIFIED_REQUEST)
    assert story(outside, made, spec).startswith("No certificate covers the request")
    assert "25.0 %" in story(replace(last, role=Role.EXPLORATION), made, spec)
    ended = Verdict(
        action=Action.ESCALATE,
        reason=Reason.P_IK,
        gates=(GateOutcome(gate=Reason.P_IK, value=0.2, threshold=0.5, passed=False),),
    )
    skipped = replace(small, role=Role.SKIPPED, verdict=ended, answer=None, run_propensity=0.1)
    assert story(skipped, made, spec) == (
        "It was ended before it answered. The query went on to large: p_ik was 0.2000, at least 0.5000 is needed."
    )
    explored = story(replace(small, role=Role.EXPLORATION, verdict=ended, run_propensity=0.1), made, spec)
    assert explored.startswith("It answered with a chance of 10.0 %") and "p_ik was 0.2000" in explored


def test_pages_open_with_the_cookie_that_the_sign_in_page_sets(
    serve: Callable[[Settings], TestClient], settings: Settings, engine: Engine, clock: SimulatedClock
) -> None:
    client = serve(settings.model_copy(update={"auth": Auth.ON}))
    with transaction(engine) as session:
        reader = create_token(session, "reader", TokenRole.READ, clock.now())
        sender = create_token(session, "sender", TokenRole.INGEST, clock.now())
    for path in ("/", "/cascades/trivia", "/decisions/x", "/cascades/trivia/find?id=x"):
        response = client.get(path, follow_redirects=False)
        assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    for token in ("", "kg_wrong", sender):
        assert client.post("/sign-in", data={"token": token}).status_code == 401
    response = client.post("/sign-in", data={"token": reader}, follow_redirects=False)
    assert response.status_code == 303
    assert {"httponly", "samesite=strict"} <= set(re.split(r";\s*", response.headers["set-cookie"].lower()))
    page(client, "/")
    # The cookie opens pages alone: the API asks for the header.
    assert client.get("/v1/cascades").status_code == 401
    secret = response.cookies[COOKIE]
    assert secret != reader and max_age(response) == 12 * 3600
    assert client.post("/sign-out").status_code == 403, "nothing says that it is our page's form"
    client.post("/sign-out", headers={"Origin": "http://127.0.0.1"})
    again = client.get("/", headers={"Cookie": f"{COOKIE}={secret}"}, follow_redirects=False)
    assert (again.status_code, again.headers["location"]) == (303, "/sign-in"), "the sign-in has ended"
    for host, secure in (("127.0.0.1:8420", False), ("knowgate.acme.eu", True)):
        named = client.post("/sign-in", data={"token": reader}, headers={"Host": host}, follow_redirects=False)
        assert ("secure" in named.headers["set-cookie"].lower()) == secure
    clock.set(clock.now() + timedelta(hours=12))
    old = client.get("/", headers={"Cookie": f"{COOKIE}={named.cookies.get(COOKIE) or secret}"}, follow_redirects=False)
    assert old.status_code == 303


def max_age(response: Response) -> int:
    found = re.search(r"max-age=(\d+)", response.headers["set-cookie"].lower())
    assert found is not None
    return int(found[1])


def test_pages_load_a_style_and_a_script_of_their_own_and_nothing_else(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "script-src 'self';" in policy and "unsafe" not in policy
    for path, kind in (("/style.css", "text/css"), ("/page.js", "text/javascript")):
        file = client.get(path)
        assert file.headers["content-type"].startswith(kind)
        assert client.get(path, headers={"If-None-Match": file.headers["etag"]}).status_code == 304
        assert "url(" not in file.text and "@import" not in file.text and "http" not in file.text


def test_the_reference_lists_every_address(client: TestClient) -> None:
    text = page(client, "/docs")
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in text


@pytest.mark.usefixtures("watched")
def test_a_figure_without_an_interval_stands_with_its_value_and_the_reason(client: TestClient) -> None:
    text = page(client, "/cascades/trivia/figures")
    (row,) = [line for line in text.split("<tr>") if "answered, by its scores" in line]
    assert ">87.5 %<" in row and '<td class="when"></td>' in row  # a value, and no interval
    assert "no interval: of 3 of 9 scores" in row and "None" not in row
