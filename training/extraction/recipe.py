"""What an Answerer is made from, as a record: any process on any machine makes the same one of it.

A loaded model holds a lock and gigabytes, and is never sent anywhere. What is sent is this.
"""

from dataclasses import dataclass

from knowgate._records.records import PTKind
from training.extraction.answerer import CPU_TOKENS, GPU_TOKENS, Answerer
from training.extraction.loading import chosen_device, load_model
from training.extraction.positions import LAST


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswererRecipe:
    """The arguments of `load_model` and `Answerer`, of the same names."""

    source: str  # a folder that every machine sees under this name, or a hub id
    revision: str | None = None
    dtype: str = "float32"
    device: str = "auto"
    layers: tuple[int, ...] | None = None
    positions: tuple[str, ...] = (LAST,)
    options: tuple[str, ...] | None = None
    batch: int | None = None
    tokens: int | None = None
    normed: bool = False
    max_new_tokens: int = 1
    p_t_kind: PTKind | None = None
    compiled: bool = False

    def make(self) -> Answerer:
        """Load the model. Raises what `load_model` and `Answerer` raise."""
        return self._made(weights=True)

    def plan(self) -> Answerer:
        """An Answerer without weights: fingerprints, batches and refusals are those of `make`; it
        answers nothing.
        """
        return self._made(weights=False)

    def _made(self, *, weights: bool) -> Answerer:
        loaded = load_model(self.source, revision=self.revision, dtype=self.dtype, device=self.device, weights=weights)
        on_cpu = chosen_device(self.device) == "cpu"
        return Answerer(
            loaded,
            layers=self.layers,
            positions=self.positions,
            options=self.options,
            batch=self.batch,
            tokens=self.tokens if self.tokens is not None else CPU_TOKENS if on_cpu else GPU_TOKENS,
            normed=self.normed,
            max_new_tokens=self.max_new_tokens,
            p_t_kind=self.p_t_kind,
            compiled=self.compiled,
        )
