"""Prometheus's Alertmanager as a receiver, by its API v2.

It hears what is so, not what happens: an alert that is open is sent again every minute, with an
end a few minutes ahead, and with an end in the past once it is resolved. So one that lost its
memory, or was declared later, knows what is open; and what nobody renews ends by itself there. It
keeps silences itself: one given here is made there, so that an alert that is silenced neither
notifies nor looks resolved.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx2

from knowgate._shipping.client import JSON_MEDIA_TYPE
from monitoring.alerts.asking import NotReceived, ask
from monitoring.alerts.messages import SILENCE, Message, message_in, page_url, runbook_url, text_of

RENEWED_EVERY = timedelta(minutes=1)
ENDS_AFTER = 5 * RENEWED_EVERY  # without a word of us
_MADE_BY = "knowgate: "  # how silences of ours are known there
_READS = 1 << 20  # bytes of an answer
_HEADERS = {"Content-Type": JSON_MEDIA_TYPE, "User-Agent": "knowgate"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alertmanager:
    """One Alertmanager: the root of its address, and how it is asked."""

    client: httpx2.AsyncClient
    root: str
    timeout_s: float

    async def tell(self, document: str, done: str | None, *, now: datetime, public_url: str | None) -> None:
        """Tell it what a message's document says. Raises NotReceived."""
        said = json.loads(document)
        if said["schema"] == SILENCE:
            await self._silence(said["silence"], now)
        else:
            await self.post([alert_of(message_in(document, done), now=now, public_url=public_url)])

    async def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Tell it how these alerts are. Raises NotReceived."""
        answer = await self._ask("POST", "/alerts", alerts)
        if answer.strip():
            raise NotReceived("the answer is not Alertmanager's, which is empty: does url name its root?")

    async def _silence(self, silence: Any, now: datetime) -> None:
        """Make the silence of a rule there what it is here: those of ours that there are end."""
        about = {"alertname": silence["rule"], "cascade": silence["cascade"]}
        filters = "&".join(f"filter={name}%3D%22{value}%22" for name, value in about.items())
        for ours in _ours(await self._ask("GET", f"/silences?{filters}", None)):
            await self._ask("DELETE", f"/silence/{ours}", None)
        if datetime.fromisoformat(silence["until"]) > now:
            matchers = [
                {"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in about.items()
            ]
            body = {
                "matchers": matchers,
                "startsAt": now.isoformat(),
                "endsAt": silence["until"],
                "createdBy": _MADE_BY + silence["by"],
                "comment": silence["reason"],
            }
            await self._ask("POST", "/silences", body)

    async def _ask(self, method: str, path: str, body: object) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        url = f"{self.root.rstrip('/')}/api/v2{path}"
        return await ask(
            self.client, method, url, timeout_s=self.timeout_s, content=content, headers=_HEADERS, reads=_READS
        )


def alert_of(
    message: Message, *, now: datetime, public_url: str | None, acknowledged: str | None = None
) -> Mapping[str, Any]:
    """An alert as its API takes it. What names it there are its labels: they never change."""
    text, page = text_of([message], public_url), page_url(message, public_url)
    notes = {"summary": message.headline, "description": text.body, "link": page}
    notes |= {"runbook_url": runbook_url(message, public_url), "acknowledged": acknowledged}
    alert = {
        "labels": {"alertname": message.rule, "cascade": message.cascade, "severity": message.severity.value},
        "annotations": {name: value for name, value in notes.items() if value},
        "startsAt": message.began_at.isoformat(),
        "endsAt": (message.ended_at or now + ENDS_AFTER).isoformat(),
    }
    return alert if page is None else alert | {"generatorURL": page}


def _ours(answer: bytes) -> list[str]:
    """The ids of the silences of ours that are not over, of those it lists."""
    try:
        return [
            str(one["id"])
            for one in json.loads(answer)
            if one["createdBy"].startswith(_MADE_BY) and one["status"]["state"] != "expired"
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise NotReceived("the answer is not Alertmanager's list of silences: does url name its root?") from None
