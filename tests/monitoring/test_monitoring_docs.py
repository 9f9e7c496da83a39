"""What is said must be explained: every figure and rule has a row in docs/monitoring.md, and no row
is of thin air.
"""

import json
import re
from pathlib import Path
from uuid import uuid4

from monitoring.alerts.deliveries import headers_of
from monitoring.alerts.messages import Around, Event, alert_document
from monitoring.names import FigureName, Rule
from store.releases.rings import RingRecord, Spoken
from store.watching.alerts import AlertRecord
from store.watching.deliveries import DeliveryRecord

DOCS = Path(__file__).parents[2] / "docs"
TEXT, MESSAGES = (DOCS / "monitoring.md").read_text(), (DOCS / "alerts.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \|", TEXT, flags=re.MULTILINE)
RUNBOOKS = DOCS / "runbooks"
PARTS = ["What was seen", "What the service does", "What to check", "What to do", "When it is over"]
HEADERS = set(re.findall(r"^\| `((?:Knowgate|webhook)-[^`]+)` \|", MESSAGES, flags=re.MULTILINE))


def test_every_figure_and_every_rule_is_documented_once():
    documented = [name for name in ROWS if not name.startswith("knowgate_")]
    assert sorted(documented) == sorted([*(name.value for name in FigureName), *(rule.value for rule in Rule)])


def test_every_rule_has_its_runbook_and_no_runbook_is_of_none():
    books = {path.stem: path.read_text() for path in RUNBOOKS.glob("*.md")}
    assert sorted(books) == sorted(rule.value for rule in Rule)
    for rule in Rule:
        assert RUNBOOKS.parents[1] / rule.runbook == RUNBOOKS / f"{rule.value}.md"
        assert books[rule].startswith(f"# {rule.headline}\n\nRule `{rule.value}`, severity {rule.severity}.\n")
        assert re.findall("^## (.+)", books[rule], flags=re.MULTILINE) == PARTS, rule


def test_the_body_of_a_message_is_the_documented_one(cast):
    record = AlertRecord(cascade="c", rule="risk", cause="", details="{}", opened_at=cast.DAY)
    ring = RingRecord(
        alert_id=uuid4(), number=1, cascade="c", rule="risk", cause="", details="{}", rang_at=cast.DAY, spoken=Spoken()
    )
    body = json.loads(alert_document(record, Event.OPENED, 1, Around(ring=ring)))
    documented = MESSAGES.partition("with this JSON body:")[2].partition("`alert.cause`")[0]
    named = re.findall(r'"(\w+)":', documented)
    assert sorted(named) == sorted([*body, *body["alert"], *body["ring"]])


def test_every_header_of_a_message_is_documented(cast):
    delivery = DeliveryRecord(
        id=uuid4(),
        cascade="c",
        alert_id=uuid4(),
        promotion_id=None,
        receiver="http://127.0.0.1",
        number=1,
        event="opened",
        payload="{}",
        attempts=1,
        created_at=cast.DAY,
        due_at=None,
        delivered_at=None,
        failed_at=None,
        last_error=None,
    )
    sent = headers_of(delivery, b"secret", cast.DAY).keys() - {"Content-Type", "User-Agent"}
    assert sent == HEADERS
