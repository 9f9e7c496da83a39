"""Which rows teach and which certify: by time and by prompt, all rows of one prompt on one side.

Decisions:
- Every prompt stands at the time of one of its rows, drawn by a keyed hash. A prompt asked once is
  therefore split strictly by time; one asked often lands in the recent part with the share of its
  rows that lie there, so that popular prompts are neither over- nor under-represented among the
  rows that certify.
- The recent half of the window certifies with three prompts in four: a certificate should speak of
  what is asked now. The other prompts teach, so that new traffic reaches the probe too. Over the
  whole window: certification 37.5 %, fit 37.5 %, validation 12.5 %, calibration 12.5 %.
- Parts are drawn by keyed hash: the same rows give the same split, in whatever order they come.
- Rows of one prompt are not independent of each other. Whole prompts are drawn, so `Split.prompts`
  says how many there are; where few prompts make most of the rows, that number and not the row
  count is the sample's size.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from knowgate._records.arrays import BoolArray
from training.errors import TrainingRefused


class Part(StrEnum):
    FIT = "fit"  # the probe's weights, the features' scale, the OOD statistics
    VALIDATION = "validation"  # when to stop, which layer, the score's weights
    CALIBRATION = "calibration"  # calibrators, the OOD reference, the path of candidates
    CERTIFICATION = "certification"  # looked at once, after everything else is fixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportions:
    """How much of the window each part gets."""

    recent: float = 0.5  # the last share of the rows, by time
    certification_of_recent: float = 0.75  # of the prompts standing there
    fit: float = 0.6  # of the prompts that teach
    validation: float = 0.2  # likewise; calibration gets the rest

    def __post_init__(self) -> None:
        for name in ("recent", "certification_of_recent", "fit", "validation"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise TrainingRefused(f"{name} is {getattr(self, name)}: give a share in (0, 1]")
        if not self.fit + self.validation < 1.0:
            raise TrainingRefused(f"fit + validation is {self.fit + self.validation}: leave some to calibration")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """The part of each row, and how many prompts each part holds."""

    parts: npt.NDArray[np.str_]  # [n]
    prompts: dict[str, int]  # part -> distinct prompts

    def rows(self, *parts: Part) -> BoolArray:
        """[n] whether each row belongs to one of these parts."""
        return np.isin(self.parts, [str(part) for part in parts])


def split_rows(
    ids: Sequence[str],
    seconds: npt.NDArray[np.float64],
    prompt_hashes: Sequence[str | None],
    proportions: Proportions,
) -> Split:
    """Split n decisions.

    `ids` are the decisions' ids, `seconds` their times, `prompt_hashes` None where prompts are not
    told apart (each decision then counts as a prompt of its own). Raises TrainingRefused for
    lengths that differ or an id met twice.
    """
    if not len(ids) == len(seconds) == len(prompt_hashes):
        raise TrainingRefused(f"{len(ids)} ids, {len(seconds)} times, {len(prompt_hashes)} prompts: give one of each")
    if len(set(ids)) != len(ids):
        raise TrainingRefused("ids hold a decision twice: give one row per decision")
    prompts = [f"decision:{ids[row]}" if name is None else f"prompt:{name}" for row, name in enumerate(prompt_hashes)]
    rows_of: dict[str, list[int]] = {}
    for row in sorted(range(len(ids)), key=lambda row: (seconds[row], ids[row])):
        rows_of.setdefault(prompts[row], []).append(row)
    cut = float(np.quantile(seconds, 1.0 - proportions.recent)) if len(ids) else 0.0
    parts = np.empty(len(ids), dtype="<U13")
    counts = {str(part): 0 for part in Part}
    for prompt, rows in rows_of.items():
        stands_at = seconds[rows[int(_unit("stand", prompt) * len(rows))]]
        part = _part(prompt, stands_at >= cut, proportions)
        parts[rows] = str(part)
        counts[str(part)] += 1
    return Split(parts=parts, prompts=counts)


def _part(prompt: str, recent: bool, proportions: Proportions) -> Part:
    if recent and _unit("certify", prompt) < proportions.certification_of_recent:
        return Part.CERTIFICATION
    place = _unit("teach", prompt)
    if place < proportions.fit:
        return Part.FIT
    return Part.VALIDATION if place < proportions.fit + proportions.validation else Part.CALIBRATION


def _unit(purpose: str, prompt: str) -> float:
    """A number in [0, 1) that depends on the prompt and the purpose alone."""
    digest = hashlib.blake2b(prompt.encode(), key=f"knowgate.split.{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
