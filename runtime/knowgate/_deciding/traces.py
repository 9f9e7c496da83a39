"""Which trace of the caller's a query is part of, as W3C Trace Context says it."""

import re

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


def trace_of(traceparent: str | None) -> tuple[str, str] | None:
    """The ids of the trace and of the caller's span; None where the header is none, or absent.

    >>> trace_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    ('0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331')
    >>> trace_of("00-00000000000000000000000000000000-b7ad6b7169203331-01")
    """
    match = None if traceparent is None else TRACEPARENT.fullmatch(traceparent.strip())
    return None if match is None else (match[1], match[2])
