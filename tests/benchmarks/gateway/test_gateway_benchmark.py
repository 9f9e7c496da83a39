"""The gateway's benchmark at a small size: the upstream answers as it is asked, what is added is
the difference within a round, and every figure is there.
"""

import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from benchmarks.gateway.load import Answers, Ask, Refused, ask_for
from benchmarks.gateway.measure import Seen, figures_of, measure
from benchmarks.gateway.servers import upstream_server
from benchmarks.gateway.upstream import TOKEN_S, TOKENS, Marks


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[str]:
    with upstream_server(tmp_path) as url:
        yield url


def test_the_upstream_answers_at_once_or_a_token_at_a_time(upstream: str) -> None:
    at_once = ask_for(upstream, Ask(model="m"), clients=2, requests=6)
    assert len(at_once.whole_s) == len(at_once.first_s) == 6
    paced = ask_for(upstream, Ask(model="m", marks=(Marks.PACED,), stream=True), clients=1, requests=1)
    whole = ask_for(upstream, Ask(model="m", marks=(Marks.PACED,)), clients=1, requests=1)
    for answers in (paced, whole):
        assert answers.whole_s[0] >= TOKENS * TOKEN_S
    assert TOKEN_S <= paced.first_s[0] < paced.whole_s[0] - TOKEN_S


def test_an_answer_that_is_an_error_ends_the_measurement() -> None:
    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    with pytest.raises(ExceptionGroup) as caught:
        ask_for(f"http://127.0.0.1:{server.server_port}/v1", Ask(model="m"), clients=1, requests=1)
    server.shutdown()
    thread.join()
    server.server_close()
    assert caught.group_contains(Refused, match="503")


def test_what_is_added_is_the_median_of_the_differences_within_rounds() -> None:
    direct, mine = Seen(), Seen()
    for slow, added in ((1.0, 2.0), (9.0, 3.0), (5.0, 7.0)):  # milliseconds: the second round met a busy machine
        for clients in (1, 16, 64):
            direct.add(clients, Answers(whole_s=[slow / 1e3] * 4, took_s=2.0))
            mine.add(clients, Answers(whole_s=[(slow + added) / 1e3] * 4, took_s=4.0))
    mine.cpu_s = 0.36
    figures = figures_of(mine, direct, "_x")
    assert figures["added_p50_ms_16_x"] == pytest.approx(3.0) and figures["added_p99_ms_1_x"] == pytest.approx(3.0)
    assert figures["requests_per_s_x"] == pytest.approx(1.0) and figures["cpu_ms_per_request_x"] == pytest.approx(10.0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_figure_is_there() -> None:
    figures = measure(quick=True)
    ways = ["", "_plain", "_plain_logged", *([] if "litellm" in figures else ["_litellm"])]
    names = ["requests_per_s", "cpu_ms_per_request", "ttft_added_ms"]
    names += [f"added_{kind}_ms_{clients}" for kind in ("p50", "p99") for clients in (1, 16, 64)]
    for name in (*(f"{name}{way}" for name in names for way in ways), "memory_mb_start", "memory_mb_1000", "fsync_ms"):
        value = figures[name]
        assert isinstance(value, float) and math.isfinite(value), name
    # The small tier has written all of its answer by then, or is not waited for.
    assert figures["ttft_added_ms_escalated"] > TOKENS * TOKEN_S * 1e3 - 1  # type: ignore[operator]
    assert figures["ttft_added_ms_observe"] < figures["ttft_added_ms_escalated"]  # type: ignore[operator]
