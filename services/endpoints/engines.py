"""Which engine serves an endpoint, and what it says of itself.

Each engine has an address of its own beside the protocol: llama.cpp `/props`, vLLM `/version`,
SGLang `/server_info` (`/get_server_info` before). What an engine does not say stays None; nothing
is guessed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.endpoints.asked import Endpoint
from services.errors import EndpointFailed, InputInvalid

OTHER = "other"
SHOWN = 8  # models that a message names


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model behind one endpoint. None = the engine does not say."""

    engine: str  # llama.cpp, vllm, sglang or other
    model: str  # as requests name it
    models: tuple[str, ...]  # all that are listed
    version: str | None = None  # the engine's
    revision: str | None = None
    dtype: str | None = None
    template: str | None = None  # the chat template's text
    context: int | None = None  # tokens that it reads at most
    parameters: float | None = None


def served(endpoint: Endpoint, model: str | None) -> Served:
    """What the endpoint serves as `model` (None = the only one that it lists).

    Raises EndpointFailed where it lists none, and InputInvalid where the name is not among several.
    """
    listed = _listed(endpoint)
    entry = _chosen(endpoint, listed, model)
    owner = _text(entry.get("owned_by"))
    described = _llama_cpp(endpoint, entry) or _sglang(endpoint, owner) or _vllm(endpoint, owner)
    fields: dict[str, Any] = {"engine": OTHER, "context": _count(entry.get("max_model_len"))}
    fields |= {name: value for name, value in (described or {}).items() if value is not None}
    return Served(model=str(entry["id"]), models=tuple(str(one["id"]) for one in listed), **fields)


def _listed(endpoint: Endpoint) -> list[dict[str, Any]]:
    document = endpoint.below("/models")
    data = document.get("data") if isinstance(document, dict) else None
    listed = [one for one in data or () if isinstance(one, dict) and _text(one.get("id"))]
    if not listed:
        raise EndpointFailed(f"{endpoint.root}/models lists no model: give the API's root, e.g. http://host:8000/v1")
    return listed


def _chosen(endpoint: Endpoint, listed: list[dict[str, Any]], model: str | None) -> dict[str, Any]:
    named = [one for one in listed if model in (None, one["id"])]
    if len(named) == 1:
        return named[0]
    names = ", ".join(str(one["id"]) for one in listed[:SHOWN]) + (", …" if len(listed) > SHOWN else "")
    if model is None:
        raise InputInvalid(f"{endpoint.root} lists {len(listed)} models: name one with --model: {names}")
    raise InputInvalid(f"--model is {model!r}: {endpoint.root} lists {names}")


def _llama_cpp(endpoint: Endpoint, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    props = endpoint.beside(("/props",))
    if props is None or "build_info" not in props:
        return None
    settings, meta = props.get("default_generation_settings"), entry.get("meta")
    settings, meta = (one if isinstance(one, dict) else {} for one in (settings, meta))
    return {
        "engine": "llama.cpp",
        "version": _text(props["build_info"]),
        "template": _text(props.get("chat_template")),
        "context": _count(settings.get("n_ctx")) or _count(meta.get("n_ctx_train")),
        "parameters": _count(meta.get("n_params")),
    }


def _sglang(endpoint: Endpoint, owner: str | None) -> dict[str, Any] | None:
    if owner != "sglang":
        return None
    info = endpoint.beside(("/server_info", "/get_server_info")) or {}
    return {
        "engine": "sglang",
        "version": _text(info.get("version")),
        "revision": _text(info.get("revision")),
        "dtype": None if info.get("dtype") == "auto" else _text(info.get("dtype")),
        "context": _count(info.get("context_length")),
    }


def _vllm(endpoint: Endpoint, owner: str | None) -> dict[str, Any] | None:
    if owner != "vllm":
        return None
    return {"engine": "vllm", "version": _text((endpoint.beside(("/version",)) or {}).get("version"))}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
