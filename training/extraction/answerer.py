"""Ask a model and read it in the same pass: answer, P(T), option entropy and hidden states.

Decisions:
- Hooks keep one vector per prompt, layer and position, never the states of all tokens. Where only
  states are asked for (`states`, `read`), the pass ends after the topmost wanted layer and no
  output head runs.
- With options the answer begins with the likeliest one, its spellings summed. P(T), entropy and
  margin are read from the tokens as serving reads them, at an endpoint or in process
  (`knowgate.backends._text.answer_tokens`), so what is missing there is NaN here. Without options
  the entropy is that of the vocabulary at the first token.
- P(T) is of one kind (`knowgate._models.p_t`): the chosen option's where options are given, else
  the first token's, or the mean over the answer's tokens. Longer answers are continued greedily in
  a second call; the tokens' probabilities are gathered as they are written.
- A state that is not finite is an error that names its prompt: it would poison a training set
  silently.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from knowgate._records.observation import Observation
from knowgate._records.records import PTKind
from knowgate.backends._text.alignment import Ended
from knowgate.backends._text.answer_tokens import read_signals
from knowgate.backends.greedy import ends_of, greedy
from knowgate.backends.loading import LoadedModel
from knowgate.backends.protocol import Finish
from knowgate.backends.written import decoder, ends_in_thought, spellings_of, written_tokens
from training.errors import ExtractionRefused, refusing
from training.extraction.batches import Batch, batches
from training.extraction.first_tokens import FirstTokens, first_tokens, or_nan
from training.extraction.loading import load_model
from training.extraction.passes import Passes
from training.extraction.positions import LAST, MEAN, named_positions
from training.extraction.results import Answered, States
from training.extraction.tokens import Prompt, token_ids
from training.extraction.written import gathered

CPU_TOKENS, GPU_TOKENS = 4096, 16_384  # of a batch: fills the device; more only costs memory


class Answerer:
    """A model together with what is read of it.

    Arguments: `layers` to keep (None = all, embedding output included), `positions` of the tokens
    to keep them at, `options` = the texts of the allowed answers (each one token), `batch` =
    prompts at a time at most, `tokens` = padded tokens at a time at most (None = by the device),
    `normed` = apply the final norm to the kept states, `max_new_tokens` of an answer, `p_t_kind` =
    which probability is given as P(T) (None = `option` where there are options, else
    `first_token`), `other_kinds` = kinds of P(T) to read of the same answers beside it, `left` =
    put padding first (longer answers are written so anyway; vectors do not depend on it),
    `compiled` = run all blocks but the topmost through `torch.compile`. Raises ExtractionRefused
    for a layer, position or option that the model does not have.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        layers: Sequence[int] | None = None,
        positions: Sequence[str] = (LAST,),
        options: Sequence[str] | None = None,
        batch: int | None = None,
        tokens: int | None = None,
        normed: bool = False,
        max_new_tokens: int = 1,
        left: bool = False,
        p_t_kind: PTKind | None = None,
        other_kinds: Sequence[PTKind] = (),
        compiled: bool = False,
    ) -> None:
        self.loaded = loaded
        with refusing():
            self.layers = tuple(range(loaded.layers + 1)) if layers is None else tuple(sorted(set(layers)))
        if not self.layers:
            raise ExtractionRefused("layers is empty: give at least one, or leave it out for all")
        places = named_positions(positions)
        self.positions = tuple(place.name for place in places)
        self._shortest = max(place.shortest for place in places)
        self.option_texts = tuple(options or ())
        if options is not None and len(options) < 2:
            raise ExtractionRefused(f"options are {list(options)}: give at least two")
        if PTKind.OPTION in (p_t_kind, *other_kinds) and not self.option_texts:
            raise ExtractionRefused("p_t_kind is option: give the options, or use first_token or mean")
        self.p_t_kind = p_t_kind or (PTKind.OPTION if self.option_texts else PTKind.FIRST_TOKEN)
        self.other_kinds = tuple(other_kinds)
        if max_new_tokens < 1:
            raise ExtractionRefused(f"max_new_tokens is {max_new_tokens}: an answer has at least 1")
        self._batch = batch
        on_cpu = loaded.network.device.type == "cpu"
        self._decode = decoder(loaded.tokenizer)
        self._budget = tokens if tokens is not None else CPU_TOKENS if on_cpu else GPU_TOKENS
        self.max_new_tokens = max_new_tokens
        self.left = bool(left) or max_new_tokens > 1  # an answer is written where the prompt ends
        with refusing():
            self.fingerprints = tuple(
                loaded.fingerprint(layer, normed=normed, position=place.name)
                for layer in self.layers
                for place in places
            )
            self._spellings = spellings_of(loaded, self.option_texts) if self.option_texts else None
            self._states, self._answers = (
                Passes(
                    loaded, layers=self.layers, positions=places, normed=normed, logits=logits, compile_blocks=compiled
                )
                for logits in (False, True)
            )

    def answer(
        self, prompts: Sequence[Prompt], *, progress: Callable[[int], object] = lambda _: None
    ) -> list[Answered]:
        """Answer each prompt; `progress` gets the number of prompts after every batch."""
        answered: dict[int, Answered] = {}
        for batch in self.batches(prompts):
            answered.update(zip(batch.rows, self.answer_batch(batch), strict=True))
            progress(len(batch.rows))
        return [answered[row] for row in range(len(prompts))]

    def read(self, prompts: Sequence[Prompt]) -> Iterator[States]:
        """Hidden states alone, batch by batch as they are done; memory holds one batch."""
        for batch in self.batches(prompts, states_only=True):
            yield self.read_batch(batch)

    def batches(
        self, prompts: Sequence[Prompt], *, rows: Sequence[int] | None = None, states_only: bool = False
    ) -> Iterator[Batch]:
        """The batches that `answer` (or `read`) goes through, the same in any process. Raises
        ExtractionRefused.
        """
        written = 0 if states_only else self.max_new_tokens - 1
        tokens = token_ids(self.loaded, prompts, shortest=self._shortest, written=written)
        return batches(
            tokens, tokens=self._budget, size=self._batch, rows=rows, pad_id=self.loaded.pad_id, left=self.left
        )

    def read_batch(self, batch: Batch) -> States:
        """Hidden states of one batch. Raises ExtractionRefused where one is not finite."""
        states, _ = self._states.run(batch)
        return States(
            rows=batch.rows,
            hidden=self._finite(states, batch),
            tokens_in=batch.lengths.numpy(),
            fingerprints=self.fingerprints,
        )

    def answer_batch(self, batch: Batch) -> list[Answered]:
        """Answers to one batch, in its order. Raises ExtractionRefused where a state is
        not finite.
        """
        began = time.perf_counter()
        states, logits = self._answers.run(batch)
        assert logits is not None
        hidden = self._finite(states, batch)
        first = first_tokens(self._finite_logits(logits, batch), self._spellings)
        texts, ids, numbers = self._written(batch, first)
        answers = list(zip(texts, ids, numbers, first.listed, self._within(batch), strict=True))
        read = [self._read(self.p_t_kind, *row) for row in answers]
        others = [{kind: or_nan(self._read(kind, *row).p_t) for kind in self.other_kinds} for row in answers]
        latency_ms = (time.perf_counter() - began) * 1e3
        return [
            Answered(
                text=texts[at],
                token_id=ids[at][0],
                p_t=or_nan(read[at].p_t),
                entropy=or_nan(read[at].entropy) if first.entropy is None else float(first.entropy[at]),
                hidden=hidden[at],
                tokens_in=int(batch.lengths[at]),
                tokens_out=len(ids[at]),
                latency_ms=latency_ms,
                margin=None if self._spellings is None else or_nan(read[at].margin),
                p_t_kind=self.p_t_kind,
                other_p_t=others[at],
            )
            for at in range(len(batch.rows))
        ]

    def _finite(self, states: Tensor, batch: Batch) -> npt.NDArray[np.float32]:
        hidden: npt.NDArray[np.float32] = states.numpy()
        finite = np.isfinite(hidden).all(axis=2)
        if not finite.all():
            at, view = np.argwhere(~finite)[0]
            value = hidden[at, view][~np.isfinite(hidden[at, view])][0]
            cure = "look at its weights" if self.loaded.dtype == "float32" else "load it in float32"
            raise ExtractionRefused(
                f"prompt {batch.rows[at]} has {value} in its hidden state of layer {self.fingerprints[view].layer} of "
                f"{self.loaded.model} ({self.loaded.dtype}): {cure}, or leave the prompt out",
                row=batch.rows[at],
            )
        return hidden

    def _finite_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        """The logits [batch, vocabulary]; -inf is a token that the model never gives."""
        broken = (torch.isnan(logits) | torch.isposinf(logits)).any(1) | torch.isneginf(logits).all(1)
        if bool(broken.any()):
            at = int(broken.nonzero()[0, 0])
            raise ExtractionRefused(
                f"prompt {batch.rows[at]} gets no probabilities from {self.loaded.model} ({self.loaded.dtype}): its "
                "logits are not finite. Look at the weights of its last layers and its head, or read states only",
                row=batch.rows[at],
            )
        return logits

    def _written(self, batch: Batch, first: FirstTokens) -> tuple[list[str], list[list[int]], list[list[float]]]:
        """Each answer's text, its tokens up to and with the one that ends it, and their
        log-probabilities.
        """
        tokenizer, chosen = self.loaded.tokenizer, first.chosen
        decode = self._decode
        if self.max_new_tokens == 1:
            ids = chosen[:, None].tolist()
            return [decode(row) for row in ids], ids, first.log_p[:, None].tolist()
        device = self.loaded.network.device
        given = torch.cat([batch.input_ids, chosen[:, None]], dim=1).to(device)
        mask = torch.cat([batch.attention_mask, torch.ones_like(chosen)[:, None]], dim=1).to(device)
        steps: list[Tensor] = []
        with (
            self.loaded.lock,
            greedy(self.loaded.network, tokenizer),
            gathered(self.loaded.network, steps) as more,
        ):
            written = self.loaded.network.generate(
                input_ids=given,
                attention_mask=mask,
                max_new_tokens=self.max_new_tokens - 1,
                pad_token_id=self.loaded.pad_id,
                **more,
            )[:, batch.input_ids.shape[1] :].cpu()
        ends = ends_of(self.loaded.network, tokenizer)
        ids = [row[: _until(row, ends)] for row in written.tolist()]
        texts = [decode(row) for row in ids]
        numbers = torch.stack([first.log_p, *steps], dim=1).tolist()
        return texts, ids, [values[: len(row)] for values, row in zip(numbers, ids, strict=True)]

    def _within(self, batch: Batch) -> list[bool]:
        """Which answers begin in a thought, since their prompts opened it."""
        prompts = zip(batch.input_ids, batch.attention_mask.bool(), strict=True)
        return [ends_in_thought(self.loaded.tokenizer, ids[seen].tolist()) for ids, seen in prompts]

    def _read(
        self, kind: PTKind, text: str, ids: list[int], numbers: list[float], listed: list[float], within: bool
    ) -> Observation:
        """What the tokens of one answer show, with a P(T) of this kind; `listed` are the
        log-probabilities of the options' spellings.
        """
        ended = ids[-1] in ends_of(self.loaded.network, self.loaded.tokenizer)
        whole = ended or (self.max_new_tokens == 1 and self._spellings is not None)
        others = None if self._spellings is None else self._spellings.others(listed, ids[0])
        signals = read_signals(
            written_tokens(self._decode, ids, numbers, others),
            text,
            kind=kind,
            options=self.option_texts,
            ended=Ended(finish=Finish.STOP if whole else Finish.LENGTH, within=within),
            notes=[],
        )
        return signals or Observation()


def _until(tokens: list[int], ends: frozenset[int]) -> int:
    """How many tokens an answer has: up to and with the first that ends it."""
    return next((at + 1 for at, token in enumerate(tokens) if token in ends), len(tokens))


def encoder_of(source: str | Path, *, layers: Sequence[int] | None = None) -> Answerer:
    """Another model's states for a tier that shows none of its own: the mean over the prompt's
    tokens.

    An encoder's last token means nothing in particular, and its first only where it was trained to.
    The fingerprint names the encoder, so a probe fitted on one encoder's states meets no other's.
    """
    return Answerer(load_model(source), layers=layers, positions=(MEAN,))
