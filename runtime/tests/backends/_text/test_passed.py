"""What is read of an answer that is passed on as it is."""

import json

import pytest

from knowgate.backends._text.passed import LARGEST_EVENT, Events, Reading


def whole(document: object) -> Reading:
    reading = Reading()
    reading.document(json.dumps(document).encode())
    return reading


def streamed(*events: str) -> Reading:
    reading = Reading()
    for event in events:
        reading.event(f"data: {event}\n\n".encode())
    return reading


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
def test_events_are_cut_at_their_ends_whatever_pieces_they_come_in(size: int, end: str) -> None:
    stream = "".join(f"{line}{end}" for line in ("data: a", ": comment", "event: x\ndata: b")) + "data: rest"
    content, events = stream.encode(), Events()
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    cut = [event for piece in pieces for event in events.feed(piece)]
    assert b"".join(cut) + events.rest() == content
    assert len(cut) == 3 and all(event.endswith(end.encode()) for event in cut)


def test_an_event_without_an_end_is_passed_on_before_it_fills_the_memory() -> None:
    events = Events()
    assert [*events.feed(b"x" * (LARGEST_EVENT + 1))] == [b"x" * (LARGEST_EVENT + 1)]
    assert events.rest() == b""


@pytest.mark.parametrize(
    "document",
    [
        {
            "choices": [{"message": {"content": "Lima"}}, {"message": {"content": "Quito"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        },
        {"choices": [{"text": "Lima"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        {
            "output": [{"type": "reasoning"}, {"content": [{"type": "output_text", "text": "Lima"}]}],
            "usage": {"input_tokens": 3, "output_tokens": 1},
        },
    ],
)
def test_the_first_answer_and_what_it_took_are_read_of_every_protocol(document: object) -> None:
    shown = whole(document).shown(5.0)
    assert (shown.answer, shown.tokens_in, shown.tokens_out, shown.latency_ms) == ("Lima", 3, 1, 5.0)
    assert shown.notes == ()


def test_streams_are_read_the_same() -> None:
    usage = '{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
    other = '{"choices": [{"index": 1, "delta": {"content": "Quito"}}]}'
    chat = streamed(
        '{"choices": [{"delta": {"content": "Li"}}]}', other, '{"choices": [{"delta": {"content": "ma"}}]}', usage
    )
    assert not chat.finished
    chat.event(b"data: [DONE]\r\n\r\n")
    plain = streamed('{"choices": [{"text": "Li"}]}', '{"choices": [{"text": "ma"}]}', usage, "[DONE]")
    responses = streamed(
        '{"type": "response.output_text.delta", "delta": "Lima"}',
        '{"type": "response.completed", "response": {"usage": {"input_tokens": 3, "output_tokens": 2}}}',
    )
    for reading in (chat, plain, responses):
        shown = reading.shown(1.0)
        assert (shown.answer, shown.tokens_in, shown.tokens_out, reading.finished) == ("Lima", 3, 2, True)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b"\xff", b'"text"', b"[" * 100_000])
def test_what_cannot_be_read_costs_a_note_and_nothing_else(content: bytes) -> None:
    reading = Reading()
    reading.document(content)
    reading.event(b"data: " + content + b"\n\n")
    shown = reading.shown(1.0)
    assert shown.notes == ("the answer that was passed on cannot be read",)
    assert (shown.answer, shown.tokens_in) == ("", None)


@pytest.mark.parametrize(
    "document",
    [
        {"choices": 5, "output": {"x": 1}, "usage": 7},
        {"choices": [5, {"message": 5}], "output": [{"content": "x"}], "usage": {"prompt_tokens": -1}},
        {"choices": [{"message": {"content": ["part"]}}], "usage": {"prompt_tokens": True, "completion_tokens": "2"}},
    ],
)
def test_strange_shapes_are_unknown(document: object) -> None:
    for reading in (whole(document), streamed(json.dumps(document))):
        shown = reading.shown(1.0)
        assert (shown.answer, shown.tokens_in, shown.tokens_out) == ("", None, None)
