"""The example of docs/backends.md, run as it stands: a declaration, its control plane, and two
servers on loopback.
"""

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import Engine

pytest.importorskip("httpx2")

from services.clock import SystemClock
from services.declaration.cascade_file import parse_cascade
from services.settings import Settings
from services.web.app import create_app
from store.engine import transaction
from store.releases.cascades import apply_cascade

PAGE = (Path(__file__).parents[3] / "docs" / "backends.md").read_text(encoding="utf-8")


@pytest.fixture
def control_plane(engine: Engine, settings: Settings) -> Iterator[str]:
    """The real API on a socket."""
    app = create_app(settings, engine)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def model() -> Iterator[Callable[[str], tuple[str, list[Any]]]]:
    """Starts a chat endpoint that always says one thing; its url, and what it was asked with."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def started(text: str) -> tuple[str, list[Any]]:
        asked: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append((body, self.headers.get("Authorization")))
                top = [{"token": one, "logprob": math.log(p), "bytes": None} for one, p in (("B", 0.7), ("A", 0.2))]
                token = {"token": text, "logprob": math.log(0.7), "bytes": None, "top_logprobs": top}
                choice = {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "logprobs": {"content": [token]},
                    "finish_reason": "stop",
                }
                content = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/v1", asked

    yield started
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_declared_tiers_answer_as_the_page_says(
    engine: Engine,
    control_plane: str,
    model: Callable[[str], tuple[str, list[Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (declared,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    (example,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "run_tiers" in code]
    (small, small_asked), (large, large_asked) = model("B"), model("Lima")
    declared = declared.replace("http://127.0.0.1:8000/v1", small).replace("http://127.0.0.1:8001/v1", large)
    with transaction(engine) as session:
        apply_cascade(session, parse_cascade(declared), now=SystemClock().now())
    monkeypatch.setenv("LARGE_MODEL_KEY", "sk-large")
    names: dict[str, Any] = {"url": control_plane, "token": None, "hash_key": b"a key for tests, 32 bytes long.."}
    exec(compile(example, "docs/backends.md", "exec"), names)
    answer = names["answer"]
    assert (answer.text, answer.tier, answer.rulings[0].verdict.reason) == ("Lima", 1, "no_bundle")
    assert answer.rulings[0].signals.p_t == pytest.approx(0.7)
    assert (small_asked[0][0]["max_tokens"], small_asked[0][0]["top_logprobs"]) == (4, 8)
    assert large_asked[0][1] == "Bearer sk-large"
