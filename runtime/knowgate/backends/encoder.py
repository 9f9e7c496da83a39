"""Another model's hidden states for a tier that shows none: what its probe reads at serving (extra
`transformers`).

The state is the mean over the prompt's own tokens at one layer, as training reads it: an encoder's
last token means nothing in particular. The fingerprint names the encoder, so a probe fitted on one
encoder's states meets no other's. The pass ends after the wanted layer.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from knowgate._records.arrays import Float32Array
from knowgate.backends.blocks import require_layer, watching
from knowgate.backends.loading import load
from knowgate.backends.protocol import MEAN_OF_PROMPT, Encoded
from knowgate.errors import RecordInvalid


class TransformersEncoder:
    """A model in this process that reads prompts; shared between threads, one prompt at a time.

    `source` is a folder or a hub id, `layers` those that a probe may read: the last one where
    nobody asks for another. Raises RecordInvalid for a model that cannot be loaded or a layer that
    it does not have.
    """

    def __init__(self, source: str | Path, *, layers: Sequence[int] = (), revision: str | None = None) -> None:
        self._loaded = load(source, revision=revision)
        self.model = self._loaded.model
        self._layer = max(layers) if layers else self._loaded.layers
        for layer in (*layers, self._layer):
            require_layer(self._loaded.network, layer)

    def __call__(self, prompt: str, *, layer: int | None = None) -> Encoded:
        """The prompt's state [d] at `layer`. Raises RecordInvalid for a prompt that cannot be read
        whole.
        """
        wanted = self._layer if layer is None else layer
        fingerprint = self._loaded.fingerprint(wanted, position=MEAN_OF_PROMPT)
        ids = self._encode(prompt)
        with self._loaded.lock:
            hidden = self._read(ids, wanted)
        return Encoded(hidden=hidden, fingerprint=fingerprint)

    def _encode(self, prompt: str) -> torch.Tensor:
        loaded = self._loaded
        (ids,) = loaded.tokens_of([loaded.prompt([{"role": "user", "content": prompt}])])
        longest = loaded.context
        if not ids or (longest is not None and len(ids) > longest):
            cure = f"the encoder reads 1 to {longest or 'any number of'} tokens, and cuts none"
            raise RecordInvalid("prompt", f"{len(ids)} tokens", cure)
        return torch.tensor([ids], dtype=torch.long, device=loaded.network.device)

    @torch.inference_mode()
    def _read(self, ids: torch.Tensor, layer: int) -> Float32Array:
        seen: list[torch.Tensor] = []
        base: Any = self._loaded.network.base_model
        with watching(self._loaded.network, (layer,), lambda _, states: seen.append(states[0]), stop=True):
            base(input_ids=ids)
        (states,) = seen
        mean = (states.sum(0, dtype=torch.float32) / len(states)).to(states.dtype)
        return mean.float().cpu().numpy().astype(np.float32)
