"""What every store can hold of texts and whole numbers: one answer for files, requests, records and
rows.

JSON and Python can say more than a column of a database, or another language's reader, takes in.
One such value would fail a whole batch at its commit, so it is looked for where it comes in,
everywhere by the same rule.
"""

LARGEST_INTEGER = 2**63 - 1


def fault_of_text(text: str) -> str | None:
    """The cure for a text that no store can hold; None for one that all can.

    >>> fault_of_text("whole"), fault_of_text("half \\ud83d")
    (None, 'half of a surrogate pair is no character; send valid Unicode')
    """
    if "\0" in text:
        return "a text holds no NUL character; remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair is no character; send valid Unicode"
    return None
