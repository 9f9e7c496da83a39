"""All tables, one file per aggregate."""

from store.tables.alert import AlertActRow, AlertRow, DeliveryRow, DeliveryTryRow, RingRow
from store.tables.assignment import AcknowledgementRow, AssignmentHistoryRow, AssignmentRow
from store.tables.attempt import AttemptRow
from store.tables.base import Base
from store.tables.bundle import BundleRow
from store.tables.cascade import CascadeActRow, CascadeRow, CascadeVersionRow
from store.tables.certification import CertificationRow
from store.tables.day_file import DayFileRow
from store.tables.decision import DecisionRow, FingerprintRow
from store.tables.disclosure import DisclosureRow, ServiceStartRow
from store.tables.grader import GraderErrorRow, GraderRow
from store.tables.job_run import JobRunRow
from store.tables.job_tick import JobTickRow
from store.tables.label import KnownCountRow, KnownHourRow, LabelRow, WaitingLabelRow
from store.tables.ledger import LedgerBatchRow, LedgerLeafRow
from store.tables.monitoring import AlarmStateRow, CohortFigureRow, DriftReportRow, FigureDayRow, SummedDayRow
from store.tables.outbox import OutboxRow
from store.tables.promotion import PromotionRow
from store.tables.season import SeasonRow
from store.tables.token import SignInRow, TokenRow
from store.tables.vector import VectorPlaceRow, VectorShardRow
from store.tables.verification import VerificationRow

__all__ = [
    "AcknowledgementRow",
    "AlarmStateRow",
    "AlertActRow",
    "AlertRow",
    "AssignmentHistoryRow",
    "AssignmentRow",
    "AttemptRow",
    "Base",
    "BundleRow",
    "CascadeActRow",
    "CascadeRow",
    "CascadeVersionRow",
    "CertificationRow",
    "CohortFigureRow",
    "DayFileRow",
    "DecisionRow",
    "DeliveryRow",
    "DeliveryTryRow",
    "DisclosureRow",
    "DriftReportRow",
    "FigureDayRow",
    "FingerprintRow",
    "GraderErrorRow",
    "GraderRow",
    "JobRunRow",
    "JobTickRow",
    "KnownCountRow",
    "KnownHourRow",
    "LabelRow",
    "LedgerBatchRow",
    "LedgerLeafRow",
    "OutboxRow",
    "PromotionRow",
    "RingRow",
    "SeasonRow",
    "ServiceStartRow",
    "SignInRow",
    "SummedDayRow",
    "TokenRow",
    "VectorPlaceRow",
    "VectorShardRow",
    "VerificationRow",
    "WaitingLabelRow",
]
