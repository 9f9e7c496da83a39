"""The flat figures as Markdown: the paper's table with columns of our own. Nothing is measured
here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.paper.errors import PaperError
from benchmarks.paper.published import SETTINGS, SWEPT, Setting
from benchmarks.paper.reproduce import STANDS_IN, SWEPT_STAND_INS, TUNED, Value

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
NAMES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "accuracy_last": "last tier alone",
    "accuracy_drop": "drop",
    "mcnemar_p": "McNemar p",
    "savings": "compute saved",
    "gflops": "GFLOPs a question",
    "gflops_last": "of",
    "last_tokens_out": "last tier's output tokens",
    "hallucination": "hallucination",
    "macro_f1_p_ik": "macro-F1",
    "macro_f1_tuned": "tuned",
    "retained_share": "retained",
}
WAYS = {
    "with_p_ik": "P(IK) ≥ ½",
    "with_tuned_p_ik": "P(IK) ≥ tuned",
    "without_p_ik": "without P(IK)",
}
SIGNALS = ("accuracy", "auroc_p_t", "auroc_p_ik", "macro_f1_p_ik", "macro_f1_tuned", "tuned_p_ik", "probed_layer")


def render(figures: Mapping[str, Value]) -> str:
    """The whole generated part: settings, sweep, signals, and what could not be filled."""
    unfilled = str(figures["not_filled_nor_stood_in"]) or "none"
    lines = [
        "| setting | paper | its models, here | stand-ins, here |",
        "|---|---|---|---|",
        *(_row(figures, setting) for setting in SETTINGS),
        "",
        f"Measured on the paper's own models: {figures['settings_on_their_models']} of {figures['settings']} settings. "
        f"A stand-in was measured for {figures['settings_with_a_stand_in']}. Neither: {unfilled}.",
        "",
        "### P(T) from .50 to .95",
        "",
        *_sweep(figures),
        "",
        "### The signals",
        "",
        *_signals(figures),
    ]
    return "\n".join(lines)


def write_into(path: Path, figures: Mapping[str, Value]) -> None:
    """Puts the generated part between the page's two marks. Raises PaperError for a page without
    them.
    """
    page = path.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        raise PaperError(f"{path} has no marks {BEGIN} and {END}: add both where the table belongs")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{render(figures)}\n{END}{after}", encoding="utf-8")


def _row(figures: Mapping[str, Value], setting: Setting) -> str:
    names = list(setting.figures)
    shown = [name for name in names if name != "accuracy_drop"]
    if len(setting.chain) > 1 and "macro_f1_p_ik" not in names:
        shown = [
            "accuracy",
            "accuracy_last",
            "mcnemar_p",
            *(name for name in shown if name not in ("accuracy", "mcnemar_p")),
        ]
        shown += [] if "savings" in shown else ["savings"]
        shown += ["gflops", "gflops_last", "retained_share"]
    probes_only = "macro_f1_p_ik" in names
    keys = [f"{key}{way}" for key in STANDS_IN.get(setting.key, ()) for way in ("", "" if probes_only else TUNED)]
    shown += ["macro_f1_tuned"] if probes_only else []
    stands = [(key, _cell(figures, f"{setting.key}.{key}", shown)) for key in dict.fromkeys(keys)]
    stand_ins = "<br>".join(f"{key.replace(TUNED, ', tuned')}: {cell}" for key, cell in stands if cell) or "–"
    published = _cell(figures, f"{setting.key}.paper", names)
    return f"| {setting.title} | {published} | {_cell(figures, f'{setting.key}.same', shown) or '–'} | {stand_ins} |"


def _cell(figures: Mapping[str, Value], head: str, names: Sequence[str]) -> str:
    parts = []
    for name in names:
        value = figures.get(f"{head}.{name}")
        if isinstance(value, (int, float)):
            parts.append(f"{NAMES[name]} {_shown(name, value)}")
    return ", ".join(parts).replace(", of ", " of ")


def _shown(name: str, value: float) -> str:
    if name == "mcnemar_p":
        return f"{value:.2f}" if value >= 0.005 else "< .01"
    if name == "last_tokens_out":
        return f"{value:.2f}"
    if name.startswith("gflops"):
        return f"{value:.3g}"
    return f"{100 * value:.2f} %"


def _sweep(figures: Mapping[str, Value]) -> list[str]:
    ways = [
        (key, way) for key in SWEPT_STAND_INS for way in WAYS if f"sweep.{key}.{way}.{SWEPT[0]:.2f}.accuracy" in figures
    ]
    head = " | ".join(f"{key}, {WAYS[way]}: accuracy / saved" for key, way in ways)
    lines = [f"| P(T) ≥ | {head} |", "|---|" + "---|" * len(ways)]
    for threshold in SWEPT:
        cells = []
        for key, way in ways:
            at = f"sweep.{key}.{way}.{threshold:.2f}"
            cells.append(f"{_percent(figures.get(f'{at}.accuracy'))} / {_percent(figures.get(f'{at}.savings'))}")
        lines.append(f"| {threshold:.2f} | {' | '.join(cells)} |")
    return lines


def _signals(figures: Mapping[str, Value]) -> list[str]:
    lines = [
        "| first tier of | accuracy | AUROC P(T) | AUROC P(IK) | macro-F1 at ½ | macro-F1, tuned | tuned at | layer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    seen = set()
    for setting in SETTINGS:
        for source in ("same", *STANDS_IN.get(setting.key, ())):
            head = f"{setting.key}.{source}.tier0"
            name = setting.chain[0] if source == "same" else source
            if name in seen or f"{head}.accuracy" not in figures:
                continue
            seen.add(name)
            cells = []
            for signal in SIGNALS:
                value = figures.get(f"{head}.{signal}")
                cells.append("–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value))
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _percent(value: Value) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, (int, float)) else "–"
