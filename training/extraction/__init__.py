"""Hidden states, P(T) and answers of any Hugging Face causal model, in one pass.

The demo's answering service and training both read models here, so a vector means the same in both.
"""

from training.extraction.answerer import Answered, Answerer, Extraction, option_token_ids
from training.extraction.loading import POSITION, LoadedModel, adopt, load_model, load_tier

__all__ = [
    "POSITION",
    "Answered",
    "Answerer",
    "Extraction",
    "LoadedModel",
    "adopt",
    "load_model",
    "load_tier",
    "option_token_ids",
]
