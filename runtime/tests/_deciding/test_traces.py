"""The caller's trace is taken where the header is one of W3C Trace Context, else left out."""

import pytest

from knowgate._deciding.traces import trace_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "header",
    [f"00-{TRACE}-{SPAN}-01", f" 00-{TRACE}-{SPAN}-00 ", f"cc-{TRACE}-{SPAN}-01-what-comes-later"],
)
def test_a_header_names_trace_and_span(header: str) -> None:
    assert trace_of(header) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "of my own",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01x",
    ],
)
def test_what_is_no_such_header_names_nothing(header: str | None) -> None:
    assert trace_of(header) is None
