"""Hidden states of another model, for a tier that shows none of its own.

Decisions:
- An encoder reads the prompt and never answers, so it is loaded without a language head, and any model that
  `transformers` loads by itself will do: a sentence encoder, or the body of a small causal model.
- A state is the mean over the prompt's tokens. An encoder's last token means nothing in particular, and its first only
  where it was trained to.
- The fingerprint names the encoder, not the tier: a probe fitted on one encoder's states meets no other's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from transformers import AutoModel, AutoTokenizer

from knowgate.records import Fingerprint
from training.errors import ExtractionRefused, TrainingError
from training.extraction.loading import folder_sha256

POSITION = "mean_of_prompt_tokens"
NO_TEMPLATE = "0" * 64  # prompts are read as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What a list of prompts looks like to an encoder, in the order of the prompts."""

    hidden: npt.NDArray[np.float32]  # [n, layers, d]
    fingerprints: tuple[Fingerprint, ...]  # one per layer


class Encoder:
    """An encoder together with the layers that are read of it.

    `source` is a folder or a hub id; `layers` count from 0, the embedding output (None = the last alone). Prompts
    longer than the encoder reads are cut. Raises TrainingError where it cannot be loaded, ExtractionRefused for a
    layer that it does not have.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        layers: Sequence[int] | None = None,
        revision: str | None = None,
        batch: int = 32,
        device: str = "cpu",
    ) -> None:
        folder = Path(source)
        local = folder.is_dir()
        hub = {"revision": revision} if revision is not None and not local else {}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                str(source), trust_remote_code=False, local_files_only=local, **hub
            )
            network = AutoModel.from_pretrained(str(source), trust_remote_code=False, local_files_only=local, **hub)
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"encoder {source} could not be loaded ({error}): give a folder in the Hugging Face layout, or a hub "
                "id that this machine can reach"
            ) from error
        self._network: Any = network.float().to(device).eval()
        deepest = int(self._network.config.num_hidden_layers)
        self.layers = (deepest,) if layers is None else tuple(sorted(set(layers)))
        if not self.layers or not 0 <= self.layers[0] <= self.layers[-1] <= deepest:
            raise ExtractionRefused(f"layers are {list(self.layers)}: {source} has layers 0 to {deepest}")
        self._batch = batch
        found = folder_sha256(folder) if local else str(self._network.config._commit_hash)
        self.fingerprints = tuple(self._fingerprint(str(source), revision or found, layer) for layer in self.layers)

    @torch.inference_mode()
    def extract(self, prompts: Sequence[str], *, progress: Callable[[int], object] = lambda _: None) -> Encoded:
        """The states of all prompts; `progress` is told the number of prompts after every batch."""
        if not prompts:
            raise ExtractionRefused("prompts is empty: give at least one prompt")
        parts = []
        for start in range(0, len(prompts), self._batch):
            chosen = list(prompts[start : start + self._batch])
            parts.append(self._read(chosen))
            progress(len(chosen))
        hidden = np.concatenate(parts)
        if not np.isfinite(hidden).all():
            raise ExtractionRefused(f"{self.fingerprints[0].model} gave hidden states that are not finite")
        return Encoded(hidden=hidden, fingerprints=self.fingerprints)

    def _read(self, prompts: list[str]) -> npt.NDArray[np.float32]:
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        longest = getattr(self._network.config, "max_position_embeddings", None)
        cut = {"truncation": True, "max_length": longest} if longest else {}
        tokens = self._tokenizer(prompts, padding=True, return_tensors="pt", **cut).to(self._network.device)
        mask = tokens["attention_mask"][..., None].float()  # [batch, tokens, 1]
        if not bool((mask.sum(dim=1) > 0).all()):
            raise ExtractionRefused("a prompt has no tokens: leave empty prompts out")
        wanted = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        states = self._network(**wanted, output_hidden_states=True).hidden_states
        means = [(states[layer] * mask).sum(dim=1) / mask.sum(dim=1) for layer in self.layers]
        result: npt.NDArray[np.float32] = torch.stack(means, dim=1).float().cpu().numpy()
        return result

    def _fingerprint(self, model: str, revision: str, layer: int) -> Fingerprint:
        return Fingerprint(
            model=model,
            revision=revision,
            dtype="float32",
            engine="transformers",
            engine_version=transformers.__version__,
            chat_template_sha256=NO_TEMPLATE,
            layer=layer,
            position=POSITION,
            normed=layer == int(self._network.config.num_hidden_layers),
        )
