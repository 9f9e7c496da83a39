"""Any Hugging Face causal model or encoder in this process: how it is loaded, what it is called,
and how prompts become its tokens. From a local folder or a hub id, never code from the hub.

What was saved as a causal model keeps its output head; an encoder, or a model saved without a head,
is loaded bare. The revision of a local folder is the hash of its files, so that a folder with new
weights under its old name is another model. Training and serving read models through here, so that
their fingerprints and their tokens agree.
"""

import hashlib
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import cached_file, logging

from knowgate._records.records import Fingerprint
from knowgate._records.request import THINKING, template_of
from knowgate._wire import codec
from knowgate.backends.blocks import blocks_of, require_layer
from knowgate.backends.protocol import LAST_PROMPT_TOKEN, Message
from knowgate.errors import RecordInvalid
from knowgate.spec import TierSpec

# All that says what a model computes, in every layout; a README or a picture beside them changes
# nothing.
_WEIGHTS_AND_CONFIG = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model", "*.jinja")
_UNREAD = "pooler."  # what an encoder may lack: nobody reads it
_ENDLESS = 10**9  # tokenizers without a limit name a huge one


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
        """The number of blocks; layers are numbered 0 (embedding output) to this. Raises
        RecordInvalid where they cannot be found for certain.
        """
        return len(blocks_of(self.network))

    @property
    def dtype(self) -> str:
        return str(self.network.dtype).removeprefix("torch.")

    @property
    def context(self) -> int | None:
        """The most tokens that it reads; None where neither the model nor its tokenizer has a
        limit.
        """
        config = self.network.config.get_text_config(decoder=True)
        limits = [getattr(config, "max_position_embeddings", None), getattr(self.tokenizer, "model_max_length", None)]
        return min((int(limit) for limit in limits if limit is not None and 0 < limit < _ENDLESS), default=None)

    @property
    def vocabulary(self) -> int:
        """How many tokens it has embeddings for."""
        return int(self.network.get_input_embeddings().num_embeddings)

    @property
    def pad_id(self) -> int:
        """What padding is filled with: never seen through the mask, so a tokenizer without a pad
        token is as good.
        """
        named = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((int(token) for token in named if token is not None), 0)

    def fingerprint(self, layer: int, *, normed: bool = False, position: str = LAST_PROMPT_TOKEN) -> Fingerprint:
        """What a hidden state of `layer` at `position`, read from this model, is a hidden state of.
        Raises RecordInvalid for a layer that it does not have.
        """
        require_layer(self.network, layer, of=self.model)
        return Fingerprint(
            model=self.model,
            revision=self.revision,
            dtype=self.dtype,
            engine="transformers",
            engine_version=transformers.__version__,
            chat_template_sha256=self._template_sha256(),
            layer=layer,
            position=position,
            normed=normed,
        )

    def prompt(self, messages: Sequence[Message]) -> str:
        """The text that the model reads: through its chat template, or, without one, the messages'
        texts as they are.
        """
        if not self.chat:
            return "\n".join(str(message["content"]) for message in messages)
        given = self._given()
        return str(
            self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, **given)
        )

    def tokens_of(self, prompts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text that `prompt` gave; a template has put special ones into it."""
        if not prompts:
            return []
        encoded = self.tokenizer(list(prompts), add_special_tokens=not self.chat, verbose=False)["input_ids"]
        return [list(ids) for ids in encoded]

    def _given(self) -> dict[str, Any]:
        """What the chat template is given beside the messages: as declared, and thinking off where
        it knows the word.

        A model that thinks first shows at its first token how sure it is of beginning to think, and
        of no answer.
        """
        off = {THINKING: False} if THINKING in str(self.tokenizer.chat_template or "") else {}
        return off | dict(self.template)

    def _template_sha256(self) -> str:
        """The hash of the template, and of what it is given where that is anything."""
        text = str(self.tokenizer.chat_template or "") if self.chat else ""
        given = self._given() if text else {}
        added = f"\0{codec.canonical(given).decode()}" if given else ""
        return hashlib.sha256(f"{text}{added}".encode()).hexdigest()


def load(
    source: str | Path,
    *,
    model: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    weights: bool = True,
    template: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """The model in a folder, or of a hub id (at `revision`), and its tokenizer, on the CPU. Raises
    RecordInvalid.

    `model` is the name to carry in fingerprints (the source itself if left out), `template` is as
    in `adopt`. Without `weights` the network is a plan of itself on torch's meta device: it has
    structure, context and fingerprints, costs no memory and computes nothing.
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
    return adopt(
        network,
        tokenizer,
        model=model or str(source),
        revision=revision or (folder_sha256(folder) if local else _hub_revision(str(source))),
        template=template,
    )


def load_tier(tier: TierSpec) -> LoadedModel:
    """The model that a tier declares; what serves it and what trains its probe load it here.

    A local folder's revision is its content's; the declared one counts for hub ids. Raises
    RecordInvalid.
    """
    local = Path(tier.model).is_dir()
    return load(tier.model, revision=None if local else tier.revision, template=template_of(tier.request))


def adopt(
    network: Any,
    tokenizer: Any,
    *,
    model: str,
    revision: str,
    chat: bool | None = None,
    template: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """A model and tokenizer that are in memory already.

    `chat` says whether prompts go through the chat template (left out: where the tokenizer has
    one), `template` is what that is given beside the messages.
    """
    return LoadedModel(
        network=network.eval(),
        tokenizer=tokenizer,
        model=model,
        revision=revision,
        chat=bool(tokenizer.chat_template) if chat is None else chat,
        template=dict(template or {}),
    )


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
