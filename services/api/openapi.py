"""The API's description: the request bodies, which are parsed row by row and so described by hand.

The schemas come from the very records that the rows are parsed into, so the description cannot fall
behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from knowgate._records.records import Decision, Label
from knowgate._shipping.client import JSON_MEDIA_TYPE, VECTORS_MEDIA_TYPE, Acknowledgement
from services.api.arrow_body import ARROW_MEDIA_TYPE
from services.api.wire import (
    ActRequest,
    BundleActRequest,
    CascadeActRequest,
    DecideRequest,
    FreezeRequest,
    PromoteRequest,
    ResumeRequest,
    RollbackRequest,
    TokenRequest,
    TrainRequest,
)

ABOUT = """
Keeps an LLM cascade honest: decisions and late labels in; verdicts, assignments and bundles out.

Every error has one shape: `{"error": {"field", "value", "cure", "message"}}`. A batch with one bad row stores the good
rows and names the bad one. What is acknowledged is committed. All requests but the health checks carry
`Authorization: Bearer kg_…`; `knowgate token create NAME --role ROLE` makes a token.
"""

EXAMPLES: Mapping[str, Any] = {
    "DecisionBatch": {
        "decisions": [
            {
                "id": "019b76da-a800-7000-8000-000000000000",
                "cascade": "support",
                "occurred_at": "2026-01-01T00:00:00Z",
                "external_id": "ticket-4711",
                "slice": "billing",
                "attempts": [
                    {
                        "tier": 0,
                        "role": "served",
                        "model": "Qwen/Qwen3-8B",
                        "signals": {"p_t": 0.97, "p_ik": 0.91},
                        "verdict": {"action": "retain", "reason": None},
                        "tokens_in": 412,
                        "tokens_out": 1,
                        "run_propensity": 1.0,
                    }
                ],
                "exploration_rate": 0.05,
            }
        ]
    },
    "LabelBatch": {
        "labels": [
            {
                "cascade": "support",
                "external_id": "ticket-4711",
                "source": "human",
                "correct": 1.0,
                "labelled_at": "2026-01-03T09:30:00Z",
                "label_propensity": 0.2,
            }
        ]
    },
    "DecideRequest": {"cascade": "support", "tier": 0, "p_t": 0.97, "tokens_in": 412, "slice": "billing"},
    "ActRequest": {"act": "silenced", "reason": "the engine is being upgraded", "duration": "4h"},
    "CascadeActRequest": {"reason": "the small model answers nonsense since the deploy"},
    "ResumeRequest": {"reason": "the deploy is taken back", "despite_alarm": None},
    "RollbackRequest": {"reason": "worse for billing", "to": None, "past_condemned": True, "despite_alarm": None},
    "BundleActRequest": {"bundle": "9f2c14aa03b7", "reason": "looks right on our own questions"},
    "PromoteRequest": {"bundle": "9f2c14aa03b7", "reason": "known to be good", "despite_alarm": None},
    "TrainRequest": {"reason": "a new market", "insist": False},
    "FreezeRequest": {"reason": "the sale of the year", "duration": "2d"},
    "TokenRequest": {"name": "gateway-7", "role": "runtime", "cascades": ["support"], "expires_in": "90d"},
    "Acknowledgement": {
        "runtime": "gateway-7",
        "generation": 3,
        "bundle": "9f2c…",
        "accepted": True,
        "reason": None,
        "acknowledged_at": "2026-01-01T00:00:05Z",
        "again_s": 90.0,
        "unshipped_bytes": 0,
        "refused_rows": 0,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionBatch:
    """Decisions, each stored once."""

    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBatch:
    """Labels, each stored once."""

    labels: tuple[Label, ...]


BODIES: Mapping[str, type] = {
    "DecisionBatch": DecisionBatch,
    "LabelBatch": LabelBatch,
    "DecideRequest": DecideRequest,
    "ActRequest": ActRequest,
    "CascadeActRequest": CascadeActRequest,
    "ResumeRequest": ResumeRequest,
    "RollbackRequest": RollbackRequest,
    "BundleActRequest": BundleActRequest,
    "PromoteRequest": PromoteRequest,
    "TrainRequest": TrainRequest,
    "FreezeRequest": FreezeRequest,
    "TokenRequest": TokenRequest,
    "Acknowledgement": Acknowledgement,
}


def body_of(name: str, *, vectors: bool = False) -> dict[str, Any]:
    """The `requestBody` of a route whose body is parsed by hand."""
    reference = {"$ref": f"#/components/schemas/{name}"}
    content: dict[str, Any] = {JSON_MEDIA_TYPE: {"schema": reference, "example": EXAMPLES[name]}}
    if vectors:
        binary = {"type": "string", "format": "binary"}
        about = "An Arrow IPC stream, uncompressed: a row per decision, the columns named as the JSON body's fields."
        content[ARROW_MEDIA_TYPE] = {"schema": {**binary, "description": about}}
        about = "A safetensors file: `vectors/<tier>` float16 [n, d]; `__metadata__.decisions` is the JSON list, "
        about += "or `decisions` uint8 [n] the bytes of an Arrow stream."
        content[VECTORS_MEDIA_TYPE] = {"schema": {**binary, "description": about}}
    return {"requestBody": {"required": True, "content": content}}


def install_openapi(app: FastAPI) -> None:
    """Serves a description that holds the bodies' schemas and the one error shape."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name, kind in BODIES.items():
                schema = TypeAdapter(kind).json_schema(ref_template="#/components/schemas/{model}")
                for inner, definition in schema.pop("$defs", {}).items():
                    schemas.setdefault(inner, definition)
                schemas[name] = schema
            schemas["Error"] = _ERROR
            _describe_errors(document)
            _describe_durations(schemas)
            _restore_examples(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["field", "value", "cure", "message"],
            "properties": {"field": _TEXT, "value": _TEXT, "cure": _TEXT, "message": _TEXT},
        }
    },
}


def _describe_durations(schema: Any) -> None:
    """Durations are written as seconds, which pydantic does not know: it says ISO 8601."""
    if isinstance(schema, list):
        for one in schema:
            _describe_durations(one)
    elif isinstance(schema, dict):
        if schema.get("format") == "duration":
            del schema["format"]
            schema |= {"type": "number", "description": "seconds"}
            if isinstance(schema.get("default"), str):
                schema["default"] = TypeAdapter(timedelta).validate_python(schema["default"]).total_seconds()
        for one in schema.values():
            _describe_durations(one)


def _restore_examples(document: dict[str, Any]) -> None:
    """FastAPI drops what is null, and a verdict's reason may be null: the examples go in again,
    whole.
    """
    for path in document["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {}).get(JSON_MEDIA_TYPE)
            if content is not None:
                content["example"] = EXAMPLES[content["schema"]["$ref"].rpartition("/")[2]]


def _describe_errors(document: dict[str, Any]) -> None:
    reference = {"content": {JSON_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Error"}}}}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"description": "What was wrong, and the cure.", **reference}
