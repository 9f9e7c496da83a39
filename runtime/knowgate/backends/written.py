"""The tokens that a model in this process wrote, in the form that endpoints list theirs, and the
spellings of options.

Serving and extraction both read an answer through these, so that its P(T), entropy and margin are
those that `answer_tokens` reads of the same tokens at an endpoint.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from knowgate._records.options import bare
from knowgate.backends._text.reasoning import is_marker, opens_a_thought
from knowgate.backends._text.tokens import Listed, Token, encoded
from knowgate.errors import RecordInvalid

if TYPE_CHECKING:
    from knowgate.backends.loading import LoadedModel

REPLACED = "�"
LAST_TOKENS = 16  # of a prompt: enough for the longest marker

Decode = Callable[[Sequence[int]], str]


class Spellings:
    """The tokens that spell each option: its own, and every other that differs from it by spaces
    and marks alone.

    `own` are the options' tokens as the tokenizer writes them, one for each; `size` is how many
    tokens the model has.
    """

    def __init__(self, tokenizer: Any, options: Sequence[str], own: Sequence[int], *, size: int) -> None:
        self.own = tuple(own)
        self.of: list[list[int]] = [[token] for token in own]
        place = {bare(option): at for at, option in enumerate(options)}
        known = sorted({token for token in tokenizer.get_vocab().values() if token < size and token not in self.own})
        texts = tokenizer.batch_decode([[token] for token in known], skip_special_tokens=True)
        for token, text in zip(known, texts, strict=True):
            at = place.get(bare(text)) if bare(text) else None
            if at is not None:
                self.of[at].append(token)
        self.tokens = tuple(token for tokens in self.of for token in tokens)
        self._texts = [encoded(bare(option)) for option, tokens in zip(options, self.of, strict=True) for _ in tokens]

    def others(self, log_probabilities: Sequence[float], written: int) -> tuple[Listed, ...]:
        """What else might have stood in the place of the token `written`; the numbers are those of
        `tokens`.
        """
        return tuple(
            Listed(text=text, logprob=number)
            for token, text, number in zip(self.tokens, self._texts, log_probabilities, strict=True)
            if token != written
        )

    def likeliest(self, logits: Any) -> int:
        """The likeliest option's place, its spellings summed; `logits` [vocabulary] is a tensor."""
        sums = [float(logits[tokens].float().logsumexp(-1)) for tokens in self.of]
        return max(range(len(sums)), key=sums.__getitem__)


def option_ids(tokenizer: Any, options: Sequence[str]) -> list[int]:
    """The token of each option. Raises RecordInvalid for one that is not one token of its own."""
    tokens = [tokenizer(option, add_special_tokens=False)["input_ids"] for option in options]
    for option, token in zip(options, tokens, strict=True):
        if len(token) != 1:
            raise RecordInvalid("options", option, f"it is {len(token)} tokens of the loaded model: give one of one")
    ids = [int(token[0]) for token in tokens]
    if len(set(ids)) != len(ids):
        raise RecordInvalid("options", list(options), f"they are the tokens {ids}: give options that differ")
    return ids


def spellings_of(loaded: "LoadedModel", options: Sequence[str]) -> Spellings:
    """The tokens that spell the options. Raises RecordInvalid as `option_ids` does."""
    return Spellings(loaded.tokenizer, options, option_ids(loaded.tokenizer, options), size=loaded.vocabulary)


class LikeliestOption:
    """A logits processor of `generate`: the first token behind the prompt is the likeliest option's
    own.
    """

    def __init__(self, spellings: Spellings, prompt: int) -> None:
        self._spellings = spellings
        self._prompt = prompt

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if input_ids.shape[1] != self._prompt:
            return scores
        allowed = scores.new_full(scores.shape, float("-inf"))
        for row in range(len(scores)):
            token = self._spellings.own[self._spellings.likeliest(scores[row])]
            allowed[row, token] = 0.0
        return allowed


def written_tokens(
    decode: Decode, ids: Sequence[int], log_probabilities: Sequence[float], others: tuple[Listed, ...] | None
) -> list[Token]:
    """The tokens `ids`, as the tokenizer's `decoder` shows them.

    `others` are the options' spellings that might have stood in the place of the first one.
    """
    texts = token_texts(decode, ids)
    return [
        Token(text=text, logprob=min(0.0, number), others=others if place == 0 else None, unlisted=0.0)
        for place, (text, number) in enumerate(zip(texts, log_probabilities, strict=True))
    ]


def decoder(tokenizer: Any) -> Decode:
    """What decodes tokens without the special ones, but for those between which a model thinks.

    Without them its thoughts would stand in the text as if they were the answer.
    """
    special = {token: str(added) for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    markers = {token for token, text in special.items() if is_marker(text)}
    left_out = set(special) | set(tokenizer.all_special_ids)

    def decode(ids: Sequence[int]) -> str:
        if markers.isdisjoint(ids):
            return str(tokenizer.decode(ids, skip_special_tokens=True))
        shown = [token for token in ids if token in markers or token not in left_out]
        return str(tokenizer.decode(shown, skip_special_tokens=False))

    return decode


def ends_in_thought(tokenizer: Any, prompt: Sequence[int]) -> bool:
    """Whether the prompt has opened a thought, so that what is written begins in it."""
    return opens_a_thought(str(tokenizer.decode(list(prompt[-LAST_TOKENS:]), skip_special_tokens=False)))


def token_texts(decode: Decode, ids: Sequence[int]) -> list[bytes]:
    """What each token adds to the text of all. A character of several tokens gives each of them
    some of its bytes.
    """
    texts: list[bytes] = []
    begin = known = 0  # decoded from `begin`, as the next token may need the one before it; up to `known` given away
    for end in range(1, len(ids) + 1):
        before, now = decode(ids[begin:known]), decode(ids[begin:end])
        if now.endswith(REPLACED) and end < len(ids):
            continue
        added, pending = encoded(now[len(before) :]), end - known
        texts.extend(added[at : at + 1] for at in range(pending - 1))
        texts.append(added[pending - 1 :])
        begin, known = known, end
    return texts
