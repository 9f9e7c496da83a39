"""Evaluations as OpenTelemetry's events `gen_ai.evaluation.result`, in OTLP's JSON.

The names are `services.telemetry.gen_ai`'s. The decision's id is the response's id.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.telemetry import gen_ai
from store.traffic.evaluations import EXPORTED, Evaluation

Json = Any
INFO = 9  # OTLP's number of the severity
TRACE_ID, SPAN_ID = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{16}")


def logs_of(evaluations: Sequence[Evaluation], *, now: datetime) -> Json:
    """The body of `POST /v1/logs`."""
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": [_attribute("service.name", "knowgate")]},
                "scopeLogs": [
                    {"scope": {"name": "knowgate"}, "logRecords": [_record(one, now) for one in evaluations]}
                ],
            }
        ]
    }


def _record(one: Evaluation, now: datetime) -> Json:
    said = {
        gen_ai.EVALUATION_NAME: one.name.value,
        gen_ai.EVALUATION_VALUE: one.value,
        gen_ai.EVALUATION_LABEL: one.label,
        gen_ai.EVALUATION_EXPLANATION: one.explanation,
        gen_ai.RESPONSE_ID: str(one.decision_id),
        gen_ai.CASCADE: one.cascade,
        gen_ai.TIER: one.tier,
        gen_ai.MODEL: one.model,
        gen_ai.LABEL_SOURCE: None if one.source is None else one.source.value,
        gen_ai.LABEL_GRADER: one.grader,
        EXPORTED: one.id,
    }
    record: Json = {
        "timeUnixNano": _nanos(one.at),
        "observedTimeUnixNano": _nanos(now),
        "severityNumber": INFO,
        "eventName": gen_ai.EVALUATION,
        "attributes": [_attribute(name, value) for name, value in said.items() if value is not None],
    }
    if one.trace_id is not None and TRACE_ID.fullmatch(one.trace_id):
        record["traceId"] = one.trace_id
        if one.span_id is not None and SPAN_ID.fullmatch(one.span_id):
            record["spanId"] = one.span_id
    return record


def _attribute(name: str, value: str | float | int) -> Json:
    """Whole numbers are texts in OTLP's JSON."""
    if isinstance(value, str):
        return {"key": name, "value": {"stringValue": value}}
    if isinstance(value, int):
        return {"key": name, "value": {"intValue": str(value)}}
    return {"key": name, "value": {"doubleValue": value}}


def _nanos(time: datetime) -> str:
    return f"{int(time.timestamp() * 10**6)}000"
