"""Another model's hidden states for a tier that shows none: what its probe reads at serving (extra
`transformers`).

The state is the mean over the prompt's own tokens at one layer, as training reads it: an encoder's
last token means nothing in particular. The fingerprint names the encoder, so a probe fitted on one
encoder's states meets no other's. The pass ends after the wanted layer.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from knowgate._records.arrays import Float32Array
from knowgate.backends.blocks import Enough, require_layer, watching
from knowgate.backends.loading import fingerprint_of, load, through_template
from knowgate.backends.protocol import MEAN_OF_PROMPT, Encoded
from knowgate.errors import RecordInvalid


class TransformersEncoder:
    """A model in this process that reads prompts; shared between threads, one prompt at a time.

    `source` is a folder or a hub id, `layers` those that a probe may read: the last one where
    nobody asks for another. Raises RecordInvalid for a model that cannot be loaded or a layer that
    it does not have.
    """

    def __init__(self, source: str | Path, *, layers: Sequence[int] = (), revision: str | None = None) -> None:
        loaded = load(source, revision=revision)
        self.model = str(source)
        self._network = loaded.network
        self._tokenizer = loaded.tokenizer
        self._revision = loaded.revision
        self._layer = max(layers) if layers else int(self._network.config.get_text_config().num_hidden_layers)
        for layer in (*layers, self._layer):
            require_layer(self._network, layer)
        self._lock = threading.Lock()

    def __call__(self, prompt: str, *, layer: int | None = None) -> Encoded:
        """The prompt's state [d] at `layer`. Raises RecordInvalid for a prompt that cannot be read
        whole.
        """
        wanted = self._layer if layer is None else layer
        require_layer(self._network, wanted)
        ids = self._encode(prompt)
        with self._lock:
            hidden = self._read(ids, wanted)
        fingerprint = fingerprint_of(
            self._network,
            self._tokenizer,
            model=self.model,
            revision=self._revision,
            layer=wanted,
            position=MEAN_OF_PROMPT,
        )
        return Encoded(hidden=hidden, fingerprint=fingerprint)

    def _encode(self, prompt: str) -> torch.Tensor:
        chat = bool(self._tokenizer.chat_template)
        text = prompt
        if chat:
            text = through_template(self._tokenizer, [{"role": "user", "content": prompt}])
        found = self._tokenizer(text, add_special_tokens=not chat, verbose=False)["input_ids"]
        config = self._network.config.get_text_config()
        limits = [getattr(config, "max_position_embeddings", None), self._tokenizer.model_max_length]
        longest = min((int(limit) for limit in limits if limit is not None and 0 < limit < 10**9), default=None)
        if not found or (longest is not None and len(found) > longest):
            cure = f"the encoder reads 1 to {longest or 'any number of'} tokens, and cuts none"
            raise RecordInvalid("prompt", f"{len(found)} tokens", cure)
        return torch.tensor([found], dtype=torch.long, device=self._network.device)

    @torch.inference_mode()
    def _read(self, ids: torch.Tensor, layer: int) -> Float32Array:
        seen: list[torch.Tensor] = []

        def see(states: torch.Tensor) -> None:
            seen.append(states[0])
            raise Enough

        base: Any = self._network.base_model
        with suppress(Enough), watching(self._network, layer, see):
            base(input_ids=ids)
        (states,) = seen
        mean = (states.sum(0, dtype=torch.float32) / len(states)).to(states.dtype)
        return mean.float().cpu().numpy().astype(np.float32)
