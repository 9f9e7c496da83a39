"""Errors stay whole on their way from a worker process."""

import copy
import pickle

import pytest

from knowgate.errors import (
    BackendFailed,
    Failure,
    KnowgateError,
    NoAnswer,
    RecordInvalid,
    ServiceUnreachable,
    SigningUnavailable,
)


@pytest.mark.parametrize(
    "error",
    [
        RecordInvalid("p_t", 1.7, "give a probability"),
        BackendFailed("gone", Failure.BROKEN, retry_after_s=1.0),
        NoAnswer("none", None),
        SigningUnavailable(),
        ServiceUnreachable("away", status=503),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_copy_says_and_holds_the_same(error: KnowgateError) -> None:
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_an_answer_that_failed_still_names_what_failed() -> None:
    again = pickle.loads(pickle.dumps(NoAnswer("none", BackendFailed("late", Failure.TIMEOUT))))
    assert again.failed is not None and again.failed.failure is Failure.TIMEOUT
