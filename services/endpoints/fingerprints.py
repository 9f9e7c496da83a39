"""The fingerprint of an engine's hidden states, from what the engine says and what only whoever
runs it can say.

A fingerprint is compared and never interpreted: the probe of one decides nothing on the states of
another. So what it does not cover may change unseen, and is named.
"""

import hashlib
from dataclasses import dataclass

from knowgate._records.records import Fingerprint
from knowgate.backends.protocol import LAST_PROMPT_TOKEN
from services.endpoints.engines import Served
from services.errors import InputInvalid, Refused

NORMED = {"vllm": False, "sglang": True}  # whether the engine's states have been through the final norm
UNKNOWN = "unknown"
_OPTIONS = {"revision": "--revision", "dtype": "--dtype", "chat_template_sha256": "--chat-template"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What whoever runs the server says of it; None = nothing."""

    layer: int | None = None
    revision: str | None = None
    dtype: str | None = None
    template: str | None = None  # the chat template's text


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A fingerprint, and which of its fields rest on what."""

    fingerprint: Fingerprint
    asked: tuple[str, ...]  # fields that the engine said
    given: tuple[str, ...]  # fields that options said
    uncovered: tuple[str, ...]  # fields that nobody said


def account_of(served: Served, said: Said) -> Account:
    """The fingerprint of the states that this engine hands out.

    Raises Refused for an engine that hands out none, and InputInvalid without a layer.
    """
    if served.engine not in NORMED:
        raise Refused(
            f"{served.engine} hands no hidden states out, so there is no probe and nothing needs a fingerprint: P(T) "
            "decides; vLLM and SGLang hand them out (docs/backends.md)"
        )
    if said.layer is None:
        which = "the number of the model's blocks" if NORMED[served.engine] else "one that the server writes"
        raise InputInvalid(f"--layer is missing: {served.engine} does not say it; give {which}")
    template = said.template if said.template is not None else served.template
    values = {
        "revision": said.revision or served.revision,
        "dtype": said.dtype or served.dtype,
        "engine_version": served.version,
        "chat_template_sha256": None if template is None else hashlib.sha256(template.encode()).hexdigest(),
    }
    options = {"revision": said.revision, "dtype": said.dtype, "chat_template_sha256": said.template}
    given = ("layer", *(name for name, value in options.items() if value is not None))
    return Account(
        fingerprint=Fingerprint(
            model=served.model,
            engine=served.engine,
            layer=said.layer,
            position=LAST_PROMPT_TOKEN,
            normed=NORMED[served.engine],
            **{name: value or UNKNOWN for name, value in values.items()},
        ),
        asked=("model", "engine", *(name for name, value in values.items() if value and name not in given)),
        given=given,
        uncovered=tuple(name for name, value in values.items() if not value),
    )


def in_words(account: Account) -> tuple[str, ...]:
    """What the fingerprint covers and what not, a sentence a line."""
    lines = [
        f"asked of the engine: {', '.join(account.asked)}",
        f"said by you: {', '.join(account.given)}",
        "of the engine's kind: position, normed",
    ]
    if account.uncovered:
        cures = ", ".join(_OPTIONS[name] for name in account.uncovered if name in _OPTIONS)
        cure = f"; say it with {cures}" if cures else ""
        lines.append(
            f"not covered: {', '.join(account.uncovered)}: a change there goes unseen, and the probe goes on{cure}"
        )
    lines.append(
        "never covered: quantisation, adapters, and other weights under the same name and revision; make it anew, and "
        "train anew, when you change them"
    )
    return tuple(lines)
