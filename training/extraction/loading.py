"""Load any Hugging Face causal model or encoder for reading: a local folder or a hub id, never code from the hub.

What was saved as a causal model keeps its output head; an encoder, or a model saved without a head, is loaded bare.

The fingerprint of its hidden states is made here, from what was really loaded. The revision of a local folder is the
hash of its files, so that a folder with new weights under its old name is another model.
"""

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from knowgate.records import Fingerprint
from knowgate.spec import TierSpec
from training.errors import ExtractionRefused, TrainingError
from training.extraction.positions import LAST
from training.extraction.structure import decoder_layers

POSITION = LAST
_WEIGHTS_AND_CONFIG = ("*.safetensors", "config.json", "tokenizer*.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A causal model or an encoder that is ready to be read."""

    network: Any  # a transformers PreTrainedModel, in evaluation mode
    tokenizer: Any
    model: str  # the name that fingerprints carry
    revision: str
    chat: bool  # whether prompts go through the tokenizer's chat template
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)  # held by each pass

    @property
    def layers(self) -> int:
        """The number of decoder blocks; layers are numbered 0 (embedding output) to this."""
        return len(decoder_layers(self.network))

    @property
    def dtype(self) -> str:
        return str(self.network.dtype).removeprefix("torch.")

    def fingerprint(self, layer: int, *, normed: bool = False, position: str = POSITION) -> Fingerprint:
        """What a hidden state of `layer` at `position`, read from this model, is a hidden state of."""
        if not 0 <= layer <= self.layers:
            raise ExtractionRefused(f"layer is {layer}: {self.model} has layers 0 to {self.layers}")
        template = (self.tokenizer.chat_template or "") if self.chat else ""
        return Fingerprint(
            model=self.model,
            revision=self.revision,
            dtype=self.dtype,
            engine="transformers",
            engine_version=transformers.__version__,
            chat_template_sha256=hashlib.sha256(str(template).encode()).hexdigest(),
            layer=layer,
            position=position,
            normed=normed,
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
) -> LoadedModel:
    """Load a causal model or an encoder, and its tokenizer.

    `source` is a folder or a hub id; `model` the name to carry in fingerprints (the source itself if left out);
    `chat` says whether prompts go through the chat template (left out: where the tokenizer has one); `device` "auto" is
    a CUDA device where there is one, else the CPU. Without `weights` the network is a plan of itself on torch's meta
    device, in any device's stead: it has structure, context and fingerprints, costs no memory and computes nothing.
    Raises TrainingError where it cannot be loaded, ModelStructureUnknown where its layers cannot be found.
    """
    folder = Path(source)
    local = folder.is_dir()
    hub = {"revision": revision} if revision is not None and not local else {}
    shows_progress = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a trainer's stderr is a log
    try:
        config = AutoConfig.from_pretrained(str(source), trust_remote_code=False, local_files_only=local, **hub)
        kind = AutoModelForCausalLM if _is_causal(config) else AutoModel
        if weights:
            network = kind.from_pretrained(
                str(source), dtype=getattr(torch, dtype), trust_remote_code=False, local_files_only=local, **hub
            )
        else:
            with torch.device("meta"):
                network = kind.from_config(config, dtype=getattr(torch, dtype), trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False, local_files_only=local, **hub)
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingError(
            f"model {source} could not be loaded ({error}): give a folder in the Hugging Face layout, or a hub id "
            "that this machine can reach"
        ) from error
    finally:
        if shows_progress:
            logging.enable_progress_bar()
    return adopt(
        network.to(chosen_device(device)) if weights else network,
        tokenizer,
        model=model or str(source),
        revision=revision or (folder_sha256(folder) if local else str(network.config._commit_hash)),
        chat=chat,
    )


def chosen_device(device: str) -> str:
    """ "auto" is a CUDA device where there is one, else the CPU; any other name stays."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _is_causal(config: Any) -> bool:
    saved_as = list(config.architectures or [])
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (
        not saved_as or any(name in known for name in saved_as)
    )


def adopt(network: Any, tokenizer: Any, *, model: str, revision: str, chat: bool | None = None) -> LoadedModel:
    """A model and tokenizer that are in memory already, ready to be read. Raises ModelStructureUnknown."""
    decoder_layers(network)
    return LoadedModel(
        network=network.eval(),
        tokenizer=tokenizer,
        model=model,
        revision=revision,
        chat=bool(tokenizer.chat_template) if chat is None else chat,
    )


def folder_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _WEIGHTS_AND_CONFIG for file in folder.glob(pattern)}):
        with file.open("rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def load_tier(tier: TierSpec, *, device: str = "cpu") -> LoadedModel:
    """The model that a tier declares; what serves it and what trains its probe load it here, so fingerprints agree.

    A local folder's revision is its content's; the declared one counts for hub ids.
    """
    local = Path(tier.model).is_dir()
    return load_model(tier.model, revision=None if local else tier.revision, device=device)
