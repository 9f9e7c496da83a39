"""Figures of many draws as flat means with their standard errors over the draws."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

DIGITS = 6  # more would differ from machine to machine and say nothing


class Means:
    """Gathers a value per draw and name."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, head: str, figures: Iterable[tuple[str, float]]) -> None:
        """Values of one draw; what is unknown in it is left out."""
        for name, value in figures:
            if np.isfinite(value):
                self._values[f"{head}.{name}"].append(float(value))

    def flat(self) -> dict[str, float | int | str | None]:
        """`NAME` and `NAME.se` of every name; the error is None of a single draw."""
        figures: dict[str, float | int | str | None] = {}
        for name, values in self._values.items():
            figures[name] = round(float(np.mean(values)), DIGITS)
            error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
            figures[f"{name}.se"] = None if error is None else round(error, DIGITS)
        return figures
