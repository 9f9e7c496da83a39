"""Back-ends from a cascade's declaration: who runs each tier, where, and under which key.

Decisions:
- Nothing is guessed. A back-end, extra, endpoint, key, folder or fingerprint that is missing is an
  error that names the tier, when the back-end is made and not when a query needs it.
- A key lies in the environment, under the name that the tier gives (or in the file that NAME_FILE
  names). A declaration travels through the control plane, and a bundle is copied everywhere:
  neither may hold it.
- What a remote engine's states are, only who runs it can say: SGLang and vLLM give states where a
  fingerprint is handed in. A model in this process is looked at, and named as training names it.
- Each engine is imported when a tier wants it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowgate._records.records import Fingerprint
from knowgate._records.request import LOGPROBS, TEMPLATE, THINKING, body_of, of_request, template_of
from knowgate.backends.protocol import Backend, Encoder
from knowgate.errors import RecordInvalid
from knowgate.spec import CascadeSpec, TierSpec

if TYPE_CHECKING:
    from knowgate._bundles.pair import Pair
    from knowgate.backends.tries import Patience

KINDS = ("openai", "sglang", "vllm", "transformers")


def from_spec(
    tier: TierSpec,
    *,
    fingerprint: Fingerprint | None = None,
    layer: int | None = None,
    api_key: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: str | PathLike[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Backend:
    """The back-end that runs `tier` as it is declared.

    `fingerprint` says what its hidden states are; the tier's `request` becomes part of it. A model
    in this process names them itself and refuses another name; `layer` is the one of its declared
    layers that is read (None = the last). `api_key` goes before the one that `environment` (None =
    the process's) holds under the declared name. `folder` is where a vLLM server writes its states,
    `parameters` are added to every request, after those that the tier declares. Raises
    RecordInvalid.
    """
    place = f"tiers.{tier.name}"
    if tier.backend not in KINDS:
        why = "your own gateway runs it" if tier.backend == "external" else "it is not known"
        raise RecordInvalid(f"{place}.backend", tier.backend, f"{why}: use one of {', '.join(KINDS)}")
    if tier.backend == "transformers":
        return _in_process(tier, place, fingerprint, layer)
    if tier.endpoint is None:
        raise RecordInvalid(f"{place}.endpoint", None, "give the API's root, e.g. http://host:8000/v1")
    if fingerprint is not None:
        stamped = of_request(fingerprint.chat_template_sha256, tier.request)
        fingerprint = replace(fingerprint, chat_template_sha256=stamped)
    given: dict[str, Any] = {
        "api_key": api_key or key_of(tier.api_key_variable, place, environment),
        "max_tokens": tier.max_tokens,
        "options": tier.options,
        "p_t_kind": None if LOGPROBS in body_of(tier.request) else tier.p_t_kind,  # it can only be declared false
        "parameters": _parameters(tier) | dict(parameters or {}),
    }
    if tier.backend in ("sglang", "vllm"):
        given["fingerprint"] = fingerprint
    elif fingerprint is not None:
        raise RecordInvalid(f"{place}.fingerprint", fingerprint.engine, "openai endpoints give no hidden states")
    if tier.backend == "vllm":  # it writes files for every request, and they are to go where nobody reads them, too
        given |= {"folder": folder, "layers": tier.layers}
    name = {"openai": "OpenAIBackend", "sglang": "SGLangBackend", "vllm": "VLLMBackend"}[tier.backend]
    return _made(place, tier.backend, name, tier.endpoint, tier.model, **given)  # type: ignore[no-any-return]


def backends_of(
    spec: CascadeSpec,
    *,
    pair: "Pair | None" = None,
    fingerprints: Mapping[str, Fingerprint] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: str | PathLike[str] | None = None,
) -> tuple[Backend, ...]:
    """`from_spec` of every tier, cheapest first; `fingerprints` by the tiers' names. Raises
    RecordInvalid.

    A model in this process reads the layer that the champion of `pair` was trained on, where the
    tier declares it.
    """
    named = dict(fingerprints or {})
    unknown = sorted(set(named) - {tier.name for tier in spec.tiers})
    if unknown:
        raise RecordInvalid("fingerprints", unknown[0], f"use one of {', '.join(tier.name for tier in spec.tiers)}")
    return tuple(
        from_spec(
            tier,
            fingerprint=named.get(tier.name),
            layer=_probe_layer(pair, at, tier),
            environment=environment,
            folder=folder,
        )
        for at, tier in enumerate(spec.tiers)
    )


def encoders_of(spec: CascadeSpec) -> dict[int, Encoder]:
    """By tier the encoder that reads prompts for a non-last tier that declares one. Raises
    RecordInvalid.
    """
    return {
        at: _made(f"tiers.{tier.name}", "transformers", "TransformersEncoder", tier.encoder, layers=tier.layers)
        for at, tier in enumerate(spec.tiers[:-1])
        if tier.encoder is not None
    }


def early_of(spec: CascadeSpec) -> tuple[int, ...]:
    """The tiers that a gate may end before they answer, as they are declared."""
    return tuple(at for at, tier in enumerate(spec.tiers) if tier.early)


def patience_of(spec: CascadeSpec, patience: "Patience | Sequence[Patience] | None" = None) -> "Sequence[Patience]":
    """How long each tier is waited for: what is given, with the time that the tier declares."""
    from knowgate.backends.tries import Patience

    given = (
        [patience or Patience()] * len(spec.tiers) if patience is None or isinstance(patience, Patience) else patience
    )
    if len(given) != len(spec.tiers):
        return given  # refused where it is used
    return tuple(
        one if tier.timeout is None else replace(one, timeout_s=tier.timeout.total_seconds())
        for one, tier in zip(given, spec.tiers, strict=True)
    )


def _parameters(tier: TierSpec) -> dict[str, Any]:
    """What a server is sent for this tier. Thinking is off unless the tier says otherwise, where
    servers know the word.

    vLLM and SGLang hand it to the chat template, and a template that does not know it lets it be.
    Other servers refuse fields they do not know, so there it is sent where it is declared.
    """
    body = {name: value for name, value in body_of(tier.request).items() if name != LOGPROBS}
    if "max_completion_tokens" in body:  # the newer word, which some servers take in place of the older one alone
        body["max_tokens"] = None
    if tier.backend in ("vllm", "sglang"):
        body[TEMPLATE] = {THINKING: False} | template_of(tier.request)
    return body


def _probe_layer(pair: "Pair | None", at: int, tier: TierSpec) -> int | None:
    """The layer that the champion's probe of this tier reads; None where there is none, or the tier
    lacks it.
    """
    champion = None if pair is None else pair.champion
    if champion is None or at >= len(champion.tiers):
        return None
    models = champion.tiers[at]
    layer = None if models is None else models.document.fingerprint.layer
    return layer if layer in tier.layers else None


def _in_process(tier: TierSpec, place: str, fingerprint: Fingerprint | None, layer: int | None) -> Backend:
    loading = _module(place, "transformers", "loading")
    own: Fingerprint | None = None
    try:
        loaded = loading.load_tier(tier)
        if tier.layers and tier.encoder is None:
            asked = max(tier.layers) if fingerprint is None else fingerprint.layer
            own = loaded.fingerprint(asked if layer is None else layer)
    except RecordInvalid as error:
        raise RecordInvalid(f"{place}.{error.field}", error.value, error.cure) from error
    if fingerprint is not None and own != fingerprint:
        raise RecordInvalid(f"{place}.fingerprint", fingerprint, f"the loaded model's is {own}; leave it out")
    return _made(  # type: ignore[no-any-return]
        place,
        "transformers",
        "TransformersBackend",
        loaded.network,
        loaded.tokenizer,
        model=tier.model,
        fingerprint=own,
        max_new_tokens=tier.max_tokens,
        chat_template_kwargs=template_of(tier.request),
        options=tier.options,
        p_t_kind=tier.p_t_kind,
    )


def key_of(
    name: str | None,
    place: str,
    environment: Mapping[str, str] | None = None,
    *,
    field: str = "api_key_variable",
) -> str | None:
    """The secret in the variable `name` of the environment (None = the process's), or in the file
    that `…_FILE` names; None where no variable is named. `place` needs it, and its `field` names
    it. Raises RecordInvalid.
    """
    if name is None:
        return None
    variables = os.environ if environment is None else environment
    file = variables.get(f"{name}_FILE")
    try:
        value = Path(file).read_text(encoding="utf-8").strip() if file else variables.get(name, "")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordInvalid(f"{name}_FILE", file, f"it cannot be read ({error}); {place} needs it") from error
    if not value:
        raise RecordInvalid(f"{place}.{field}", name, f"set {name}, or {name}_FILE, in the environment")
    return value


_MODULES = {
    "OpenAIBackend": "openai",
    "SGLangBackend": "sglang",
    "VLLMBackend": "vllm",
    "TransformersBackend": "transformers",
    "TransformersEncoder": "encoder",
}


def _made(place: str, extra: str, name: str, *arguments: Any, **named: Any) -> Any:
    """An instance of the class `name`; what it refuses is refused with the tier's name."""
    made = getattr(_module(place, extra, _MODULES[name]), name)
    try:
        return made(*arguments, **named)
    except RecordInvalid as error:
        raise RecordInvalid(f"{place}.{error.field}", error.value, error.cure) from error


def _module(place: str, extra: str, name: str) -> Any:
    """A module of this package, by name only, so that nothing below the back-ends can see an
    engine.
    """
    try:
        return import_module(f"knowgate.backends.{name}")
    except ImportError as error:
        cure = f"its extra is not installed ({error}): pip install 'knowgate[{extra}]'"
        raise RecordInvalid(f"{place}.backend", extra, cure) from error
