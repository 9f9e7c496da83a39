"""`export`: gives labels and verdicts away, where a setting says whereto: as OpenTelemetry's events
to an OTLP endpoint, as assessments to MLflow.

A message of the outbox stands for each batch of the ledger that is sealed once the export is on. It
is carried out at least once, and what is given away carries an id. Events are sent here;
assessments are logged by `register`'s process, since MLflow takes seconds to import.
"""

import logging
from datetime import datetime, timedelta

import httpx2
from sqlalchemy.orm import Session

from knowgate._wire.shown import masked, shown_url
from knowgate.backends.checked import checked_client
from services.jobs.gen_ai_events import logs_of
from services.jobs.job import JobContext
from store.batches import batched
from store.engine import reading, transaction
from store.errors import ClaimLost
from store.jobs.outbox import OutboxMessage, add_message, claim_messages, finish_message, newest_key
from store.traffic.evaluations import ASSESSMENTS, EVENTS, Evaluation, batches_after, evaluations_of, newest_batch

log = logging.getLogger("knowgate.jobs")

AT_ONCE = 500  # events of one request
BATCHES = 10  # of the ledger, carried out in one sweep
LEASE = timedelta(minutes=5)
TIMEOUT_S = 10.0


class ExportSweep:
    """Writes a message for every sealed batch, and sends what is due to the OTLP endpoint."""

    name = "export"

    def run(self, context: JobContext) -> int:
        settings, now = context.settings, context.clock.now()
        on = {EVENTS: settings.otlp_logs_url is not None, ASSESSMENTS: settings.mlflow_assessments == "on"}
        for topic in (topic for topic, wanted in on.items() if wanted):
            with transaction(context.engine) as session:
                note_batches(session, topic, now=now)
        if settings.otlp_logs_url is None:
            return 0
        with transaction(context.engine) as session:
            claimed = claim_messages(session, EVENTS, owner=context.owner, now=now, lease=LEASE, limit=BATCHES)
        errors = [self._carry_out(context, message, settings.otlp_logs_url) for message in claimed]
        return errors.count(None)

    def _carry_out(self, context: JobContext, message: OutboxMessage, url: str) -> str | None:
        """The error, or None where all was taken."""
        error = None
        try:
            with reading(context.engine) as session:
                for events in batched(evaluations_of(session, int(message.payload)), AT_ONCE):
                    _send(url, events, context)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as failure:
            error = masked(f"{type(failure).__name__}: {failure}".replace(url, shown_url(url)))
            log.warning("%s did not take the labels and verdicts of batch %s: %s", shown_url(url), message.key, error)
        try:
            with transaction(context.engine) as session:
                finish_message(session, message, now=context.clock.now(), error=error)
        except ClaimLost:
            log.warning("batch %s took longer than its lease; its new owner finishes it", message.key)
        return error


def note_batches(session: Session, topic: str, *, now: datetime) -> int:
    """A message for each batch that was sealed since the newest one and says anything of answers;
    how many. The first time for the newest batch alone: what was before is nobody's news.
    """
    noted = newest_key(session, topic)
    newest = newest_batch(session) if noted is None else None
    numbers = batches_after(session, int(noted)) if noted is not None else () if newest is None else (newest,)
    return sum(add_message(session, topic, f"{number:012d}", str(number), now=now) for number in numbers)


def _send(url: str, events: list[Evaluation], context: JobContext) -> None:
    with checked_client(context.settings.outgoing_networks, timeout=TIMEOUT_S) as client:
        answer = client.post(url, json=logs_of(events, now=context.clock.now()))
    answer.raise_for_status()
    refused = _refused(answer)
    if refused:
        log.warning("%s refused %s of %d labels and verdicts", shown_url(url), refused, len(events))


def _refused(answer: httpx2.Response) -> str | None:
    """What the endpoint says that it did not take: OTLP has nobody send that again."""
    try:
        partial = answer.json().get("partialSuccess") or {}
        return str(partial["rejectedLogRecords"]) if int(partial.get("rejectedLogRecords", 0)) else None
    except (ValueError, AttributeError, TypeError):
        return None
