"""The flat figures as Markdown. Nothing is measured here."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.real_llm.asked.facts import Kind
from benchmarks.real_llm.asked.forms import Form
from benchmarks.real_llm.errors import RealModelError
from benchmarks.real_llm.judged.popqa_report import GROUPS
from benchmarks.real_llm.judged.prices import Pricing
from benchmarks.real_llm.judged.report import EPSILONS, PER_KIND, UNTAUGHT_WAYS
from benchmarks.real_llm.judged.ways import WAYS

Value = float | int | str | None
Figures = Mapping[str, Value]
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
UNKNOWN = "–"
FORMS = {Form.SHORT: "short answers", Form.SENTENCE: "answers in a sentence"}
SIGNALS = {
    "p_t_first": "P(T), first token",
    "p_t_mean": "P(T), mean",
    "p_ik": "P(IK)",
    "score": "score, with the slice",
    "score_without_slice": "score, without",
}
PRICINGS = {
    Pricing.SEARCH: "a search has its price",
    Pricing.PROCESSOR: "processor seconds alone",
}
POPQA_SIGNALS = {**SIGNALS, "popularity": "popularity (no signal of a cascade)"}


def render(figures: Figures) -> str:
    """The whole generated part of the page."""
    if "popqa.n" not in figures:
        return "\n".join(_facts(figures))
    page = ["### PopQA", "", *_popqa(figures)]
    return "\n".join([*page, "", *_facts(figures)] if f"{Form.SHORT}.n" in figures else page)


def _facts(figures: Figures) -> list[str]:
    lines = ["### What was recorded", "", *_recorded(figures)]
    for form, title in FORMS.items():
        lines += ["", f"### Certified: {title}", ""]
        for pricing in PRICINGS:
            lines += [*_certified(figures, form, pricing), ""]
        lines += [f"### Signals: {title}", "", *_signals(figures, form)]
        lines += ["", f"### Per kind of question: {title}", "", *_kinds(figures, form)]
        lines += ["", f"### A kind that taught nothing: {title}", "", *_untaught(figures, form)]
    return lines


def write_into(path: Path, figures: Figures) -> None:
    """Puts the generated part between the page's two marks. Raises RealModelError for a page
    without them.
    """
    page = path.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        raise RealModelError(f"{path} has no marks {BEGIN} and {END}: add both where the tables belong")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{render(figures)}\n{END}{after}", encoding="utf-8")


def _recorded(figures: Figures) -> list[str]:
    rows = []
    for form, title in FORMS.items():
        for tier, book in enumerate(("closed book", "open book")):
            head = f"{form}.tier{tier}"
            rows.append(
                [
                    f"{title}, {book}",
                    _whole(figures, f"{form}.n"),
                    _share(figures, f"{head}.accuracy"),
                    f"{_number(figures, f'{head}.tokens_in', 1)} / {_number(figures, f'{head}.tokens_out', 1)}",
                    _number(figures, f"{head}.prompt_s", 3) if tier == 0 else UNKNOWN,
                    _number(figures, f"{head}.answer_s", 3),
                    _whole(figures, f"{form}.layer") if tier == 0 else UNKNOWN,
                ]
            )
    return _table(
        ["", "questions", "right", "tokens read / written", "s of the prompt", "s of the answer", "probed layer"], rows
    )


def _certified(figures: Figures, form: str, pricing: Pricing) -> list[str]:
    rows = []
    for way in WAYS:
        cells = [way.title]
        for epsilon in EPSILONS:
            head = f"{form}.{pricing}.{epsilon}.{way.name}"
            cells += [
                _number(figures, f"{head}.certified", 2),
                _with_error(figures, f"{head}.retained"),
                _with_error(figures, f"{head}.drop"),
                _with_error(figures, f"{head}.savings"),
            ]
        rows.append(cells)
    columns = [f"{name}, ε = {epsilon}" for epsilon in EPSILONS for name in ("certified", "kept", "drop", "saved")]
    return _table([PRICINGS[pricing], *columns], rows)


def _signals(figures: Figures, form: str) -> list[str]:
    rows = [
        [
            title,
            _with_error(figures, f"{form}.signal.{name}"),
            _with_error(figures, f"{form}.signal.gain.{name}.auroc"),
            _with_error(figures, f"{form}.signal.gain.{name}.within_slices"),
            _with_error(figures, f"{form}.signal.gain.{name}.share"),
        ]
        for name, title in SIGNALS.items()
    ]
    return _table(["", "AUROC", "over mean P(T)", "within slices", "share at as many wrong"], rows)


def _kinds(figures: Figures, form: str) -> list[str]:
    pricing, epsilon = PER_KIND
    rows = []
    for kind in Kind:
        head = f"{form}.signal.{kind}"
        score, p_t = figures.get(f"{head}.score"), figures.get(f"{head}.p_t_mean")
        added = f"{score - p_t:+.3f}" if isinstance(score, float) and isinstance(p_t, float) else UNKNOWN
        kept = f"{form}.{pricing}.{epsilon}.score.{kind}"
        rows.append(
            [
                f"`{kind}`",
                _whole(figures, f"{form}.kind.{kind}.n"),
                _share(figures, f"{form}.kind.{kind}.accuracy0"),
                _share(figures, f"{form}.kind.{kind}.accuracy1"),
                *(_number(figures, f"{head}.{name}", 3) for name in ("p_t_mean", "p_ik", "untaught.p_ik", "score")),
                added,
                _number(figures, f"{kept}.retained", 3),
                _number(figures, f"{kept}.drop", 3),
            ]
        )
    columns = ["questions", "right, closed", "open", "AUROC: mean P(T)", "P(IK)", "untaught", "score", "score adds"]
    return _table(["", *columns, f"kept by the score, ε = {epsilon}", "drop"], rows)


def _untaught(figures: Figures, form: str) -> list[str]:
    rows = []
    for kind in Kind:
        cells = [f"`{kind}`"]
        for way in UNTAUGHT_WAYS:
            head = f"{form}.untaught.{kind}.{way.name}"
            cells += [
                f"{_number(figures, f'{head}.retained', 3)} / {_number(figures, f'{head}.drop', 3)}",
                f"{_number(figures, f'{head}.{kind}.retained', 3)} / {_number(figures, f'{head}.{kind}.drop', 3)}",
            ]
        rows.append(cells)
    columns = [f"{way.title}: {of}" for way in UNTAUGHT_WAYS for of in ("kept / drop", "of this kind")]
    return _table(["taught nothing", *columns], rows)


def _popqa(figures: Figures) -> list[str]:
    said = [
        f"{_whole(figures, 'popqa.n')} questions: right {_share(figures, 'popqa.accuracy')}, "
        f"hallucinated {_share(figures, 'popqa.hallucination')}, "
        f"abstained {_share(figures, 'popqa.abstained')}; macro-F1 of P(IK) at ½ "
        f"{_with_error(figures, 'popqa.macro_f1_p_ik')}, layer {_whole(figures, 'popqa.layer')}.",
        f"The prompt up to that layer took {_number(figures, 'popqa.prompt_s', 3)} s of processor time, prompt and "
        f"answer {_number(figures, 'popqa.answer_s', 3)} s.",
        "",
        f"Over the mean P(T), P(IK) adds {_with_error(figures, 'popqa.gain.auroc')} of AUROC; between questions of one "
        f"relation {_with_error(figures, 'popqa.gain.within_slices')}.",
        "",
    ]
    groups = [
        [
            f"up to {_whole(figures, f'popqa.popularity{group}.up_to')}",
            _whole(figures, f"popqa.popularity{group}.n"),
            _share(figures, f"popqa.popularity{group}.accuracy"),
            _share(figures, f"popqa.popularity{group}.hallucination"),
        ]
        for group in range(1, GROUPS + 1)
    ]
    signals = [
        [title, _with_error(figures, f"popqa.signal.{name}")]
        for name, title in POPQA_SIGNALS.items()
        if f"popqa.signal.{name}" in figures
    ]
    return [
        *said,
        *_table(["page views of the subject a month", "questions", "right", "hallucinated"], groups),
        "",
        *_table(["", "AUROC"], signals),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _whole(figures: Figures, name: str) -> str:
    value = figures.get(name)
    return f"{value:.0f}" if isinstance(value, (int, float)) else UNKNOWN


def _number(figures: Figures, name: str, digits: int) -> str:
    value = figures.get(name)
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) else UNKNOWN


def _share(figures: Figures, name: str) -> str:
    value = figures.get(name)
    return f"{100 * value:.1f} %" if isinstance(value, (int, float)) else UNKNOWN


def _with_error(figures: Figures, name: str) -> str:
    """The mean and its standard error over the draws."""
    value, error = figures.get(name), figures.get(f"{name}.se")
    if not isinstance(value, (int, float)):
        return UNKNOWN
    return f"{value:.3f} ± {error:.3f}" if isinstance(error, (int, float)) else f"{value:.3f}"
