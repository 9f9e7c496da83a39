"""The long tables of a cascade: every slice, and every figure there is."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from knowgate._records.records import Window
from knowgate.spec import CascadeSpec
from services.pages.cascades.promise import figure_of
from services.pages.cascades.ranges import Range
from services.pages.cascades.series import a_day
from services.pages.figures_shown import Shown, newest, shown, shown_mean, title_of
from store.watching.figure_means import FigureMean, Wanted, joined, slice_means
from store.watching.figures import FigureRow, latest_windows

LONGEST = timedelta(days=30)  # the most that the table of slices looks back
_SUMMED = ("queries", "saved_usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLine:
    """One slice over the range."""

    name: str
    figures: tuple[Shown, ...]
    order: tuple[float | None, ...]  # what each is sorted by


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """All of them."""

    titles: tuple[str, ...]
    lines: tuple[SliceLine, ...]
    days: float  # that were looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLine:
    """The newest value of one figure of the cascade, or of one of its tiers."""

    of: str
    figure: Shown


def slices_of(session: Session, spec: CascadeSpec, chosen: Range) -> Slices:
    """Every slice over the range, of a longer one over its last days."""
    names = ("queries", "retained_share", "savings_usd", "saved_usd", figure_of(spec).value)
    window = Window(start=max(chosen.window.start, chosen.window.end - LONGEST), end=chosen.window.end)
    wanted = Wanted(cascade=spec.name, names=names, window=window, summed=_SUMMED)
    parts: dict[tuple[str, str], list[FigureMean]] = {}
    for row in slice_means(session, wanted):
        parts.setdefault((row.slice or "", row.name), []).append(row)
    days = (window.end - window.start) / timedelta(days=1)
    seen = [name for name in names if any(key[1] == name for key in parts)]
    lines = []
    for of in sorted({key[0] for key in parts}):
        means = [_one(parts.get((of, name), []), name, days) for name in seen]
        figures = tuple(shown_mean(mean, name) for mean, name in zip(means, seen, strict=True))
        lines.append(
            SliceLine(name=of, figures=figures, order=tuple(None if mean is None else mean.value for mean in means))
        )
    titles = tuple("Saved a day" if name == "saved_usd" else title_of(name) for name in seen)
    return Slices(titles=titles, lines=tuple(lines), days=days)


def _one(rows: list[FigureMean], name: str, days: float) -> FigureMean | None:
    """Of what is mature and what is not yet, together: they share windows, so the larger part."""
    if not rows:
        return None
    best = max(rows, key=lambda row: (row.value is not None, row.n, row.mature))
    whole = joined([best], summed=name in _SUMMED)
    return a_day(whole, days) if whole is not None and name == "saved_usd" else whole


def figures_of(session: Session, spec: CascadeSpec) -> tuple[TableLine, ...]:
    """The newest value of every figure that is stored, those of the cascade first."""
    rows = latest_windows(session, spec.name)
    by_key: dict[tuple[int, str], list[FigureRow]] = {}
    for row in rows:
        by_key.setdefault((-1 if row.tier is None else row.tier, row.name), []).append(row)
    return tuple(
        TableLine(of=_of(spec, tier), figure=shown(newest(by_key[tier, name], name), name))
        for tier, name in sorted(by_key)
    )


def _of(spec: CascadeSpec, tier: int) -> str:
    return "the cascade" if tier < 0 else spec.tiers[tier].name if tier <= spec.last else f"tier {tier}"
