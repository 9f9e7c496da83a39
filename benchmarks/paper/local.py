"""Ask a Hugging Face model that runs here: answers, P(T), entropy and hidden states in the same
pass.

`training.extraction.Answerer` does the reading, so a probe taught on these states is one that
knowgate can serve. Multiple choice is answered by the likeliest of the option letters, spelled as
the model's tokenizer spells them at that place.
"""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.paper.answer_files import ModelAnswers, stored_shape
from benchmarks.paper.catalogue import PaperModel
from benchmarks.paper.errors import PaperError
from benchmarks.paper.published import PROBED_LAYER
from benchmarks.paper.questions import LETTERS, Kind, Question, grade
from knowgate.backends.loading import LoadedModel
from knowgate.backends.written import option_ids
from knowgate.errors import RecordInvalid
from training.extraction import Answered, Answerer, load_model

NO_THINKING = "{%- set enable_thinking = false -%}"
OPEN_ANSWER_TOKENS = 24


def load(model: PaperModel, *, device: str = "cpu", dtype: str = "float32") -> LoadedModel:
    """The model, with a chat template that goes straight to the answer."""
    loaded = load_model(model.source, model=model.name, device=device, dtype=dtype)
    if model.thinks and loaded.tokenizer.chat_template:
        loaded.tokenizer.chat_template = NO_THINKING + loaded.tokenizer.chat_template
    return loaded


def layers_to_keep(loaded: LoadedModel, asked: Sequence[int] | None) -> tuple[int, ...]:
    """The layers that were asked for; else the paper's where the model has it, else all.

    Raises PaperError for a layer that the model does not have.
    """
    if asked is None:
        return (PROBED_LAYER,) if loaded.layers >= PROBED_LAYER else tuple(range(loaded.layers + 1))
    beyond = [layer for layer in asked if not 0 <= layer <= loaded.layers]
    if beyond:
        raise PaperError(f"layer {beyond[0]} is not there: {loaded.model} has layers 0 to {loaded.layers}")
    return tuple(asked)


def answer_locally(
    loaded: LoadedModel,
    questions: Sequence[Question],
    *,
    parameters: float | None = None,
    layers: Sequence[int] | None = None,
    batch: int = 32,
    report: Callable[[int], object] = lambda _: None,
) -> ModelAnswers:
    """Ask every different prompt once; `report` hears how many were answered after each batch.

    Raises PaperError for questions of several kinds or data sets, and where the letters are no
    single tokens.
    """
    kinds, data_sets = {question.kind for question in questions}, {question.data_set for question in questions}
    if len(kinds) != 1 or len(data_sets) != 1:
        raise PaperError(f"{len(questions)} questions of {len(kinds)} kinds: ask one data set at a time")
    kind = kinds.pop()
    answerer = Answerer(
        loaded,
        layers=layers_to_keep(loaded, layers),
        options=spelled_options(loaded) if kind is Kind.CHOICE else None,
        batch=batch,
        max_new_tokens=OPEN_ANSWER_TOKENS if kind is Kind.OPEN else 1,
    )
    prompts = list(dict.fromkeys(question.prompt for question in questions))
    said = dict(zip(prompts, answerer.answer(prompts, progress=report), strict=True))
    size = float(loaded.network.num_parameters()) if parameters is None else parameters
    return _gathered(loaded.model, size, questions, [said[question.prompt] for question in questions], answerer)


def spelled_options(loaded: LoadedModel) -> tuple[str, ...]:
    """The letters as this tokenizer spells an answer's first token: after a space, or after a chat
    template's head.
    """
    after_space = tuple(f" {letter}" for letter in LETTERS)
    spellings = (LETTERS, after_space) if loaded.chat else (after_space, LETTERS)
    for spelling in spellings:
        try:
            tokens = option_ids(loaded.tokenizer, spelling)
        except RecordInvalid:
            continue
        if [loaded.tokenizer.decode([token]).strip() for token in tokens] == list(LETTERS):  # and no unknown token
            return spelling
    raise PaperError(f"the letters {', '.join(LETTERS)} are no single tokens of {loaded.model}: ask it by an endpoint")


def _gathered(
    name: str, parameters: float, questions: Sequence[Question], said: Sequence[Answered], answerer: Answerer
) -> ModelAnswers:
    texts = [
        _first_line(one.text) if question.kind is Kind.OPEN else one.text.strip()
        for question, one in zip(questions, said, strict=True)
    ]
    grades = [grade(question, text) for question, text in zip(questions, texts, strict=True)]
    return ModelAnswers(
        model=name,
        parameters=parameters,
        data_set=questions[0].data_set,
        ids=tuple(question.id for question in questions),
        slices=tuple(question.slice for question in questions),
        prompts=tuple(question.prompt for question in questions),
        answers=tuple(texts),
        correct=np.array([float(one.correct) for one in grades]),
        abstained=np.array([one.abstained for one in grades]),
        p_t=np.array([one.p_t for one in said]),
        entropy=np.array([one.entropy for one in said]),
        tokens_in=np.array([float(one.tokens_in) for one in said]),
        tokens_out=np.array([float(one.tokens_out) for one in said]),
        latency_ms=np.array([one.latency_ms for one in said]),
        hidden=stored_shape(np.stack([one.hidden for one in said])),
        fingerprints=answerer.fingerprints,
    )


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
