"""Words that a person gives and a history keeps for ever."""

from services.errors import InputInvalid
from store.rejections import storable


def require_words(**said: str) -> None:
    """Refuses words that say nothing, or that no column can hold. Raises InputInvalid by their
    names.
    """
    for name, words in said.items():
        if not (words.strip() and storable(words)):
            raise InputInvalid(f"{name} is {words!r}: say it in words, they are kept")
