"""Words for what the store has names for."""

from store.releases.bundles import BundleStatus
from store.releases.promotions import Outcome

# A challenger that was declined is no harm, and no error.
_MOVES = {
    Outcome.PROMOTED: "Promoted",
    Outcome.REFUSED: "Declined",
    Outcome.HELD_BACK: "Held back",
    Outcome.ROLLED_BACK: "Rolled back to",
    Outcome.STOPPED: "Stopped",
    Outcome.RESUMED: "Resumed",
    Outcome.OBSERVED: "Put back to be observed",
    Outcome.SHADOWED: "Tried in the shadow",
    Outcome.SHARED: "Tried on a share",
    Outcome.ABORTED: "Taken back",
    Outcome.FELL_BACK: "Fell back to",
}


# A bundle that was declined is "refused" in the store.
_STATUSES = {BundleStatus.REFUSED: "declined"}


def status_word(status: BundleStatus) -> str:
    """What a bundle that does not decide now is.

    >>> status_word(BundleStatus.REFUSED), status_word(BundleStatus.SAVES_NOTHING)
    ('declined', 'saves nothing')
    """
    return _STATUSES.get(status, status.value.replace("_", " "))


def move_word(outcome: Outcome) -> str:
    """What a move of what is in force is called.

    >>> move_word(Outcome.REFUSED)
    'Declined'
    """
    return _MOVES.get(outcome, str(outcome).replace("_", " ").capitalize())
