"""Who runs the models of a cascade: one class per serving engine, each behind an extra of its own.

Importing this package loads none of them. All of them answer the same question, `Backend.ask`, so
that a cascade does not know which engines it has; a class of your own that answers it will do as
well.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from knowgate.backends.factory import backends_of, early_of, encoders_of, from_spec
from knowgate.backends.protocol import Backend, EarlyBackend, Encoded, Encoder, Finish, Message, Reply

if TYPE_CHECKING:
    from knowgate.backends.openai import OpenAIBackend
    from knowgate.backends.sglang import SGLangBackend
    from knowgate.backends.vllm import VLLMBackend

# Imported on first use. Those in this process are named here only, so that nothing below them can
# see torch.
_LAZY = {
    "OpenAIBackend": "knowgate.backends.openai",
    "SGLangBackend": "knowgate.backends.sglang",
    "TransformersBackend": "knowgate.backends.transformers",
    "TransformersEncoder": "knowgate.backends.encoder",
    "VLLMBackend": "knowgate.backends.vllm",
}

__all__ = [
    "Backend",
    "EarlyBackend",
    "Encoded",
    "Encoder",
    "Finish",
    "Message",
    "OpenAIBackend",
    "Reply",
    "SGLangBackend",
    "TransformersBackend",
    "TransformersEncoder",
    "VLLMBackend",
    "backends_of",
    "early_of",
    "encoders_of",
    "from_spec",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'knowgate.backends' has no attribute {name!r}")
