"""The alarms' figures as the tables of docs/monitoring.md. Nothing is measured here.

python -m benchmarks.alarms.tables      writes benchmarks/results/alarms.json into the page
"""

import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.alarms.months import FAULTS, Fault

BEGIN, END = "<!-- alarms: begin -->", "<!-- alarms: end -->"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "monitoring.md"
RESULTS = ROOT / "benchmarks" / "results" / "alarms.json"
RIVALS = {"_z": "daily z-test", "_ph": "Page–Hinkley", "_evidently": "Evidently", "_nannyml": "NannyML"}
SIZES = {
    "1000 a day": "false_alarms",
    "10 000 a day": "false_alarms_10k",
    "1000 a day, 10 points less at weekends": "false_alarms_1k_week",
    "10 000 a day, 10 points less at weekends": "false_alarms_10k_week",
}
COLUMNS = ("decisions a day", "fault", "explored", "labelled", "the alarm", "daily looks")
Figures = Mapping[str, float | str | None]


def render(figures: Figures) -> str:
    """Both tables: false alarms, and hours until faults are heard."""
    return "\n".join(
        (
            f"{figures['months']} months on the limit at 1000 decisions a day, {figures['months_others']} of each other"
            f" kind, looked at hourly; allowed are both alarms together in {figures['alpha']:.0%}:",
            "",
            f"| months with a false alarm | the alarm | {' | '.join(RIVALS.values())} |",
            f"|{'---|' * (2 + len(RIVALS))}",
            *(
                f"| {of}, {size} | {' | '.join(_share(figures, f'{name}_{of}{who}') for who in ('', *RIVALS))} |"
                for of in ("savings", "risk")
                for size, name in SIZES.items()
            ),
            "",
            f"Hours from the fault until half of {figures['runs']} runs are heard (nine in ten); “–” where fewer are"
            " by the end:",
            "",
            f"| {' | '.join((*COLUMNS, *RIVALS.values()))} |",
            f"|{'---|' * (len(COLUMNS) + len(RIVALS))}",
            *(_row(figures, fault) for fault in FAULTS),
        )
    )


def _row(figures: Figures, fault: Fault) -> str:
    name, savings = f"delay_{fault.name}", fault.alarm == "savings"
    explored, labelled = ("", "") if savings else (f"{fault.exploration:.0%}", f"{fault.label_rate:.0%}")
    alarm = f"{_hours(figures, name)} ({_hours(figures, f'{name}_p90')})"
    daily = _hours(figures, f"{name}_daily") if f"{name}_daily" in figures else ""
    rivals = " | ".join(_hours(figures, f"{name}{who}") for who in RIVALS)
    harm = f"savings −{fault.points}" if savings else f"drop +{fault.points}"
    return f"| {fault.per_day:,} | {harm} | {explored} | {labelled} | {alarm} | {daily} | {rivals} |".replace(",", " ")


def _hours(figures: Figures, name: str) -> str:
    hours = figures.get(name)
    return "–" if hours is None else f"{float(hours):.0f}"


def _share(figures: Figures, name: str) -> str:
    share = figures.get(name)
    return "not asked" if share is None else f"{float(share):.1%}"


def main() -> None:
    """Put the tables between the page's two marks."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    tables = render(json.loads(RESULTS.read_text(encoding="utf-8"))["figures"])
    PAGE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
