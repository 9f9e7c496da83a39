"""Evidence by counts: rows that count equally, X in {−1, 0, 1}, thinned to one rate where their
coins differed.

Its tests are exact: the unconditional score test for the drop, the binomial for the accuracy of
what is retained.
"""

from dataclasses import dataclass

import numpy as np

from evidence.bounds import binomial, exact_drop
from evidence.bounds.power import approximate_rows_for_drop, rows_needed_for_accuracy, rows_needed_for_drop
from evidence.certification.certificate import Basis, CertificationTest


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedRows:
    """The rows that are counted."""

    n: int
    assumed_wrong: int  # of those, kept ones without a known outcome, counted as the worst case
    thinned: bool = False  # they are what thinning left of a weighted sample


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedDrop:
    """The drop E[X], from how many rows have X = +1 (unknown ones among them) and X = −1."""

    rows: CountedRows
    plus: int
    minus: int

    @property
    def estimate(self) -> float:
        return (self.plus - self.minus) / self.rows.n

    def basis(self, _epsilon: float) -> Basis:
        test = CertificationTest.THINNED_DROP if self.rows.thinned else CertificationTest.EXACT_DROP
        return Basis(test=test, n=self.rows.n, assumed_wrong=self.rows.assumed_wrong)

    def testable(self, _epsilon: float, _delta: float) -> bool:
        return True

    def shown(self, epsilon: float, delta: float) -> bool:
        return exact_drop.drop_refuted(self.plus, self.minus, self.rows.n, epsilon, delta)

    def missed(self, epsilon: float, delta: float) -> bool:
        return exact_drop.drop_exceeds(self.plus, self.minus, self.rows.n, epsilon, delta)

    def lower_bound(self, delta: float) -> float:
        return exact_drop.drop_lower_bound(self.plus, self.minus, self.rows.n, delta)

    def upper_bound(self, delta: float) -> float:
        return exact_drop.drop_upper_bound(self.plus, self.minus, self.rows.n, delta)

    def rows_needed(self, epsilon: float, delta: float, *, exact: bool, power: float = 0.8) -> int | None:
        rows = rows_needed_for_drop if exact else approximate_rows_for_drop
        return rows(self.plus / self.rows.n, self.minus / self.rows.n, epsilon, delta, power)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedAccuracy:
    """The accuracy of what is retained, from how many retained rows are known to be right."""

    rows: CountedRows
    right: int
    retained: int

    @property
    def estimate(self) -> float | None:
        return self.right / self.retained if self.retained else None

    def basis(self, _at_least: float) -> Basis:
        test = CertificationTest.THINNED_BINOMIAL if self.rows.thinned else CertificationTest.EXACT_BINOMIAL
        return Basis(test=test, n=self.rows.n, assumed_wrong=self.rows.assumed_wrong)

    def testable(self, at_least: float, delta: float) -> bool:
        return self.retained >= binomial.retained_rows_to_start(at_least, delta)

    def shown(self, at_least: float, delta: float) -> bool:
        return self.retained > 0 and binomial.proportion_at_least(self.right, self.retained, at_least, delta)

    def missed(self, at_least: float, delta: float) -> bool:
        return self.upper_bound(delta) < at_least

    def lower_bound(self, delta: float) -> float:
        return binomial.proportion_lower_bound(self.right, self.retained, delta) if self.retained else 0.0

    def upper_bound(self, delta: float) -> float:
        return binomial.proportion_upper_bound(self.right, self.retained, delta) if self.retained else 1.0

    def rows_needed(self, at_least: float, delta: float, *, exact: bool, power: float = 0.8) -> int | None:
        if self.retained == 0:
            return None
        rows = rows_needed_for_accuracy(self.right / self.retained, at_least, delta, power)
        return None if rows is None else int(np.ceil(rows * self.rows.n / self.retained))
