"""What was played back as the tables of docs/monitoring.md. Nothing is measured here.

python -m benchmarks.playback.tables      writes benchmarks/results/playback.json into the page
"""

import json
from collections.abc import Mapping
from pathlib import Path

from monitoring.names import Rule
from monitoring.words import percent, points

BEGIN, END = "<!-- playback: begin -->", "<!-- playback: end -->"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "monitoring.md"
RESULTS = ROOT / "benchmarks" / "results" / "playback.json"
WORLDS = {
    "mmlu": "MMLU, Llama-3 8B → 70B, by P(T): humanities, then science and engineering",
    "qwen": "Qwen2.5 1.5B → 14B, by P(IK): statements judged honestly, then under an instruction to lie",
}
Figures = Mapping[str, float | str | None]


def render(figures: Figures) -> str:
    """A table per world, with what really happened above it and what stayed silent below."""
    return "\n\n".join(_world(figures, name, about) for name, about in WORLDS.items())


def _world(figures: Figures, name: str, about: str) -> str:
    days = {rule: figures.get(f"{name}.{rule}.days") for rule in Rule}
    heard = sorted((float(day), rule) for rule, day in days.items() if day is not None)
    rows = [f"| {_days(day)} | `{rule}` | {figures[f'{name}.{rule}.cause']} |" for day, rule in heard]
    silent = ", ".join(f"`{rule}`" for rule in str(figures[f"{name}.silent"]).split(", "))
    return "\n".join(
        (
            f"**{about}.** {_truth(figures, name)} Alerts before the shift: {figures[f'{name}.rang_before']:.0f}.",
            "",
            "| days after the shift | first alert of | cause |",
            "|---|---|---|",
            *(rows or ["| | none | |"]),
            "",
            f"Silent: {silent}.",
        )
    )


def _truth(figures: Figures, name: str) -> str:
    def moved(figure: str) -> tuple[float, float]:
        before, after = (float(figures[f"{name}.{figure}_{half}"] or 0.0) for half in ("before", "after"))
        return before, after

    kept, lost, saved = moved("kept"), moved("accuracy_lost"), moved("savings")
    return (
        f"In truth answers kept went from {percent(kept[0])} to {percent(kept[1])}, accuracy lost from"
        f" {points(lost[0])} to {points(lost[1])} points, savings from {percent(saved[0])} to {percent(saved[1])}"
        " (the three days before the shift, and all of the time after it)."
    )


def _days(day: float) -> str:
    return f"{day:.1f}".removesuffix(".0")


def main() -> None:
    """Put the tables between the page's two marks."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    tables = render(json.loads(RESULTS.read_text(encoding="utf-8"))["figures"])
    PAGE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
