"""What labels are bought for."""

from enum import StrEnum


class Aim(StrEnum):
    """The drop against the last tier, or the accuracy of what is retained."""

    DROP = "drop"
    ACCURACY = "accuracy"
