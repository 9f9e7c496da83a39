"""A deployment that has something to tell of everything: of each metric there is a sample."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from factories import make_assignment, make_decision
from knowgate import Window
from monitoring.names import FigureName, Rule
from services.declaration.cascade_file import parse_cascade
from store.engine import transaction
from store.jobs import job_runs, outbox
from store.jobs.job_ticks import put_tick
from store.ledger import ledger
from store.releases import assignments, cascades
from store.releases.assignments import RuntimeState, add_acknowledgement
from store.releases.cascade_acts import CascadeAct, CascadeActKind, add_act
from store.releases.certifications import CertificationRecord, add_certification
from store.traffic.decisions import add_decisions
from store.watching.alerts import AlertRecord, open_alert
from store.watching.deliveries import add_delivery
from store.watching.figures import FigureRow, put_figures
from tests.services.conftest import CASCADE

DAY = timedelta(days=1)
JOBS = ("monitor", "train", "promote", "deliver", "seal")


def populate(engine: Engine, now: datetime) -> None:
    """Fills an empty database with a cascade `trivia` of which there is a bit of everything, its
    risk alarm among it.
    """
    window = Window(start=now - 2 * DAY, end=now - DAY)
    with transaction(engine) as session:
        cascades.apply_cascade(session, parse_cascade(CASCADE), now=now - 30 * DAY)
        issued = make_assignment(
            cascade="trivia", champion=None, challenger="0" * 64, share=0.0, issued_at=now - DAY, valid_until=now + DAY
        )
        assignments.swap_assignment(session, issued, expected_generation=None, now=now - DAY)
        add_decisions(session, [make_decision(now - 9 * DAY, cascade="trivia")], received_at=now - 9 * DAY)
        fields: dict[str, Any] = {"cascade": "trivia", "window": window, "computed_at": now - DAY, "n": 400}
        ends: dict[str, Any] = {"value": 0.3, "low": 0.2, "high": 0.4}
        kinds = [(name.value, mature) for name in FigureName for mature in (False, True)]
        put_figures(session, [FigureRow(name=name, mature=mature, **ends, **fields) for name, mature in kinds])
        said = RuntimeState(
            cascade="trivia",
            runtime="host-1",
            generation=0,
            bundle=None,
            accepted=True,
            detail=None,
            at=now - DAY / 2,
            again_s=60.0,
            unshipped_bytes=4096,
            refused_rows=1,
        )
        add_acknowledgement(session, said)
        for job in JOBS:
            put_tick(session, job, owner="a", now=now, error=None, took_s=0.25)
        put_tick(session, "deliver", owner="a", now=now, error="no luck", took_s=2.0)
        for job in ("monitor", "train"):
            run = job_runs.claim(session, job, "trivia", window, owner="a", lease=DAY, now=now)
            assert run is not None
            job_runs.finish(session, run, "done", now=now)
        outbox.add_message(session, "mlflow", "bundle:1", "{}", now=now - DAY)
        add_certification(session, _attempt(window, now))
        frozen = CascadeAct(
            cascade="trivia", act=CascadeActKind.FROZEN, by="ada", reason="a holiday", at=now - DAY, until=now + DAY
        )
        add_act(session, frozen)
    with transaction(engine) as session:
        ledger.seal(session, now=now - DAY)
        record = AlertRecord(cascade="trivia", rule=Rule.RISK.value, cause="it lost", details="{}", opened_at=now - DAY)
        alert = open_alert(session, record)
        add_delivery(session, alert, "http://127.0.0.1/hook", "opened", lambda number: "{}", now=now - DAY)


def _attempt(window: Window, now: datetime) -> CertificationRecord:
    return CertificationRecord(
        cascade="trivia",
        attempt=1,
        window=window,
        status="certified",
        target_kind="max_accuracy_drop",
        target_value=0.02,
        delta_family=0.1,
        delta_spent=0.05,
        n=400,
        document="{}",
        decided_at=now,
    )
