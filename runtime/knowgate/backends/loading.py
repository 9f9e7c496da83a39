"""Load any Hugging Face causal model or encoder: a local folder or a hub id, never code from the
hub.

What was saved as a causal model keeps its output head; an encoder, or a model saved without a head,
is loaded bare. The revision of a local folder is the hash of its files, so that a folder with new
weights under its old name is another model. Training and serving load here, so that their
fingerprints agree.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import cached_file, logging

from knowgate._records.records import Fingerprint
from knowgate._records.request import THINKING
from knowgate._wire import codec
from knowgate.errors import RecordInvalid

# All that says what a model computes, in every layout; a README or a picture beside them changes
# nothing.
_WEIGHTS_AND_CONFIG = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model", "*.jinja")
_UNREAD = "pooler."  # what an encoder may lack: nobody reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model as it was found, on the CPU."""

    network: Any  # a transformers PreTrainedModel, in evaluation mode
    tokenizer: Any
    revision: str


def load(source: str | Path, *, revision: str | None = None, dtype: str = "float32", weights: bool = True) -> Loaded:
    """The model in a folder, or of a hub id (at `revision`), and its tokenizer. Raises
    RecordInvalid.

    Without `weights` the network is a plan of itself on torch's meta device.
    """
    folder = Path(source)
    local = folder.is_dir()
    hub = {"revision": revision} if revision is not None and not local else {}
    shows_progress = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a service's stderr is a log
    try:
        config = AutoConfig.from_pretrained(str(source), trust_remote_code=False, local_files_only=local, **hub)
        kind = AutoModelForCausalLM if _is_causal(config) else AutoModel
        if weights:
            network, report = kind.from_pretrained(
                str(source),
                dtype=getattr(torch, dtype),
                trust_remote_code=False,
                local_files_only=local,
                output_loading_info=True,
                **hub,
            )
            _require_whole(str(source), report["missing_keys"])
        else:
            with torch.device("meta"):
                network = kind.from_config(config, dtype=getattr(torch, dtype), trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False, local_files_only=local, **hub)
    except (OSError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        raise RecordInvalid(
            "model",
            str(source),
            f"it could not be loaded ({error}): give a folder in the Hugging Face layout, or a hub id that this "
            "machine can reach",
        ) from error
    finally:
        if shows_progress:
            logging.enable_progress_bar()
    found = revision or (folder_sha256(folder) if local else _hub_revision(str(source)))
    return Loaded(network=network.eval(), tokenizer=tokenizer, revision=found)


def fingerprint_of(
    network: Any,
    tokenizer: Any,
    *,
    model: str,
    revision: str,
    layer: int,
    position: str,
    normed: bool = False,
    chat: bool = True,
    declared: Mapping[str, Any] | None = None,
) -> Fingerprint:
    """What a hidden state of a model in this process is a hidden state of; `chat` = prompts go
    through its template.

    `declared` is what the template is given beside the messages, as in `through_template`.
    """
    return Fingerprint(
        model=model,
        revision=revision,
        dtype=str(network.dtype).removeprefix("torch."),
        engine="transformers",
        engine_version=transformers.__version__,
        chat_template_sha256=_template_sha256(tokenizer, declared) if chat else hashlib.sha256(b"").hexdigest(),
        layer=layer,
        position=position,
        normed=normed,
    )


def template_settings(tokenizer: Any, declared: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the chat template is given beside the messages: as declared, and thinking off where it
    knows the word.

    A model that thinks first shows at its first token how sure it is of beginning to think, and of
    no answer.
    """
    off = {THINKING: False} if THINKING in str(tokenizer.chat_template or "") else {}
    return off | dict(declared or {})


def through_template(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], declared: Mapping[str, Any] | None = None
) -> str:
    """The prompt's text as the model reads it: training, serving and encoders all go
    through here.
    """
    settings = template_settings(tokenizer, declared)
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, **settings))


def _template_sha256(tokenizer: Any, declared: Mapping[str, Any] | None) -> str:
    """The hash of the template, and of what it is given where that is anything."""
    text = str(tokenizer.chat_template or "")
    settings = template_settings(tokenizer, declared) if text else {}
    given = f"\0{codec.canonical(settings).decode()}" if settings else ""
    return hashlib.sha256(f"{text}{given}".encode()).hexdigest()


def folder_sha256(folder: Path) -> str:
    """The hash of a model folder's weights, configuration and tokenizer."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _WEIGHTS_AND_CONFIG for file in folder.glob(pattern)}):
        with file.open("rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _require_whole(source: str, missing: Collection[str]) -> None:
    """Raises RecordInvalid where weights are missing: they would be drawn at random, at each
    loading others.
    """
    lacking = sorted(name for name in missing if not name.startswith(_UNREAD))
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise RecordInvalid("model", source, f"it has no weights for {lacking[0]}{more}: give all of its files")


def _hub_revision(source: str) -> str:
    """The commit that a hub id was loaded at: the snapshot that its files lie in. The library's own
    note is gone.
    """
    return Path(str(cached_file(source, "config.json", local_files_only=True))).parent.name


def _is_causal(config: Any) -> bool:
    saved_as = list(config.architectures or [])
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (
        not saved_as or any(name in known for name in saved_as)
    )
