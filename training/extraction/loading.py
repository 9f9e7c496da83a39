"""Load any Hugging Face causal model or encoder for reading: a local folder or a hub id, never code
from the hub.

What was saved as a causal model keeps its output head; an encoder, or a model saved without a head,
is loaded bare.

The runtime's own loader does it (`knowgate.backends.loading`), and names the hidden states, so that
what trains a probe and what serves it agree.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from knowgate._records.records import Fingerprint
from knowgate._records.request import template_of
from knowgate.backends import loading
from knowgate.errors import RecordInvalid
from knowgate.spec import TierSpec
from training.errors import ExtractionRefused, TrainingError
from training.extraction.positions import LAST
from training.extraction.structure import decoder_layers

POSITION = LAST


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A causal model or an encoder that is ready to be read."""

    network: Any  # a transformers PreTrainedModel, in evaluation mode
    tokenizer: Any
    model: str  # the name that fingerprints carry
    revision: str
    chat: bool  # whether prompts go through the tokenizer's chat template
    template: Mapping[str, Any] = field(default_factory=dict)  # what that is given beside the messages, as declared
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)  # held by each pass

    @property
    def layers(self) -> int:
        """The number of decoder blocks; layers are numbered 0 (embedding output) to this."""
        return len(decoder_layers(self.network))

    @property
    def dtype(self) -> str:
        return str(self.network.dtype).removeprefix("torch.")

    def fingerprint(self, layer: int, *, normed: bool = False, position: str = POSITION) -> Fingerprint:
        """What a hidden state of `layer` at `position`, read from this model, is a
        hidden state of.
        """
        if not 0 <= layer <= self.layers:
            raise ExtractionRefused(f"layer is {layer}: {self.model} has layers 0 to {self.layers}")
        return loading.fingerprint_of(
            self.network,
            self.tokenizer,
            model=self.model,
            revision=self.revision,
            layer=layer,
            position=position,
            normed=normed,
            chat=self.chat,
            declared=self.template,
        )


def load_model(
    source: str | Path,
    *,
    model: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    chat: bool | None = None,
    weights: bool = True,
    template: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Load a causal model or an encoder, and its tokenizer.

    `source` is a folder or a hub id; `model` the name to carry in fingerprints (the source itself
    if left out); `chat` says whether prompts go through the chat template (left out: where the
    tokenizer has one); `device` "auto" is a CUDA device where there is one, else the CPU;
    `template` is what that template is given beside the messages. Without `weights` the network is
    a plan of itself on torch's meta device, in any device's stead: it has structure, context and
    fingerprints, costs no memory and computes nothing. Raises TrainingError where it cannot be
    loaded, ModelStructureUnknown where its layers cannot be found.
    """
    try:
        found = loading.load(source, revision=revision, dtype=dtype, weights=weights)
    except RecordInvalid as error:
        raise TrainingError(f"model is {str(source)!r}: {error.cure}") from error
    return adopt(
        found.network.to(chosen_device(device)) if weights else found.network,
        found.tokenizer,
        model=model or str(source),
        revision=found.revision,
        chat=chat,
        template=template,
    )


def chosen_device(device: str) -> str:
    """ "auto" is a CUDA device where there is one, else the CPU; any other name stays.

    Raises ExtractionRefused for a device that is none, or that is not here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ExtractionRefused(f"device is {device!r}: use auto, cpu or cuda") from error
    if kind not in ("cpu", "cuda"):
        raise ExtractionRefused(f"device is {device!r}: use auto, cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ExtractionRefused(f"device is {device!r}: there is no CUDA device here; use cpu or auto")
    return device


def adopt(
    network: Any,
    tokenizer: Any,
    *,
    model: str,
    revision: str,
    chat: bool | None = None,
    template: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """A model and tokenizer that are in memory already, ready to be read. Raises
    ModelStructureUnknown.
    """
    decoder_layers(network)
    return LoadedModel(
        network=network.eval(),
        tokenizer=tokenizer,
        model=model,
        revision=revision,
        chat=bool(tokenizer.chat_template) if chat is None else chat,
        template=dict(template or {}),
    )


def load_tier(tier: TierSpec, *, device: str = "cpu") -> LoadedModel:
    """The model that a tier declares; what serves it and what trains its probe load it here, so
    fingerprints agree.

    A local folder's revision is its content's; the declared one counts for hub ids.
    """
    local = Path(tier.model).is_dir()
    return load_model(
        tier.model,
        revision=None if local else tier.revision,
        device=device,
        template=template_of(tier.request),
    )
