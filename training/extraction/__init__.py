"""Hidden states, P(T) and answers of any Hugging Face causal model or encoder, in one pass.

The demo's answering service and training both read models here, so a vector means the same in both.
"""

from training.extraction.answerer import Answerer, encoder_of
from training.extraction.loading import load_model
from training.extraction.positions import FIRST, LAST, MEAN
from training.extraction.results import Answered, States
from training.extraction.tokens import Prompt

__all__ = [
    "FIRST",
    "LAST",
    "MEAN",
    "Answered",
    "Answerer",
    "Prompt",
    "States",
    "encoder_of",
    "load_model",
]
