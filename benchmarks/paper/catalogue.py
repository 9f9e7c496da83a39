"""The paper's models: where their weights are, how large they are, and what their chat templates
need.

A name that is not listed is taken for a Hugging Face id or a folder, so that any pair or chain can
be measured.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperModel:
    """One model that can be asked."""

    name: str
    source: str  # a hub id, a folder, or the name that an endpoint knows it by
    parameters: float | None  # None = undisclosed: its compute cannot be counted, its tokens can
    thinks: bool = False  # its chat template opens a reasoning block unless asked not to


CATALOGUE: tuple[PaperModel, ...] = (
    PaperModel(name="llama-3.2-3b", source="meta-llama/Llama-3.2-3B-Instruct", parameters=3.21e9),
    PaperModel(name="llama-3.1-8b", source="meta-llama/Llama-3.1-8B-Instruct", parameters=8.03e9),
    PaperModel(name="llama-3.3-70b", source="meta-llama/Llama-3.3-70B-Instruct", parameters=70.6e9),
    PaperModel(name="qwen3-4b", source="Qwen/Qwen3-4B", parameters=4.02e9, thinks=True),
    PaperModel(name="qwen3-8b", source="Qwen/Qwen3-8B", parameters=8.19e9, thinks=True),
    PaperModel(name="qwen3-32b", source="Qwen/Qwen3-32B", parameters=32.8e9, thinks=True),
    PaperModel(name="gpt-4o", source="gpt-4o", parameters=None),
)


def model_named(name: str, *, source: str | None = None, parameters: float | None = None) -> PaperModel:
    """The model of this name, with another source or size where given.

    >>> model_named("qwen3-8b").source
    'Qwen/Qwen3-8B'
    >>> model_named("my-model", source="/models/mine", parameters=1e9).parameters
    1000000000.0
    """
    known = next((model for model in CATALOGUE if model.name == name), None)
    if known is None:
        known = PaperModel(name=name, source=source or name, parameters=parameters)
    return PaperModel(
        name=known.name,
        source=source or known.source,
        parameters=known.parameters if parameters is None else parameters,
        thinks=known.thinks,
    )
