"""The paper's settings measured: on its own models where their answers were gathered, on stand-ins
where some fit.

Figures are flat, `SETTING.SOURCE.FIGURE`. The source is `paper` (published), `same` (the paper's
models, measured here) or a stand-in's name. A setting without `same` is one that could not be
filled, and is named.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.paper.answer_files import ModelAnswers, read_answers
from benchmarks.paper.chain import TaughtChain, chain_of, teach_chain
from benchmarks.paper.experiment import ChainFigures, Rule, measure, sweep
from benchmarks.paper.published import SETTINGS, Setting
from benchmarks.paper.stand_ins import POPQA_MODEL, StandIn

Value = float | int | str | None
THREE_TIERS = ("arc_llama2_7b_13b_70b", "hellaswag_llama2_7b_13b_70b")
STANDS_IN: Mapping[str, tuple[str, ...]] = {  # setting → the stand-ins that are of its kind
    "llama_70b": ("mmlu_llama3_8b_70b",),
    "llama_8b_70b": ("demo",),
    "llama_3b_8b_70b": THREE_TIERS,
    "llama_8b_70b_without_p_ik": ("demo", "mmlu_llama3_8b_70b", "arc_llama3_8b_70b"),
    "llama_8b_70b_p_t_95": ("demo",),
    "llama_8b_70b_p_t_50": ("demo",),
    "llama_8b_70b_p_t_50_without_p_ik": ("demo", "mmlu_llama3_8b_70b", "arc_llama3_8b_70b"),
    "gpt_4o": ("mmlu_gpt35_gpt4",),
    "llama_70b_gpt_4o": ("hellaswag_llama3_70b_gpt4", "mmlu_gpt35_gpt4", "arc_gpt35_gpt4"),
    "popqa_70b": ("demo", POPQA_MODEL),
    "popqa_8b_70b": ("demo",),
    "gpqa_8b_70b": ("demo_unseen_families",),
    "p_ik_3b": ("demo", "hidden_qwen25_0.5b_7b"),
    "p_ik_8b": ("demo", "hidden_qwen25_1.5b_14b"),
}
TUNED = "_tuned_p_ik"  # ends the name of a source whose P(IK) threshold is its probe's own
SWEPT_STAND_INS = ("demo", "mmlu_llama3_8b_70b")


def reproduce(answers: Path | None, stand_ins: Iterable[StandIn]) -> dict[str, Value]:
    """Every figure of every setting that could be measured, beside the published ones."""
    measured = {one.key: one.taught for one in stand_ins}
    figures: dict[str, Value] = {}
    unfilled = []
    for setting in SETTINGS:
        figures |= {f"{setting.key}.paper.{name}": value for name, value in setting.figures.items()}
        same = None if answers is None else _on_its_models(answers, setting)
        if same is None:
            unfilled.append(setting.key)
        else:
            figures |= {f"{setting.key}.same.{name}": value for name, value in same.items()}
        for key in STANDS_IN.get(setting.key, ()):
            if key in measured:
                figures_of_setting = _of_setting(measured[key], setting)
                figures |= {f"{setting.key}.{key}.{name}": value for name, value in figures_of_setting.items()}
                figures |= _of_tuned(measured[key], setting, f"{setting.key}.{key}{TUNED}")
    for key in SWEPT_STAND_INS:
        if key in measured:
            figures |= sweep_figures(key, measured[key])
    standing = [setting.key for setting in SETTINGS if any(key in measured for key in STANDS_IN.get(setting.key, ()))]
    figures["settings"] = len(SETTINGS)
    figures["settings_on_their_models"] = len(SETTINGS) - len(unfilled)
    figures["settings_with_a_stand_in"] = len(standing)
    figures["not_filled"] = ", ".join(unfilled)
    figures["not_filled_nor_stood_in"] = ", ".join(key for key in unfilled if key not in standing)
    return figures


def sweep_figures(source: str, taught: TaughtChain) -> dict[str, Value]:
    """The sweep over P(T), flat: `sweep.SOURCE.WITH.THRESHOLD.FIGURE`."""
    figures: dict[str, Value] = {}
    for point in sweep(taught):
        head = f"sweep.{source}.{point.way}.{point.p_t:.2f}"
        figures[f"{head}.accuracy"], figures[f"{head}.savings"] = _known(point.accuracy), _known(point.savings)
    return figures


def taught_from_files(answers: Path, data_set: str, chain: Iterable[str], taught_on: str | None) -> TaughtChain | None:
    """The chain's gathered answers with their signals; None where a model's are missing, which is
    known.
    """
    asked = _gathered(answers, data_set, chain)
    teaching = None if taught_on is None else _gathered(answers, taught_on, chain)
    if asked is None or (taught_on is not None and teaching is None):
        return None
    return teach_chain(chain_of(asked), taught_on=None if teaching is None else chain_of(teaching))


def chain_figures(figures: ChainFigures) -> dict[str, Value]:
    """A chain's figures, flat; what is not known is left out."""
    values: dict[str, Value] = {"n": figures.n}
    for name in ChainFigures.__slots__:
        value = getattr(figures, name)
        if isinstance(value, float):
            values[name] = _known(value)
    for tier, one in enumerate(figures.tiers):
        for name in type(one).__slots__:
            value = getattr(one, name)
            if value is not None:
                values[f"tier{tier}.{name}"] = value if isinstance(value, int) else _known(value)
    if figures.tiers and figures.tiers[0].macro_f1_p_ik is not None:
        values["macro_f1_p_ik"] = _known(figures.tiers[0].macro_f1_p_ik)
        values["macro_f1_tuned"] = _known(figures.tiers[0].macro_f1_tuned)
    return values


def _on_its_models(answers: Path, setting: Setting) -> dict[str, Value] | None:
    if len(setting.chain) == 1:
        alone = read_answers(answers, setting.data_set, setting.chain[0])
        return None if alone is None else _alone(alone)
    taught = taught_from_files(answers, setting.data_set, setting.chain, setting.taught_on)
    return None if taught is None else _of_setting(taught, setting)


def _of_setting(taught: TaughtChain, setting: Setting) -> dict[str, Value]:
    if len(setting.chain) == 1:
        return _alone(taught.chain.tiers[-1])
    return chain_figures(measure(taught, Rule(p_t=setting.p_t, p_ik=setting.p_ik)))


def _of_tuned(taught: TaughtChain, setting: Setting, head: str) -> dict[str, Value]:
    """The same with each probe's own threshold, where the setting has P(IK) and there
    is a probe.
    """
    if len(setting.chain) == 1 or setting.p_ik is None or not any(taught.learned):
        return {}
    figures = chain_figures(measure(taught, Rule(p_t=setting.p_t, p_ik=setting.p_ik, tuned=True)))
    return {f"{head}.{name}": value for name, value in figures.items()}


def _alone(answers: ModelAnswers) -> dict[str, Value]:
    figures: dict[str, Value] = {
        "n": len(answers.ids),
        "accuracy": _known(float(answers.correct.mean())),
        "hallucination": _known(float(((1.0 - answers.correct) * ~answers.abstained).mean())),
    }
    if np.isfinite(answers.tokens_out).all():
        figures["last_tokens_out"] = _known(float(answers.tokens_out.mean()))
    return figures


def _gathered(answers: Path, data_set: str, chain: Iterable[str]) -> list[ModelAnswers] | None:
    gathered = list(_each(answers, data_set, chain))
    return None if None in gathered else [one for one in gathered if one is not None]


def _each(answers: Path, data_set: str, chain: Iterable[str]) -> Iterator[ModelAnswers | None]:
    for name in chain:
        one = read_answers(answers, data_set, name)
        if one is None:
            logging.getLogger(__name__).warning("%s on %s: not gathered yet", name, data_set)
        yield one


def _known(value: float | None) -> float | None:
    """Six digits: more would differ from machine to machine and say nothing."""
    return None if value is None else round(float(value), 6)
