"""Models for reading: the runtime's own (`knowgate.backends.loading`), on a device, checked before
anything is read of them.
"""

from pathlib import Path

import torch

from knowgate.backends.blocks import blocks_of
from knowgate.backends.loading import LoadedModel, load
from training.errors import ExtractionRefused, refusing


def load_model(
    source: str | Path,
    *,
    model: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    weights: bool = True,
) -> LoadedModel:
    """Load a causal model or an encoder, and its tokenizer; the arguments are those of
    `knowgate.backends.loading.load`.

    `device` "auto" is a CUDA device where there is one, else the CPU; without `weights` the network
    stays on torch's meta device. Raises ExtractionRefused where the model cannot be loaded, or its
    layers cannot be found for certain.
    """
    with refusing():
        loaded = load(source, model=model, revision=revision, dtype=dtype, weights=weights)
        blocks_of(loaded.network)  # what cannot be read is refused before it is asked
    if weights:
        loaded.network.to(chosen_device(device))
    return loaded


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
