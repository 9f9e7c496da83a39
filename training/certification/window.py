"""Which of the rows that were read certify: those of the last W periods
(`evidence.certification.rolling`), never from before the last risk alarm.

How many rows count in a period decides W; no label does.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from evidence.certification.rolling import certifying_window
from knowgate._records.arrays import BoolArray
from knowgate._records.records import Window
from training.certification.outcomes import testable
from training.rows.dataset import CascadeRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """The decision time whose rows were read, in periods that end with it."""

    read: Window
    every: timedelta
    alarm: datetime | None = None  # the last one had read so far

    def certifying(self, rows: CascadeRows, which: BoolArray) -> float:
        """When the window begins whose rows among `which` [n] certify, in seconds since 1970;
        infinite where none do.
        """
        earliest = self.read.start if self.alarm is None else max(self.read.start, self.alarm)
        end = self.read.end.timestamp()
        chosen = rows.take(which & (rows.seconds >= earliest.timestamp()))
        known = testable(chosen)
        count = -((earliest - self.read.end) // self.every)
        if known is None or count <= 0:
            return float(np.inf) if count <= 0 else earliest.timestamp()
        age = ((end - chosen.seconds[known.tested]) / self.every.total_seconds()).astype(np.int64)
        counting = np.bincount(np.minimum(age, count - 1), minlength=count).tolist()
        window = certifying_window(self.read.end, self.every, counting, not_before=earliest)
        return float(np.inf) if window is None else window.start.timestamp()
