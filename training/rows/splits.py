"""Which rows teach and which certify: by a window of time and by prompt, no prompt on both sides.

Decisions:
- Half of the prompts, drawn by a keyed hash of the prompt alone, certify with their rows in the
  window that certifies (`training.certification.window` says how long it is). They are the same
  ones in every period, so that no row teaches while it may still certify.
- Rows from before that window teach, of whatever prompt: what a certificate speaks of is asked now.
  Only where a prompt certifies now do its older rows neither teach nor certify (`LEFT_OUT`).
- The other half of the window teaches too, so that new traffic reaches the probe.
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
    LEFT_OUT = "left_out"  # from before the window that certifies, of prompts that certify in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportions:
    """How many of the prompts each part gets."""

    certification: float = 0.5  # of the prompts, in the window that certifies
    fit: float = 0.6  # of the prompts that teach
    validation: float = 0.2  # likewise; calibration gets the rest

    def __post_init__(self) -> None:
        for name in ("certification", "fit", "validation"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise TrainingRefused(f"{name} is {getattr(self, name)}: give a share in (0, 1]")
        if not self.fit + self.validation < 1.0:
            raise TrainingRefused(f"fit + validation is {self.fit + self.validation}: leave some to calibration")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """The part of each row, and how many prompts each part holds."""

    parts: npt.NDArray[np.str_]  # [n]
    prompts: dict[str, int]  # part -> distinct prompts
    since: float = -np.inf  # seconds since 1970: when the window that certifies begins

    def rows(self, *parts: Part) -> BoolArray:
        """[n] whether each row belongs to one of these parts."""
        return np.isin(self.parts, [str(part) for part in parts])


def certifying(ids: Sequence[str], prompt_hashes: Sequence[str | None], proportions: Proportions) -> BoolArray:
    """[n] whether each decision is of a prompt that certifies while it is in the window.

    Arguments and errors are those of `split_rows`.
    """
    shares = [_unit("certify", prompt) for prompt in _prompts(ids, prompt_hashes)]
    return np.asarray(np.array(shares) < proportions.certification, dtype=np.bool_)


def split_rows(
    ids: Sequence[str],
    seconds: npt.NDArray[np.float64],
    prompt_hashes: Sequence[str | None],
    proportions: Proportions,
    *,
    since: float = -np.inf,
    reserved: bool = False,
) -> Split:
    """Split n decisions.

    `ids` are the decisions' ids, `seconds` their times, `prompt_hashes` None where prompts are not
    known (each decision then counts as a prompt of its own), `since` the time at which the
    window that certifies begins. Where prompts are `reserved`, those that may certify never teach,
    so that their rows of a later time can certify too. Raises TrainingRefused for lengths that
    differ or an id met twice.
    """
    if not len(ids) == len(seconds) == len(prompt_hashes):
        raise TrainingRefused(f"{len(ids)} ids, {len(seconds)} times, {len(prompt_hashes)} prompts: give one of each")
    prompts = np.array(_prompts(ids, prompt_hashes), dtype=np.object_)
    certifies, recent = certifying(ids, prompt_hashes, proportions), np.asarray(seconds) >= since
    now = certifies if reserved else _of_prompts_of(prompts, certifies & recent)
    parts = np.array([str(_teaching(prompt, proportions)) for prompt in prompts], dtype="<U13")
    parts[now] = np.where(recent[now], str(Part.CERTIFICATION), str(Part.LEFT_OUT))
    return Split(parts=parts, prompts=_counted(prompts, parts), since=since)


def taught_before(
    ids: Sequence[str],
    seconds: npt.NDArray[np.float64],
    prompt_hashes: Sequence[str | None],
    proportions: Proportions,
    *,
    read: tuple[float, float],
    since: float,
) -> BoolArray:
    """[n] whether each decision is of a prompt that taught an earlier attempt, as far as these rows
    tell.

    That attempt had `read` the decisions from one time to another, and its window that certifies
    began at `since`, all in seconds since 1970. Other arguments and errors are those of
    `split_rows`.
    """
    prompts = np.array(_prompts(ids, prompt_hashes), dtype=np.object_)
    was_read = (seconds >= read[0]) & (seconds < read[1])
    certified = certifying(ids, prompt_hashes, proportions) & was_read & (seconds >= since)
    return _of_prompts_of(prompts, was_read & ~_of_prompts_of(prompts, certified))


def split_untaught(ids: Sequence[str], prompt_hashes: Sequence[str | None], certifies: BoolArray) -> Split:
    """The split of n decisions of which the chosen ones certify and none teaches."""
    prompts = np.array(_prompts(ids, prompt_hashes), dtype=np.object_)
    parts = np.where(certifies, str(Part.CERTIFICATION), str(Part.LEFT_OUT))
    return Split(parts=parts, prompts=_counted(prompts, parts))


def _of_prompts_of(prompts: npt.NDArray[np.object_], chosen: BoolArray) -> BoolArray:
    """[n] whether each row is of a prompt that some chosen row is of.

    By a set: of texts as objects `numpy.isin` compares each row with each prompt.
    """
    names = set(prompts[chosen].tolist())
    return np.array([prompt in names for prompt in prompts.tolist()], dtype=np.bool_)


def _counted(prompts: npt.NDArray[np.object_], parts: npt.NDArray[np.str_]) -> dict[str, int]:
    return {str(part): len(set(prompts[parts == str(part)])) for part in Part}


def _prompts(ids: Sequence[str], prompt_hashes: Sequence[str | None]) -> list[str]:
    """What names the prompt of each decision."""
    if len(set(ids)) != len(ids):
        raise TrainingRefused("ids hold a decision twice: give one row per decision")
    return [
        f"decision:{own}" if name is None else f"prompt:{name}" for own, name in zip(ids, prompt_hashes, strict=True)
    ]


def _teaching(prompt: str, proportions: Proportions) -> Part:
    place = _unit("teach", prompt)
    if place < proportions.fit:
        return Part.FIT
    return Part.VALIDATION if place < proportions.fit + proportions.validation else Part.CALIBRATION


def _unit(purpose: str, prompt: str) -> float:
    """A number in [0, 1) that depends on the prompt and the purpose alone."""
    digest = hashlib.blake2b(prompt.encode(), key=f"knowgate.split.{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
